"""What the engine has done since it started, as plain counters; `serving.statistics` makes values of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field

LATENCY_BUCKETS_NS = tuple(
    each * 1000 for each in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
)  # 10 µs to 50 ms; one more bucket holds what took longer
BATCH_BUCKETS = tuple(2**power for power in range(14))  # rows of a run: 1 to 8192; one more holds bigger ones


class Histogram:
    """How often a value fell into each bucket. A value equal to a bound belongs to it; the last bucket has no bound.

    >>> histogram = Histogram((10, 20))
    >>> histogram.observe(10)
    >>> histogram.observe(11, weight=3)
    >>> histogram.counts, histogram.total
    ([1, 3, 0], 43)
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[int, ...] = LATENCY_BUCKETS_NS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0

    def observe(self, value: int, weight: int = 1) -> None:
        """Counts `value` as seen `weight` times."""
        self.counts[bisect_left(self.bounds, value)] += weight
        self.total += value * weight


@dataclass(slots=True)
class EngineCounts:
    """Counted by the engine. Times in nanoseconds, every call of a batch with the batch's time.

    queue: from a call's arrival to the turn that takes it up. features: stacking and checking its rows. model: the run.
    encode: writing the replies. total: from a call's arrival until its reply was handed to the transport. batch_rows:
    rows of a run. threaded: runs that left the loop. expired, cancelled: calls never run; late: calls whose deadline
    passed while they were. shed: calls refused by predicted queueing time. failed: calls that the runtime failed.
    """

    batches: int = 0
    rows: int = 0
    largest_batch: int = 0
    threaded: int = 0
    expired: int = 0
    cancelled: int = 0
    late: int = 0
    shed: int = 0
    failed: int = 0
    queue: Histogram = field(default_factory=Histogram)
    features: Histogram = field(default_factory=Histogram)
    model: Histogram = field(default_factory=Histogram)
    encode: Histogram = field(default_factory=Histogram)
    total: Histogram = field(default_factory=Histogram)
    batch_rows: Histogram = field(default_factory=lambda: Histogram(BATCH_BUCKETS))

    def take(self, rows: int, callers: int, gathered_ns: int, ready_ns: int, scored_ns: int, done_ns: int) -> None:
        """Counts a run of `rows` rows for `callers` calls, and its stages by the instants between them."""
        self.batches += 1
        self.rows += rows
        if rows > self.largest_batch:
            self.largest_batch = rows
        self.batch_rows.observe(rows)
        self.features.observe(ready_ns - gathered_ns, callers)
        self.model.observe(scored_ns - ready_ns, callers)
        self.encode.observe(done_ns - scored_ns, callers)

    def take_one(self, rows: int, began_ns: int, gathered_ns: int, ready_ns: int, scored_ns: int, done_ns: int) -> None:
        """Counts a run for one call: what `take` and `take_calls` do, in half the time."""
        self.batches += 1
        self.rows += rows
        if rows > self.largest_batch:
            self.largest_batch = rows
        self.batch_rows.observe(rows)
        bounds = LATENCY_BUCKETS_NS
        waited_ns, total_ns = gathered_ns - began_ns, done_ns - began_ns
        features_ns, model_ns, encode_ns = ready_ns - gathered_ns, scored_ns - ready_ns, done_ns - scored_ns
        self.queue.counts[bisect_left(bounds, waited_ns)] += 1
        self.queue.total += waited_ns
        self.features.counts[bisect_left(bounds, features_ns)] += 1
        self.features.total += features_ns
        self.model.counts[bisect_left(bounds, model_ns)] += 1
        self.model.total += model_ns
        self.encode.counts[bisect_left(bounds, encode_ns)] += 1
        self.encode.total += encode_ns
        self.total.counts[bisect_left(bounds, total_ns)] += 1
        self.total.total += total_ns

    def take_calls(self, moments: Iterable[tuple[int, int]], gathered_ns: int, done_ns: int) -> int:
        """Counts how long calls waited and were here; how many they are.

        moments: (when they came in, how many did); with a connection a call there are as many as calls.
        """
        bounds, callers = LATENCY_BUCKETS_NS, 0
        waits, totals = self.queue.counts, self.total.counts
        waited_ns = been_ns = 0
        for began_ns, count in moments:
            callers += count
            waits[bisect_left(bounds, gathered_ns - began_ns)] += count
            totals[bisect_left(bounds, done_ns - began_ns)] += count
            waited_ns += (gathered_ns - began_ns) * count
            been_ns += (done_ns - began_ns) * count
        self.queue.total += waited_ns
        self.total.total += been_ns
        return callers
