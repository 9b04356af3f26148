"""The metrics page: every count once, in Prometheus' own words."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.errors import ListenRefused
from serving.feed.row_feed import FeedStatistics
from serving.metrics import METRICS, metrics_page, render
from serving.runtime.counts import EngineCounts, Histogram
from serving.statistics import LATENCY_BUCKETS_NS, ScorerCounts, WorkerStatistics, stage, statistics


def families(page: bytes) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(page.decode())}


def samples(page: bytes) -> dict[tuple[str, frozenset[str]], float]:
    found = families(page).values()
    return {(each.name, frozenset(each.labels.values())): each.value for family in found for each in family.samples}


def counted() -> WorkerStatistics:
    scorer = ScorerCounts(requests=5)
    scorer.errors.update({"UnknownSignal": 2, "ValueError": 1})
    scorer.take(np.array([0, 0, 1], np.uint8), 10_000)  # exactly a bucket's bound belongs to it
    scorer.take(np.array([3], np.uint8), 60_000_000)
    engine = EngineCounts(batches=2, rows=7)
    engine.queue.observe(15_000)
    engine.batch_rows.observe(2)
    engine.batch_rows.observe(5)
    collections = Histogram()
    collections.observe(3_000_000)
    return msgspec.structs.replace(
        statistics(scorer, engine),
        collections=stage(collections),
        feed=FeedStatistics(followed=1, refused={"RowWentBack": 4}, lag_ns=1_500_000_000),
        limits={"pings": 3},
        in_flight=2,
    )


def test_every_count_is_on_the_page() -> None:
    found = samples(render({0: counted(), 1: WorkerStatistics()}, {0: 3, 1: 0}, {0}))
    assert found["signalbox_requests_total", frozenset(("0",))] == 5
    assert found["signalbox_rows_scored_total", frozenset(("0",))] == 7
    assert found["signalbox_rows_total", frozenset(("0", "ok"))] == 2
    assert found["signalbox_rows_total", frozenset(("0", "stale"))] == 1
    assert found["signalbox_rows_total", frozenset(("0", "refused"))] == 1
    assert found["signalbox_errors_total", frozenset(("0", "UnknownSignal", "NOT_FOUND"))] == 2
    assert found["signalbox_errors_total", frozenset(("0", "ValueError", "INTERNAL"))] == 1
    assert found["signalbox_calls_in_flight", frozenset(("0",))] == 2
    assert found["signalbox_connections_refused_total", frozenset(("0", "pings"))] == 3
    assert found["signalbox_feed_refused_total", frozenset(("0", "RowWentBack"))] == 4
    assert found["signalbox_feed_lag_seconds", frozenset(("0",))] == 1.5
    assert found["signalbox_worker_restarts_total", frozenset(("0",))] == 3
    assert found["signalbox_worker_up", frozenset(("0",))] == 1
    assert found["signalbox_worker_up", frozenset(("1",))] == 0


def test_histograms_are_cumulative_in_their_units() -> None:
    found = samples(render({0: counted()}, {}, {0}))
    latency = "signalbox_score_latency_seconds"
    assert found[f"{latency}_bucket", frozenset(("0", "1e-05"))] == 1
    assert found[f"{latency}_bucket", frozenset(("0", "0.05"))] == 1
    assert found[f"{latency}_bucket", frozenset(("0", "+Inf"))] == 2
    assert found[f"{latency}_sum", frozenset(("0",))] == pytest.approx(0.06001)
    assert found["signalbox_stage_latency_seconds_bucket", frozenset(("0", "queue", "2e-05"))] == 1
    assert found["signalbox_collection_pause_seconds_sum", frozenset(("0",))] == pytest.approx(0.003)
    assert found["signalbox_batch_rows_bucket", frozenset(("0", "4.0"))] == 1
    assert found["signalbox_batch_rows_sum", frozenset(("0",))] == 7
    assert found["signalbox_loop_lag_seconds_count", frozenset(("0",))] == 0


def test_every_field_of_the_statistics_is_a_metric() -> None:
    class Reading:
        """Notes what is looked at."""

        def __init__(self, said: Any) -> None:
            self.said, self.seen = said, set[str]()

        def __getattr__(self, name: str) -> Any:
            self.seen.add(name)
            return getattr(self.said, name)

    reading = Reading(WorkerStatistics())
    for metric in METRICS:
        list(metric.read(reading))  # type: ignore[arg-type]
    assert set(WorkerStatistics.__struct_fields__) - reading.seen == {"largest_batch"}  # of no use over time


def test_names_units_and_help_are_prometheus_own() -> None:
    page = families(render({0: counted()}, {0: 0}, {0}))
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"signalbox(_[a-z]+)+", metric.name)
        assert not metric.name.endswith(("_total", "_count", "_sum", "_bucket", "_info"))  # the format's own endings
        assert not re.search(r"_(ns|us|ms|sec|milliseconds|bytes_total)$", metric.name)
        assert metric.name.endswith(metric.unit)
        assert metric.kind != "histogram" or list(metric.bounds) == sorted(metric.bounds)
        assert page[metric.name].documentation == metric.help
        assert page[metric.name].type == metric.kind
        assert "worker" not in metric.labels
    assert LATENCY_BUCKETS_NS[0] == 10_000
    assert LATENCY_BUCKETS_NS[-1] == 50_000_000


async def test_the_page_is_served_and_nothing_else_is() -> None:
    async def page() -> bytes:
        return b"signalbox_requests_total 1.0\n"

    async def ask(address: str, request: bytes) -> bytes:
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    async with metrics_page("127.0.0.1:0", page) as address:
        assert b"200 OK" in await ask(address, b"GET /metrics HTTP/1.1\r\n\r\n")
        assert b"signalbox_requests_total 1.0" in await ask(address, b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b"404" in await ask(address, b"POST /metrics HTTP/1.1\r\n\r\n")
        assert await ask(address, b"nonsense") == b""
        with pytest.raises(ListenRefused, match="expected a free"):
            async with metrics_page(address, page):
                pass
    with pytest.raises(ListenRefused, match="nowhere"):
        async with metrics_page("nowhere", page):
            pass
