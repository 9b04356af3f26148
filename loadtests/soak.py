"""Ten minutes under load, with cancelled calls and swaps: does anything grow, and does anything fail?

    python -m loadtests.soak [--minutes 10]     part of `make long`; writes docs/benchmarks/soak.json

Method: a home with two releases, `signalbox serve` on core 0, our own client on core 1: closed loop, 32 in flight on
one connection, rows all different inline. One call in five is cancelled, half of those at once behind the request, half
when something has come back; an operator swaps the releases every 5 seconds by ledger and `Control.Sync`. Resident
memory and open descriptors of every process of the scorer are read twenty times a minute, latencies kept for each five
seconds apart.

Flat means: medians, or p99, of the last fifth of the time against those of the second fifth; the first one warms up.
Latencies are from sending to reply in a closed loop: good for comparing the end with the beginning, no statement of
what callers wait (02.7 is). A sample of the replies from all over the time is held to the models, as in 02.11.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

import numpy as np

from loadtests.clients.files import Outcome, Plan
from loadtests.clients.varied import QUESTIONS
from loadtests.harness import processes
from loadtests.harness.histogram import Histogram
from loadtests.harness.homes import home_of
from loadtests.harness.model import bench_model, make_rows
from loadtests.harness.progress import say
from loadtests.harness.results import Row, write
from loadtests.harness.scorers import Options, home
from loadtests.harness.servers import Server, running
from loadtests.serving.swapper import Swap
from loadtests.serving.swaps import MODELS, Faults, ask_while_swapping, check, score_messages

MINUTES = 10.0
IN_FLIGHT = 32
CANCEL_EVERY = 5
SWAP_SECONDS = 5.0
INTERVAL_SECONDS = 5.0
SAMPLE_SECONDS = 3.0
INSTRUMENTS = 20
MOST_GROWTH = 1.02  # of resident memory
MOST_DRIFT = 1.2  # of p99
_PARTS = 5
_KEEP_EVERY = 100

Value = TypeVar("Value")


@dataclass(frozen=True)
class Held:
    """What the processes of a scorer held at one moment: resident MiB, and open descriptors."""

    mib: float
    descriptors: int


@dataclass
class Samples:
    """Readings of what a server holds, taken in a thread of its own. Owned by `sampled`."""

    taken: list[Held] = field(default_factory=list)

    def take(self, server: Server) -> None:
        """One reading of all of the server's processes."""
        members = processes.family(server.process.pid)
        mib = sum(processes.memory(pid).rss_mib for pid in members)
        self.taken.append(Held(mib, sum(map(_descriptors, members))))


@dataclass(frozen=True)
class Soak:
    """What a soak found."""

    outcome: Outcome
    swaps: tuple[Swap, ...]
    faults: Faults
    samples: Sequence[Held]


def soak(minutes: float) -> Soak:
    """The whole run."""
    features = make_rows(QUESTIONS)
    models = tuple(map(bench_model, MODELS))
    with (
        home_of(MODELS, instruments=INSTRUMENTS) as small,
        running(home(small.home.root, Options())) as server,
        sampled(server, SAMPLE_SECONDS) as samples,
    ):
        plan = Plan(
            address=server.address,
            path="/signalbox.v1.Scorer/Score",
            seconds=minutes * 60,
            in_flight=IN_FLIGHT,
            cancel_every=CANCEL_EVERY,
            interval_seconds=INTERVAL_SECONDS,
            keep_every=_KEEP_EVERY,
            server=server.process.pid,
        )
        outcome, replies, swaps = ask_while_swapping(server, small, plan, score_messages(features), SWAP_SECONDS)
    by_release = dict(zip(small.releases, models, strict=True))
    return Soak(outcome, swaps, check(replies, features, by_release), samples.taken)


@contextmanager
def sampled(server: Server, every_seconds: float) -> Iterator[Samples]:
    """What `server` holds, read every so often for as long as the block runs."""
    samples, stop = Samples(), threading.Event()

    def read() -> None:
        while not stop.wait(every_seconds):
            samples.take(server)

    reader = threading.Thread(target=read, name="samples")
    reader.start()
    try:
        yield samples
    finally:
        stop.set()
        reader.join()


