"""Every metric of the scorer: declared in one table, made of `WorkerStatistics` alone, served as one page.

Names begin with `signalbox_`, units are base units in full words, the label `worker` is the worker's number. A request
costs the hot path a few additions of integers: what is dear is done when the page is asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from serving.errors import ListenRefused
from serving.handlers.wire import RowStatus
from serving.statistics import BATCH_BUCKETS, LATENCY_BUCKETS_NS, Stage, WorkerStatistics
from serving.status import INTERNAL, kinds, status_of_kind

_NS = 1e9
_PATIENCE_SECONDS = 5.0
SECONDS = tuple(bound / _NS for bound in LATENCY_BUCKETS_NS)
ROWS = tuple(map(float, BATCH_BUCKETS))

_CODES = {kind.__name__: status_of_kind(kind).code.name for kind in kinds()}

Value = float | Stage  # a Stage where the metric is a histogram
Samples = Iterable[tuple[tuple[str, ...], Value]]  # values of the labels → what was counted


@dataclass(frozen=True)
class Metric:
    """One metric. name: without the `_total` that a counter's gets. unit: seconds, rows or "" for what is counted.

    labels: beside `worker`. read: a worker's samples. bounds: of a histogram's buckets, in the metric's unit.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    help: str
    read: Callable[[WorkerStatistics], Samples]
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


def _counter(name: str, words: str, read: Callable[[WorkerStatistics], int]) -> Metric:
    return Metric(name, "counter", "", words, lambda said: [((), read(said))])


def _gauge(name: str, words: str, read: Callable[[WorkerStatistics], float], unit: str = "") -> Metric:
    return Metric(name, "gauge", unit, words, lambda said: [((), read(said))])


def _counters(name: str, words: str, label: str, read: Callable[[WorkerStatistics], Mapping[str, int]]) -> Metric:
    return Metric(
        name,
        "counter",
        "",
        words,
        lambda said: [((key,), count) for key, count in sorted(read(said).items())],
        (label,),
    )


def _seconds(name: str, words: str, read: Callable[[WorkerStatistics], Stage]) -> Metric:
    return Metric(name, "histogram", "seconds", words, lambda said: [((), read(said))], bounds=SECONDS)


def _rows(said: WorkerStatistics) -> Samples:
    return [((status.name.lower(),), said.rows[status]) for status in RowStatus]


def _errors(said: WorkerStatistics) -> Samples:
    return [((error, _CODES.get(error, INTERNAL.code.name)), count) for error, count in sorted(said.errors.items())]


def _stages(said: WorkerStatistics) -> Samples:
    return [((name,), stage) for name, stage in said.stages.items()]


METRICS = (
    _counter("signalbox_requests", "Calls for scores taken in", lambda said: said.requests),
    Metric("signalbox_rows", "counter", "", "Rows answered, by status", _rows, ("status",)),
    Metric("signalbox_errors", "counter", "", "Calls refused, by error and gRPC status", _errors, ("error", "status")),
    _seconds(
        "signalbox_score_latency_seconds",
        "From a call's arrival in the worker until its reply was handed to the transport",
        lambda said: Stage(said.latencies, said.latency_sum_ns),
    ),
    Metric(
        "signalbox_stage_latency_seconds",
        "histogram",
        "seconds",
        "What a call spent in each stage of the engine: queue, features, model, encode",
        _stages,
        ("stage",),
        SECONDS,
    ),
    Metric(
        "signalbox_batch_rows",
        "histogram",
        "rows",
        "Rows of one run of a model",
        lambda said: [((), Stage(said.batch_rows, said.rows_scored))],
        bounds=ROWS,
    ),
    _gauge("signalbox_calls_in_flight", "Calls that wait or are being scored", lambda said: said.in_flight),
    _counter("signalbox_calls_shed", "Calls refused at once: they would have waited too long", lambda said: said.shed),
    _counter("signalbox_calls_expired", "Calls never scored: their deadline had passed", lambda said: said.expired),
    _counter("signalbox_calls_cancelled", "Calls never scored: the caller went away", lambda said: said.cancelled),
    _counter("signalbox_calls_late", "Calls whose deadline passed while they were scored", lambda said: said.late),
    _counter("signalbox_batches", "Runs of a model", lambda said: said.batches),
    _counter("signalbox_rows_scored", "Rows that a model was run on", lambda said: said.rows_scored),
    _counter(
        "signalbox_threaded_batches", "Runs that left the loop: they would have held it", lambda s: s.threaded_batches
    ),
    _counter("signalbox_model_failures", "Calls that a model's runtime failed", lambda said: said.model_failures),
    _counters(
        "signalbox_scores_refused",
        "Scores that were no finite number within the release's limit",
        "release",
        lambda said: said.refused_scores,
    ),
    _counter("signalbox_swaps", "Times that what is served was replaced", lambda said: said.swaps),
    _counter("signalbox_shadow_rows", "Rows that shadow releases were run on", lambda said: said.shadow_rows),
    _counter("signalbox_shadow_failures", "Rows that a shadow release failed", lambda said: said.shadow_failures),
    _counter("signalbox_shadow_shed", "Rows not shown to a shadow release: no time", lambda said: said.shadow_shed),
    _gauge("signalbox_shadow_waiting", "Rows that wait for a shadow release", lambda said: said.shadow_waiting),
    _counter("signalbox_rows_pushed", "Feature rows taken by Push", lambda said: said.rows_pushed),
    _counter("signalbox_rows_refused", "Feature rows refused by Push", lambda said: said.rows_refused),
    _gauge("signalbox_feed_followed", "Feature sets that are read from Redis", lambda said: said.feed.followed),
    _gauge("signalbox_feed_connected", "Of them, those with a connection", lambda said: said.feed.connected),
    _counter("signalbox_feed_rows", "Feature rows taken from Redis", lambda said: said.feed.rows),
    _counter("signalbox_feed_repeated", "Rows from Redis that were there already", lambda said: said.feed.repeated),
    _counters("signalbox_feed_refused", "Rows from Redis not taken, by error", "error", lambda said: said.feed.refused),
    _counters(
        "signalbox_feed_failures",
        "Connections to Redis that failed, by error",
        "error",
        lambda said: said.feed.failures,
    ),
    _counter("signalbox_feed_reconnects", "Connections to Redis made anew", lambda said: said.feed.reconnects),
    _counter("signalbox_feed_reloads", "Loads of all newest rows after a trim", lambda said: said.feed.reloads),
    _gauge(
        "signalbox_feed_lag_seconds",
        "How long the newest row had lain in Redis when it was taken",
        lambda said: said.feed.lag_ns / _NS,
        "seconds",
    ),
    _gauge("signalbox_connections", "Connections open now (native transport)", lambda said: said.connections),
    _counter("signalbox_connections_accepted", "Connections taken (native)", lambda said: said.connections_accepted),
    _counters(
        "signalbox_connections_refused", "Connections ended, by the limit passed (native)", "limit", lambda s: s.limits
    ),
    _seconds("signalbox_collection_pause_seconds", "Runs of the garbage collector", lambda said: said.collections),
    _seconds("signalbox_loop_lag_seconds", "How late the loop called a timer of 50 ms", lambda said: said.lags),
    _counter("signalbox_ring_records", "Records written to the rings", lambda said: said.ring_records),
    _counter(
        "signalbox_ring_overwritten", "Ring records that made way for newer ones", lambda said: said.ring_overwritten
    ),
)
_W = ("worker",)


