"""Interleaved rounds: every contestant is measured once a round, each alone on the machine, and medians are taken.

A server that is measured three times in a row is measured in one mood of the machine. Here each round starts a
contestant's server, measures its probes, stops it, and goes on to the next one; every second round goes backwards, so
that none is always the first. A probe that fails is named and left out of the rest; the others go on.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loadtests.harness.progress import say
from loadtests.harness.questions import Question
from loadtests.harness.readings import Load, Measure, Reading, ReadingRefused
from loadtests.harness.servers import Launch, PeerMissing, Server, ServerFailed, running

MINUTES = 25.0  # for all rounds: a bench ends within 35 minutes, whoever else is busy on the machine
QUIET = 0.05  # of the two cores: a reading beside a busier neighbour is taken once more, and the quieter one kept


class NoReading(Exception):
    """A reading that is asked for was not taken; the message says why."""


@dataclass(frozen=True)
class Probe:
    """One load on one question. name: unique in a bench. measure: the client's."""

    name: str
    question: Question
    load: Load
    measure: Measure


@dataclass(frozen=True)
class Contestant:
    """A server and what is measured on it. launch: may raise PeerMissing. fill: what it needs before it can answer."""

    name: str
    launch: Callable[[], Launch]
    probes: tuple[Probe, ...]
    fill: Callable[[], None] | None = None


@dataclass
class Readings:
    """What the rounds gave. by_probe: one Reading a round. failures: probe → why it has none. rounds: that were run."""

    by_probe: dict[str, list[Reading]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    rounds: int = 0

    def all(self, probe: str, number: str) -> list[float]:
        """One number of Reading, a round each. NoReading when a round has none."""
        if probe in self.failures:
            raise NoReading(self.failures[probe])
        return [getattr(reading, number) for reading in self.by_probe[probe]]

    def median(self, probe: str, number: str) -> float:
        """The median over the rounds. NoReading when a round has none."""
        return statistics.median(self.all(probe, number))

    def ratios(self, probe: str, other: str, number: str) -> list[float]:
        """`probe` over `other`, round by round. NoReading when either has none."""
        pairs = zip(self.all(probe, number), self.all(other, number), strict=True)
        return [mine / theirs for mine, theirs in pairs]

    def others(self, *probes: str) -> float:
        """The largest share of the two cores that somebody else used during a reading of `probes`, or of any."""
        taken = (each for name in probes or self.by_probe for each in self.by_probe.get(name, ()))
        return max((each.others for each in taken), default=0.0)


def interleave(contestants: Sequence[Contestant], *, rounds: int, seconds: float) -> Readings:
    """`rounds` rounds over `contestants`, about `seconds` a reading.

    Fewer rounds where one more as long as the longest so far would end later than MINUTES after the first began.
    """
    readings = Readings()
    began, longest = time.monotonic(), 0.0
    while readings.rounds < rounds and time.monotonic() - began + longest <= MINUTES * 60:
        started = time.monotonic()
        for contestant in contestants if readings.rounds % 2 == 0 else reversed(contestants):
            _take(contestant, seconds, readings, f"round {readings.rounds + 1} of {rounds}")
        readings.rounds += 1
        longest = max(longest, time.monotonic() - started)
    if readings.rounds < rounds:
        say(f"stopped after {readings.rounds} rounds: another would not end within {MINUTES:g} minutes")
    return readings


def _take(contestant: Contestant, seconds: float, readings: Readings, when: str) -> None:
    probes = [probe for probe in contestant.probes if probe.name not in readings.failures]
    if not probes:
        return
    say(f"{when}: {contestant.name}")
    try:
        with running(contestant.launch(), *_first_questions(contestant)) as server:
            if contestant.fill is not None:
                contestant.fill()
            for probe in probes:
                _take_one(server, probe, seconds, readings)
    except (PeerMissing, ServerFailed) as error:
        for probe in probes:
            _leave_out(probe, error, readings)


def _first_questions(contestant: Contestant) -> tuple[Question, ...]:
    return () if contestant.fill is not None else (contestant.probes[0].question,)


def _take_one(server: Server, probe: Probe, seconds: float, readings: Readings) -> None:
    try:
        server.check(probe.question)
        reading = _quietest(server, probe, seconds)
    except (ReadingRefused, ServerFailed, subprocess.TimeoutExpired) as error:
        _leave_out(probe, error, readings)
    else:
        readings.by_probe.setdefault(probe.name, []).append(reading)


def _leave_out(probe: Probe, error: Exception, readings: Readings) -> None:
    readings.failures[probe.name] = str(error).splitlines()[0]
    say(f"{probe.name} is left out: {error}")


def _quietest(server: Server, probe: Probe, seconds: float) -> Reading:
    first = probe.measure(server, probe.question, probe.load, seconds=seconds)
    if first.others <= QUIET:
        return first
    again = probe.measure(server, probe.question, probe.load, seconds=seconds)
    return min(first, again, key=lambda reading: reading.others)
