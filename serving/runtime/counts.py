"""What the engine has done since it started, as plain counters; `serving.statistics` makes values of them."""

from __future__ import annotations

from bisect import bisect_left
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
