"""What a worker has done since it started, as values; `serving.metrics` alone turns them into metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from serving.runtime.engine import EngineCounts

LATENCY_BUCKETS_NS = tuple(
    each * 1000 for each in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
)  # 10 µs to 50 ms; one more bucket holds what took longer


@dataclass(slots=True)
class ScorerCounts:
    """Counted by the handlers.

    rows: by status (OK, STALE, UNKNOWN_INSTRUMENT, REFUSED). latencies: answered calls by LATENCY_BUCKETS_NS.
    """

    requests: int = 0
    rows: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    errors: Counter[str] = field(default_factory=Counter)
    rows_pushed: int = 0
    rows_refused: int = 0
    swaps: int = 0
    latencies: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS_NS) + 1))
    latency_sum_ns: int = 0

    def take(self, status: npt.NDArray[np.uint8], took_ns: int) -> None:
        """Counts an answer: its rows, and how long the worker had it."""
        self.latencies[bisect_left(LATENCY_BUCKETS_NS, took_ns)] += 1
        self.latency_sum_ns += took_ns
        for kind, count in enumerate(np.bincount(status, minlength=4).tolist()):
            self.rows[kind] += count


class WorkerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's counts at one moment: what travels to the supervisor.

    rows: replies' rows by status, in the order of `serving.handlers.wire.RowStatus`. errors: calls refused, by error.
    latencies: answered calls by LATENCY_BUCKETS_NS, the last for what took longer.
    """

    requests: int = 0
    rows: tuple[int, int, int, int] = (0, 0, 0, 0)
    errors: dict[str, int] = {}
    rows_pushed: int = 0
    rows_refused: int = 0
    swaps: int = 0
    batches: int = 0
    rows_scored: int = 0
    largest_batch: int = 0
    threaded_batches: int = 0
    expired: int = 0
    cancelled: int = 0
    shed: int = 0
    model_failures: int = 0
    latencies: tuple[int, ...] = ()
    latency_sum_ns: int = 0


def statistics(scorer: ScorerCounts, engine: EngineCounts) -> WorkerStatistics:
    """Both counts as one value."""
    ok, stale, unknown, refused = scorer.rows
    return WorkerStatistics(
        requests=scorer.requests,
        rows=(ok, stale, unknown, refused),
        errors=dict(scorer.errors),
        rows_pushed=scorer.rows_pushed,
        rows_refused=scorer.rows_refused,
        swaps=scorer.swaps,
        batches=engine.batches,
        rows_scored=engine.rows,
        largest_batch=engine.largest_batch,
        threaded_batches=engine.threaded,
        expired=engine.expired,
        cancelled=engine.cancelled,
        shed=engine.shed,
        model_failures=engine.failed,
        latencies=tuple(scorer.latencies),
        latency_sum_ns=scorer.latency_sum_ns,
    )
