"""What a worker has done since it started, as values; `serving.metrics` alone turns them into metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from serving.feed.row_feed import FeedStatistics
from serving.runtime.counts import BATCH_BUCKETS as BATCH_BUCKETS
from serving.runtime.counts import LATENCY_BUCKETS_NS as LATENCY_BUCKETS_NS
from serving.runtime.counts import Histogram
from serving.runtime.engine import Engine, EngineCounts

Tally = tuple[int, int, int, int]  # rows by status: OK, STALE, UNKNOWN_INSTRUMENT, REFUSED


@dataclass(slots=True)
class ScorerCounts:
    """Counted by the handlers.

    rows: answered, by status (OK, STALE, UNKNOWN_INSTRUMENT, REFUSED). refused_scores: scores of each release that were
    no finite number within its limit. total: the latencies of calls that were answered without a run of a model.
    """

    requests: int = 0
    rows: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    errors: Counter[str] = field(default_factory=Counter)
    refused_scores: Counter[str] = field(default_factory=Counter)
    rows_pushed: int = 0
    rows_refused: int = 0
    swaps: int = 0
    total: Histogram = field(default_factory=Histogram)

    def take(self, status: npt.NDArray[np.uint8], took_ns: int) -> None:
        """Counts an answer: its rows, and how long the worker had it."""
        self.total.observe(took_ns)
        self.take_rows(status)

    def take_rows(self, status: npt.NDArray[np.uint8]) -> None:
        """Counts an answer's rows."""
        self.add_rows(tally(status))

    def add_rows(self, by_status: Tally) -> None:
        """Counts rows that are counted already."""
        rows = self.rows
        for kind, count in enumerate(by_status):
            if count:
                rows[kind] += count


def tally(status: npt.NDArray[np.uint8]) -> Tally:
    """How many rows have each status."""
    ok, stale, unknown, refused = np.bincount(status, minlength=4).tolist()
    return ok, stale, unknown, refused


class Stage(msgspec.Struct, frozen=True):
    """How long something took: counts by LATENCY_BUCKETS_NS, the last for what took longer; none if never seen."""

    counts: tuple[int, ...]
    sum_ns: int


class WorkerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's counts at one moment: what travels to the supervisor.

    rows: replies' rows by status, in the order of `serving.handlers.wire.RowStatus`. errors: calls refused, by error.
    latencies: answered calls by LATENCY_BUCKETS_NS, the last for what took longer. stages: queue, features, model and
    encode (`serving.runtime.counts`). batch_rows: runs by BATCH_BUCKETS of their rows, the last for bigger ones; their
    sum is rows_scored. in_flight: calls that wait or are being run. refused_scores: by release. rows_pushed and
    rows_refused are those of Push; feed: the same and more of the feed. collections: runs of the garbage collector;
    lags: how late the loop called a timer (both: `serving.host.pauses`). ring_records, and how many of them were
    ring_overwritten. connections: open now; limits: connections ended, by the limit that was passed (the native
    transport's alone).
    """

    requests: int = 0
    rows: Tally = (0, 0, 0, 0)
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
    late: int = 0
    in_flight: int = 0
    stages: dict[str, Stage] = {}
    batch_rows: tuple[int, ...] = ()
    refused_scores: dict[str, int] = {}
    shadow_rows: int = 0
    shadow_failures: int = 0
    shadow_shed: int = 0
    shadow_waiting: int = 0
    feed: FeedStatistics = FeedStatistics()
    collections: Stage = Stage((), 0)
    lags: Stage = Stage((), 0)
    ring_records: int = 0
    ring_overwritten: int = 0
    connections: int = 0
    connections_accepted: int = 0
    limits: dict[str, int] = {}


def worker_statistics(scorer: ScorerCounts, engine: Engine, feed: FeedStatistics) -> WorkerStatistics:
    """What a worker has done, and what it holds now."""
    shadows = engine.shadows
    return msgspec.structs.replace(
        statistics(scorer, engine.counts),
        feed=feed,
        in_flight=engine.in_flight,
        shadow_rows=shadows.scored,
        shadow_failures=shadows.failed,
        shadow_shed=shadows.shed,
        shadow_waiting=shadows.waiting,
    )


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
        latencies=tuple(map(sum, zip(scorer.total.counts, engine.total.counts, strict=True))),
        latency_sum_ns=scorer.total.total + engine.total.total,
        late=engine.late,
        stages={name: stage(getattr(engine, name)) for name in ("queue", "features", "model", "encode")},
        batch_rows=tuple(engine.batch_rows.counts),
        refused_scores=dict(scorer.refused_scores),
    )


def stage(histogram: Histogram) -> Stage:
    """What `histogram` has counted so far."""
    return Stage(tuple(histogram.counts), histogram.total)
