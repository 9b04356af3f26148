"""What callers wait at 10,000 requests a second (02.7).

Question: how long does a request take at a rate that is fixed in advance, by whoever does not wait for the others?
Method: `signalbox serve --scratch` on core 0; the open loop of `loadtests.clients.open_loop` on core 1: one connection,
16,384 different rows in turn, send times fixed before the run, latency from the time a request was due. Arrivals evenly
spaced (a, b) and by a Poisson process (c, d), in turn; rounds of their own, each number the median over them.

A reading is refused, and taken anew up to twice, when the sender itself was late (p99 above 50 µs, or p99.9 above
500 µs: its core was not its own), when less than 99 % of the rate was reached, or when an answer was wrong. The client
spins: a caller that sleeps adds its own wake-up to these figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from loadtests.clients.files import Outcome, Plan
from loadtests.clients.varied import VariedQuestions, ask
from loadtests.harness.histogram import Histogram
from loadtests.harness.model import bench_model
from loadtests.harness.progress import say
from loadtests.harness.questions import ManyQuestions, ScoreQuestion
from loadtests.harness.readings import ReadingRefused
from loadtests.harness.results import Row
from loadtests.harness.scorers import Options, scratch
from loadtests.harness.servers import Server, ServerFailed, running
from loadtests.serving.bars import failed, row

CLIENT = "loadtests.clients.open_loop"
RATE = 10_000.0
ROUNDS = 5
SECONDS = 8.0
MOST_P99_US, MOST_P999_US = 400.0, 2000.0
_MOST_LATE_US = {99.0: 50.0, 99.9: 500.0}
_LEAST_REACHED = 0.99
_ATTEMPTS = 3
_ARRIVALS = {False: "evenly spaced", True: "Poisson arrivals"}


@dataclass(frozen=True)
class AtRate:
    """What one run of the open loop found."""

    outcome: Outcome

    @cached_property
    def times(self) -> Histogram:
        """From the time that a request was due, ns."""
        return self.outcome.times.histogram()

    @cached_property
    def late(self) -> Histogram:
        """How long after that it was sent, ns."""
        assert self.outcome.late is not None, "an open loop says how late it was"
        return self.outcome.late.histogram()

    @property
    def per_second(self) -> float:
        """The rate that was reached."""
        return self.outcome.answered / self.outcome.seconds

    def percentile_us(self, percent: float) -> float:
        """Of the latencies."""
        return self.times.percentile(percent) / 1e3

    @property
    def words(self) -> str:
        """All there is to say of it beside its own row's number."""
        shown = ", ".join(f"p{percent:g} {self.percentile_us(percent):.0f}" for percent in (50, 90, 99, 99.9))
        return (
            f"{shown}, max {self.times.max / 1e3:.0f} µs; {self.per_second:,.0f} requests/s reached; sender late p99 "
            f"{self.late.percentile(99) / 1e3:.0f}, max {self.late.max / 1e3:.0f} µs; somebody "
            f"else had the server's core for {self.outcome.server_waited_ns / 1e6:.1f} ms"
        )

    def check(self, rate: float) -> None:
        """ReadingRefused when the sender was late, or the rate was not reached."""
        for percent, most in _MOST_LATE_US.items():
            late = self.late.percentile(percent) / 1e3
            if late > most:
                raise ReadingRefused(
                    f"sender: expected p{percent:g} of its lateness at most {most:.0f} µs, found {late:.0f}; its core "
                    "was not its own"
                )
        if self.per_second < _LEAST_REACHED * rate:
            raise ReadingRefused(f"expected {rate:,.0f} requests/s, found {self.per_second:,.0f} reached")


def rows(rounds: int = ROUNDS, seconds: float = SECONDS, rate: float = RATE) -> list[Row]:
    """Every row of this module."""
    questions = VariedQuestions(ScoreQuestion, bench_model("m100"))
    taken: dict[bool, list[AtRate]] = {poisson: [] for poisson in _ARRIVALS}
    refused: dict[bool, str] = {}
    for number in range(rounds):
        for poisson in _ARRIVALS:
            say(f"round {number + 1} of {rounds}: open loop, {_ARRIVALS[poisson]}")
            try:
                taken[poisson].append(take(questions, rate, seconds, poisson=poisson))
            except (ReadingRefused, ServerFailed) as error:
                say(str(error))
                refused[poisson] = str(error)
    what = f"{rate:,.0f} requests/s"
    even = _rows("ab", f"{what}, {_ARRIVALS[False]}", taken[False], refused.get(False))
    return even + _rows("cd", f"{what}, {_ARRIVALS[True]}", taken[True], refused.get(True))


def take(questions: ManyQuestions, rate: float, seconds: float, *, poisson: bool) -> AtRate:
    """One reading that is not refused, of a server of its own. ReadingRefused after three that are."""
    with running(scratch(bench_model("m100"), Options()), questions) as server:
        for attempt in range(_ATTEMPTS):
            try:
                return take_once(server, questions, rate, seconds, poisson=poisson)
            except ReadingRefused as error:
                if attempt + 1 == _ATTEMPTS:
                    raise
                say(f"once more: {error}")
    raise AssertionError("unreachable")


def take_once(server: Server, questions: ManyQuestions, rate: float, seconds: float, *, poisson: bool) -> AtRate:
    """One reading. ReadingRefused as the module says."""
    plan = Plan(
        address=server.address,
        path=questions.path,
        seconds=seconds,
        rate=rate,
        poisson=poisson,
        server=server.process.pid,
    )
    found = AtRate(ask(server, questions, plan, client=CLIENT))
    found.check(rate)
    return found


def _rows(letters: str, what: str, taken: Sequence[AtRate], refused: str | None) -> list[Row]:
    """p99 and p99.9. A round that was refused leaves both unmeasured: the best of several is no reading."""
    ids = [f"02.7{letter}" for letter in letters]
    if refused is not None or not taken:
        return [failed(row_id, refused or "no round was taken") for row_id in ids]
    middle = sorted(taken, key=lambda each: each.percentile_us(99))[len(taken) // 2]
    bounds = ((99.0, MOST_P99_US), (99.9, MOST_P999_US))
    return [_row(*each, f"open loop, {what}", taken, middle) for each in zip(ids, bounds, strict=True)]


def _row(row_id: str, bound: tuple[float, float], what: str, taken: Sequence[AtRate], middle: AtRate) -> Row:
    percent, most = bound
    values = [each.percentile_us(percent) for each in taken]
    spread = f"p{percent:g} of each round {min(values):,.0f} to {max(values):,.0f} µs; one round: {middle.words}"
    value = median(values)
    return row(row_id, f"{what}, our client, rows all different: {spread}", value, "µs", ok=value <= most)