def rows_of(found: Soak) -> list[Row]:
    """What is judged."""
    outcome, faults = found.outcome, found.faults
    failures = sum(outcome.failures.values())
    return [
        _growth_row("soak.memory", "MiB resident", [each.mib for each in found.samples], MOST_GROWTH),
        _growth_row("soak.descriptors", "open descriptors", [each.descriptors for each in found.samples], 1.0),
        _p99_row([each.histogram() for each in outcome.intervals]),
        Row("soak.failed", f"failed calls {outcome.failures or ''}", failures, "calls", "0", failures == 0),
        Row("soak.wrong", f"wrong or mixed replies of {faults.replies:,} {'; '.join(faults.examples)}",
            faults.wrong, "replies", "0", faults.wrong == 0),
        _cancelled_row(outcome),
        Row("soak.swaps", "swaps", len(found.swaps), "swaps", "at least 2", len(found.swaps) >= 2),
    ]  # fmt: skip


def _descriptors(pid: int) -> int:
    """Of one process; 0 once it has ended."""
    try:
        return len(list((processes.PROC / str(pid) / "fd").iterdir()))
    except FileNotFoundError:
        return 0


def _growth_row(row_id: str, what: str, values: Sequence[float], most: float) -> Row:
    """The last fifth's median over the second's."""
    second, last = (median(part) for part in _ends(values))
    growth = last / second
    words = f"{what}: {second:,.1f}, then {last:,.1f}; {_per_minute(values):+.3g} a minute"
    return Row(row_id, words, growth, "×", f"at most {most:g} ×", growth <= most)


def _p99_row(intervals: Sequence[Histogram]) -> Row:
    ends = [Histogram.merged(part) for part in _ends(intervals)]
    if not all(each.total for each in ends):
        words = "p99 of Score, closed loop: expected calls answered until the end, found none in a fifth of the time"
        return Row("soak.p99", words, 0.0, "×", f"at most {MOST_DRIFT:g} ×", False)
    second, last = (each.percentile(99) / 1e6 for each in ends)
    words = f"p99 of Score, closed loop: {second:.3g} ms, then {last:.3g} ms"
    return Row("soak.p99", words, last / second, "×", f"at most {MOST_DRIFT:g} ×", last / second <= MOST_DRIFT)


def _cancelled_row(outcome: Outcome) -> Row:
    share = outcome.cancelled / (outcome.answered + outcome.cancelled)
    what = f"cancelled of {outcome.answered + outcome.cancelled:,} calls"
    return Row("soak.cancelled", what, share, "share", "0.2, to a hundredth", abs(share - 1 / CANCEL_EVERY) < 0.01)


def _ends(values: Sequence[Value]) -> tuple[Sequence[Value], Sequence[Value]]:
    """The second and the last fifth. ValueError for fewer than five."""
    if len(values) < _PARTS:
        raise ValueError(f"soak: expected at least {_PARTS} readings, found {len(values)}; soak for longer")
    size = len(values) // _PARTS
    return values[size : 2 * size], values[-size:]


def _per_minute(values: Sequence[float]) -> float:
    """The slope of a straight line through all but the first fifth."""
    late = values[len(values) // _PARTS :]
    return float(np.polyfit(np.arange(len(late)) * SAMPLE_SECONDS / 60, late, 1)[0])


def main() -> None:
    """Soaks, and writes the results."""
    parser = argparse.ArgumentParser(prog="soak", description="Load for minutes: nothing grows, nothing fails.")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="at least half a minute")
    asked = parser.parse_args()
    say(f"soak: {asked.minutes:g} minutes, {1 / CANCEL_EVERY:.0%} of calls cancelled, a swap every {SWAP_SECONDS:g} s")
    found = soak(asked.minutes)
    how = f"Command: `make long` ({asked.minutes:g} minutes). {(__doc__ or '').split('Method: ', 1)[1]}"
    print(write("soak", rows_of(found), how=" ".join(how.split())))


if __name__ == "__main__":
    main()