class ScorerCollector(Collector):
    """The metrics of one look at the workers.

    workers: worker number → what it said last. answering: those that said it now. restarts: of each.
    """

    def __init__(
        self, workers: Mapping[int, WorkerStatistics], restarts: Mapping[int, int], answering: Collection[int]
    ) -> None:
        self._workers = workers
        self._restarts = restarts
        self._answering = answering

    def collect(self) -> Iterable[Any]:
        """Every metric family, each worker a sample."""
        for metric in METRICS:
            yield self._family(metric)
        restarts = CounterMetricFamily("signalbox_worker_restarts", "Times that a worker was started again", labels=_W)
        up = GaugeMetricFamily("signalbox_worker_up", "Whether the worker answers in time", labels=_W)
        for worker, count in self._restarts.items():
            restarts.add_metric([str(worker)], count)
            up.add_metric([str(worker)], float(worker in self._answering))
        yield restarts
        yield up

    def _family(self, metric: Metric) -> Any:
        labels = (*_W, *metric.labels)
        family = _FAMILIES[metric.kind](metric.name, metric.help, labels=labels)
        for worker, said in self._workers.items():
            for values, value in metric.read(said):
                _add(family, metric, [str(worker), *values], value)
        return family


_FAMILIES: Mapping[str, Callable[..., Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}


def render(workers: Mapping[int, WorkerStatistics], restarts: Mapping[int, int], answering: Collection[int]) -> bytes:
    """The metrics page in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(ScorerCollector(workers, restarts, answering))
    return generate_latest(registry)


@asynccontextmanager
async def metrics_page(listen: str, page: Callable[[], Awaitable[bytes]]) -> AsyncIterator[str]:
    """Serves `page` at http://LISTEN/metrics. ListenRefused when the address is taken or malformed."""
    host, _, port = listen.rpartition(":")
    try:
        server = await asyncio.start_server(lambda r, w: _answer(r, w, page), host.strip("[]"), int(port), limit=8192)
    except (OSError, ValueError, OverflowError) as error:
        raise ListenRefused(f"metrics: expected a free HOST:PORT, found {listen!r}: {error}") from error
    async with server:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, page: Callable[[], Awaitable[bytes]]
) -> None:
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE_SECONDS)
        known = head.startswith((b"GET /metrics ", b"GET / "))
        body = await page() if known else b"expected GET /metrics\n"
        status = b"200 OK" if known else b"404 Not Found"
        kind = CONTENT_TYPE_LATEST if known else "text/plain"
        fields = f"content-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        writer.write(b"HTTP/1.1 " + status + b"\r\n" + fields.encode() + body)
        await writer.drain()
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        return  # a peer that sends no request gets no answer
    finally:
        writer.close()


def _add(family: Any, metric: Metric, labels: list[str], value: Value) -> None:
    if isinstance(value, Stage):
        scale = _NS if metric.unit == "seconds" else 1
        family.add_metric(labels, _cumulative(metric.bounds, value.counts), value.sum_ns / scale)
    else:
        family.add_metric(labels, value)


def _cumulative(bounds: tuple[float, ...], counts: tuple[int, ...]) -> list[tuple[str, float]]:
    """How many lay at or below each bound, as Prometheus has it; no counts at all: nothing was seen."""
    names = [*map(str, bounds), "+Inf"]
    total, buckets = 0, []
    for name, count in zip(names, counts or (0,) * len(names), strict=True):
        total += count
        buckets.append((name, float(total)))
    return buckets
