"""Every metric of the scorer: declared here, made of `WorkerStatistics` alone, served as one page.

Names begin with `signalbox_`, units are base units in full words, the label `worker` is the worker's number.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from serving.errors import ListenRefused
from serving.statistics import LATENCY_BUCKETS_NS, WorkerStatistics
from serving.handlers.wire import RowStatus

_NS = 1e9
_PATIENCE_SECONDS = 5.0
COUNTERS: Mapping[str, tuple[str, str]] = {  # metric → (field of WorkerStatistics, help)
    "signalbox_requests": ("requests", "Score calls taken in"),
    "signalbox_rows_pushed": ("rows_pushed", "Feature rows taken into the table"),
    "signalbox_rows_refused": ("rows_refused", "Pushed feature rows that were refused"),
    "signalbox_batches": ("batches", "Runs of a model"),
    "signalbox_rows_scored": ("rows_scored", "Rows that a model was run on"),
    "signalbox_threaded_batches": ("threaded_batches", "Runs that left the loop because they would have stalled it"),
    "signalbox_calls_expired": ("expired", "Calls dropped unscored: their deadline had passed"),
    "signalbox_calls_cancelled": ("cancelled", "Calls dropped unscored: the caller went away"),
    "signalbox_calls_shed": ("shed", "Calls refused because too many rows waited"),
    "signalbox_model_failures": ("model_failures", "Calls that a model's runtime failed"),
    "signalbox_swaps": ("swaps", "Times that what is served was replaced"),
}


class ScorerCollector(Collector):
    """The metrics of one look at the workers: worker number → its statistics, and its restarts."""

    def __init__(self, workers: Mapping[int, WorkerStatistics], restarts: Mapping[int, int]) -> None:
        self._workers = workers
        self._restarts = restarts

    def collect(self) -> Iterable[Any]:
        """Every metric family, each worker a sample."""
        for name, (field, words) in COUNTERS.items():
            yield self._counter(name, words, field)
        yield self._rows()
        yield self._errors()
        yield self._latency()
        restarts = CounterMetricFamily("signalbox_worker_restarts", "Times that a worker was started again", labels=_W)
        for worker, count in self._restarts.items():
            restarts.add_metric([str(worker)], count)
        yield restarts
        yield GaugeMetricFamily("signalbox_workers", "Workers that answer", value=len(self._workers))

    def _counter(self, name: str, words: str, field: str) -> CounterMetricFamily:
        family = CounterMetricFamily(name, words, labels=_W)
        for worker, said in self._workers.items():
            family.add_metric([str(worker)], getattr(said, field))
        return family

    def _rows(self) -> CounterMetricFamily:
        family = CounterMetricFamily("signalbox_rows", "Rows answered, by status", labels=(*_W, "status"))
        for worker, said in self._workers.items():
            for status in RowStatus:
                family.add_metric([str(worker), status.name.lower()], said.rows[status])
        return family

    def _errors(self) -> CounterMetricFamily:
        family = CounterMetricFamily("signalbox_errors", "Calls refused, by error", labels=(*_W, "error"))
        for worker, said in self._workers.items():
            for error, count in sorted(said.errors.items()):
                family.add_metric([str(worker), error], count)
        return family

    def _latency(self) -> HistogramMetricFamily:
        words = "From a Score call's arrival in the worker to its reply, in seconds"
        family = HistogramMetricFamily("signalbox_score_latency_seconds", words, labels=_W)
        for worker, said in self._workers.items():
            family.add_metric([str(worker)], _cumulative(said.latencies), said.latency_sum_ns / _NS)
        return family


_W = ("worker",)


def render(workers: Mapping[int, WorkerStatistics], restarts: Mapping[int, int]) -> bytes:
    """The metrics page in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(ScorerCollector(workers, restarts))
    return generate_latest(registry)


@asynccontextmanager
async def metrics_page(listen: str, page: Callable[[], Awaitable[bytes]]) -> AsyncIterator[str]:
    """Serves `page` at http://LISTEN/metrics. ListenRefused when the address is taken or malformed."""
    host, _, port = listen.rpartition(":")
    try:
        server = await asyncio.start_server(lambda r, w: _answer(r, w, page), host, int(port), limit=8192)
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


def _cumulative(latencies: tuple[int, ...]) -> list[tuple[str, float]]:
    bounds = [str(bound / _NS) for bound in LATENCY_BUCKETS_NS] + ["+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, latencies or (0,) * len(bounds), strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets
