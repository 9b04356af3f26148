"""Interleaved rounds: every contestant is measured once a round, each alone on the machine, and medians are taken.

A server that is measured three times in a row is measured in one mood of the machine. Here each round starts a
contestant's server, measures its probes, stops it, and goes on to the next one; every second round goes backwards, so
that none is always the first. A contestant that fails is named and left out of the rest; the others go on.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loadtests.clients import Measure
from loadtests.h2load import Load, Reading, ReadingRefused
from loadtests.peers.environment import PeerMissing
from loadtests.progress import say
from loadtests.questions import Question
from loadtests.servers import Launch, Server, ServerFailed, running

QUIET = 0.05  # of the two cores: a reading beside a busier neighbour is taken once more, and the quieter one kept


class NoReading(Exception):
    """A reading that is asked for was not taken; the message says why."""


@dataclass(frozen=True)
class Probe:
    """One load on one question. name: unique in a bench."""

    name: str
    question: Question
    load: Load


@dataclass(frozen=True)
class Contestant:
    """A server and what is measured on it. launch: may raise PeerMissing."""

    name: str
    launch: Callable[[], Launch]
    probes: tuple[Probe, ...]


@dataclass
class Readings:
    """What the rounds gave. by_probe: one Reading a round. failures: contestant → why it was left out."""

    by_probe: dict[str, list[Reading]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)

    def taken(self, probe: str) -> bool:
        """Whether every round gave a reading of `probe`."""
        return self.owners[probe] not in self.failures

    def all(self, probe: str, field_name: str) -> list[float]:
        """One number a round. NoReading when the contestant failed."""
        if not self.taken(probe):
            raise NoReading(self.failures[self.owners[probe]])
        return [getattr(reading, field_name) for reading in self.by_probe[probe]]

    def median(self, probe: str, field_name: str) -> float:
        """The median over the rounds. NoReading when the contestant failed."""
        return statistics.median(self.all(probe, field_name))

    def ratios(self, probe: str, other: str, field_name: str) -> list[float]:
        """`probe` over `other`, round by round. NoReading when either failed."""
        pairs = zip(self.all(probe, field_name), self.all(other, field_name), strict=True)
        return [mine / theirs for mine, theirs in pairs]

    @property
    def others(self) -> float:
        """The largest share of the two cores that somebody else used during a reading."""
        return max((each.others for readings in self.by_probe.values() for each in readings), default=0.0)


def interleave(contestants: Sequence[Contestant], measure: Measure, *, rounds: int, seconds: float) -> Readings:
    """`rounds` rounds over `contestants`, about `seconds` a reading."""
    readings = Readings()
    for contestant in contestants:
        readings.owners.update(dict.fromkeys((probe.name for probe in contestant.probes), contestant.name))
    for number in range(rounds):
        for contestant in contestants if number % 2 == 0 else reversed(contestants):
            if contestant.name not in readings.failures:
                say(f"round {number + 1} of {rounds}: {contestant.name}")
                _take(contestant, measure, seconds, readings)
    return readings


def _take(contestant: Contestant, measure: Measure, seconds: float, readings: Readings) -> None:
    questions = dict.fromkeys(probe.question for probe in contestant.probes)
    try:
        with running(contestant.launch(), *questions) as server:
            for probe in contestant.probes:
                reading = _quietest(measure, server, probe, seconds)
                readings.by_probe.setdefault(probe.name, []).append(reading)
    except (PeerMissing, ServerFailed, ReadingRefused, subprocess.TimeoutExpired) as error:
        readings.failures[contestant.name] = str(error)
        say(f"{contestant.name} is left out: {error}")


def _quietest(measure: Measure, server: Server, probe: Probe, seconds: float) -> Reading:
    first = measure(server, probe.question, probe.load, seconds=seconds)
    if first.others <= QUIET:
        return first
    again = measure(server, probe.question, probe.load, seconds=seconds)
    return min(first, again, key=lambda reading: reading.others)
