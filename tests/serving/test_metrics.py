"""The metrics page: every count once, in Prometheus' own words."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.errors import ListenRefused
from serving.metrics import COUNTERS, metrics_page, render
from serving.statistics import LATENCY_BUCKETS_NS, ScorerCounts, WorkerStatistics, statistics


def samples(page: bytes) -> dict[tuple[str, frozenset[str]], float]:
    families = text_string_to_metric_families(page.decode())
    return {(each.name, frozenset(each.labels.values())): each.value for family in families for each in family.samples}


def counted() -> WorkerStatistics:
    import numpy as np

    from serving.runtime.engine import EngineCounts

    scorer = ScorerCounts(requests=5)
    scorer.errors["UnknownSignal"] += 2
    scorer.take(np.array([0, 0, 1], np.uint8), 10_000)  # exactly a bucket's bound belongs to it
    scorer.take(np.array([3], np.uint8), 60_000_000)
    return statistics(scorer, EngineCounts(batches=2, rows=7))


def test_every_count_is_on_the_page() -> None:
    found = samples(render({0: counted(), 1: WorkerStatistics()}, {0: 3, 1: 0}))
    assert found["signalbox_requests_total", frozenset(("0",))] == 5
    assert found["signalbox_rows_scored_total", frozenset(("0",))] == 7
    assert found["signalbox_rows_total", frozenset(("0", "ok"))] == 2
    assert found["signalbox_rows_total", frozenset(("0", "stale"))] == 1
    assert found["signalbox_rows_total", frozenset(("0", "refused"))] == 1
    assert found["signalbox_errors_total", frozenset(("0", "UnknownSignal"))] == 2
    assert found["signalbox_worker_restarts_total", frozenset(("0",))] == 3
    assert found["signalbox_workers", frozenset(())] == 2


def test_the_latency_histogram_is_cumulative_in_seconds() -> None:
    found = samples(render({0: counted()}, {}))
    name = "signalbox_score_latency_seconds_bucket"
    assert found[name, frozenset(("0", "1e-05"))] == 1
    assert found[name, frozenset(("0", "0.05"))] == 1
    assert found[name, frozenset(("0", "+Inf"))] == 2
    assert found["signalbox_score_latency_seconds_sum", frozenset(("0",))] == pytest.approx(0.06001)


def test_every_counter_is_a_field_that_exists() -> None:
    assert {field for field, _ in COUNTERS.values()} <= set(WorkerStatistics.__struct_fields__)
    assert list(LATENCY_BUCKETS_NS) == sorted(LATENCY_BUCKETS_NS)


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
