"""A scorer over the wire: calls, rows, subscribers, health, and what a swap or a drain does to them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from loadtests.harness.certificate import make_certificate
from protos.client import Client, ControlClient
from protos.errors import CallError, Rejected, TimedOut, Unreachable
from serving.errors import ListenRefused
from serving.host.hosting import Hosting
from serving.host.supervisor import serve
from serving.transport.listen import Tls


async def test_every_bad_call_has_its_status_over_the_wire(desk: Any, running: Any) -> None:
    async with running(desk) as here:
        bad: list[tuple[str, str, dict[str, Any]]] = [
            ("NOT_FOUND", "expected one that is served here", {"signal": "nothing"}),
            ("NOT_FOUND", "expected a loaded release", {"release": "beef"}),
            ("INVALID_ARGUMENT", "twice", {"instruments": ["AAA", "AAA"]}),
            ("INVALID_ARGUMENT", "multiple of 12 bytes", {"features": np.ones((1, 4))}),
            ("INVALID_ARGUMENT", "finite", {"features": np.array([[1.0, np.inf, 1.0]])}),
            ("INVALID_ARGUMENT", "0 or more", {"max_feature_age_ms": -1}),
        ]
        for code, words, question in bad:
            with pytest.raises(Rejected, match=words) as refused:
                await here.scorer.score(question.pop("signal", "large_caps"), **question)
            assert (refused.value.code, refused.value.retry) == (code, False)
        with pytest.raises(TimedOut):
            await here.scorer.score("large_caps", timeout=0.0)
        async with grpc.aio.insecure_channel(here.supervisor.addresses[0]) as channel:
            garbage = channel.unary_unary("/signalbox.v1.Scorer/Score")
            with pytest.raises(grpc.aio.AioRpcError, match="ScoreRequest") as malformed:
                await garbage(b"\xff\xff\xff")
            assert malformed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await channel.unary_unary("/signalbox.v1.Scorer/Guess")(b"")
            assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(Rejected, match="expected generation 99"):
            await here.control.sync(99, signal="large_caps")
        (described,) = await here.scorer.describe("large_caps")
        assert described.features == ("momentum", "reversal", "volatility")
        assert set(described.releases) == set(desk.releases)


async def test_pushed_rows_are_refused_one_by_one(desk: Any, running: Any) -> None:
    async with running(desk, workers=2) as here:
        good, again, cut = desk.rows(1), desk.rows(1)[0], desk.rows(2)[0][:-1]
        pushed = await here.control.push([*good, again, cut, b""])
        assert pushed.accepted == 4
        assert [index for index, _ in pushed.refused] == [4, 5, 6]
        assert "sequence above 1" in pushed.refused[0][1]
        late = await here.control.push(desk.rows(0))
        assert (late.accepted, len(late.refused)) == (0, 4)
        status = await here.control.status()
        assert [worker.rows_pushed for worker in status.workers] == [4, 4]


async def test_a_subscriber_over_the_wire_sees_rows_and_cuts(desk: Any, running: Any) -> None:
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        scores = here.scorer.subscribe("large_caps", ["BBB"])
        async with asyncio.timeout(10):
            assert (await anext(scores)).row_sequences.tolist() == [0]
            await here.control.push(desk.rows(1))
            assert (await anext(scores)).row_sequences.tolist() == [1]
            desk.rollout.set_weight("large_caps", 0.5, why="test", as_="alice")
            await here.control.sync()
            assert (await anext(scores)).weights.tolist() == [0.5]
        await scores.aclose()


async def test_health_reflection_and_metrics(desk: Any, running: Any) -> None:
    async with running(desk, metrics="127.0.0.1:0") as here:
        for address, services in ((here.supervisor.addresses[0], ("", "large_caps")), (here.supervisor.control, ("",))):
            async with grpc.aio.insecure_channel(address) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                for service in services:
                    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                    assert answer.status == health_pb2.HealthCheckResponse.SERVING
        async with grpc.aio.insecure_channel(here.supervisor.control) as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            async for answer in stub.ServerReflectionInfo(iter([request])):
                names = {service.name for service in answer.list_services_response.service}
                assert {"signalbox.v1.Control", "grpc.health.v1.Health"} <= names
        await here.scorer.score("large_caps")
        host, port = here.supervisor.metrics.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        page = (await reader.read()).decode()
        writer.close()
        assert 'signalbox_requests_total{worker="0"} 1.0' in page
        assert 'signalbox_collection_pause_seconds_count{worker="0"} 0.0' not in page, "it collected when it had loaded"
        assert 'signalbox_connections{worker="0"} 0.0' not in page
        assert 'signalbox_worker_up{worker="0"} 1.0' in page


async def test_swaps_under_load_fail_no_call_and_mix_no_two_releases(desk: Any, running: Any) -> None:
    older, newer = desk.releases
    seen: set[tuple[str, float]] = set()
    async with running(desk) as here:
        stop = asyncio.Event()

        async def ask() -> None:
            while not stop.is_set():
                score = await here.scorer.score("large_caps", features=np.ones((2, 3)))
                seen.update((score.releases[0], each) for each in score.scores.tolist())
                assert score.weights.tolist() == [1, 1]

        askers = [asyncio.create_task(ask()) for _ in range(4)]
        desk.rollout.rollback("large_caps", why="test", as_="alice")
        await here.control.sync()
        desk.promote(slope=4.0)
        await here.control.sync()
        (latest,) = set(desk.releases) - {older, newer}
        desk.rollout.rollback("large_caps", why="test", as_="alice")
        await here.control.sync()
        stop.set()
        await asyncio.gather(*askers)
    assert {(older, 3.0), (latest, 12.0)} <= seen <= {(older, 3.0), (newer, 6.0), (latest, 12.0)}


async def test_a_drain_says_not_serving_first_and_loses_no_call(desk: Any, running: Any) -> None:
    answered, failed = 0, []
    async with running(desk) as here, grpc.aio.insecure_channel(here.supervisor.addresses[0]) as channel:
        await here.control.push(desk.rows(0))
        warm, health = asyncio.Event(), []

        async def ask() -> None:
            nonlocal answered
            while True:
                try:
                    await here.scorer.score("large_caps", features=np.ones((1, 3)))
                    answered += 1
                    if answered == 50:
                        warm.set()
                except Unreachable:
                    return  # refused, not lost: the client may repeat it elsewhere
                except CallError as error:
                    failed.append(error)

        async def watch() -> None:
            async for said in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest()):
                health.append(said.status)

        watching = asyncio.create_task(watch())
        askers = [asyncio.create_task(ask()) for _ in range(8)]
        await warm.wait()
        await here.supervisor.fleet.close()
        await asyncio.gather(watching, *askers)
    assert failed == []
    words = health_pb2.HealthCheckResponse
    assert health == [words.SERVING, words.NOT_SERVING]


async def test_the_blocking_client_says_the_same(desk: Any, running: Any) -> None:
    def blocking(address: str, control: str) -> None:
        with ControlClient(control.removeprefix("unix:")) as plane, Client(address) as scorer:
            assert plane.push(desk.rows(0)).accepted == 4
            assert len(plane.push(desk.rows(0)).refused) == 4
            score = scorer.score("large_caps", ["CCC"])
            assert score.scores.tolist() == [18]
            assert plane.halt(reason="test") == ("large_caps",)
            assert scorer.score("large_caps", ["CCC"]).posture == "HALTED"
            assert plane.resume() == ("large_caps",)
            assert [each.signal for each in plane.sync()] == ["large_caps"]
            assert plane.status().ledger_error == ""
            assert [each.signal for each in scorer.describe()] == ["large_caps"]
            stream = scorer.subscribe("large_caps", ["CCC"])
            assert next(stream).scores.tolist() == [18]
            stream.close()
            with pytest.raises(Rejected):
                scorer.score("nothing")
            with pytest.raises(Rejected):
                next(scorer.subscribe("nothing"))

    async with serve(desk.home, desk.config, Hosting(listen="127.0.0.1:0")) as supervisor:
        await asyncio.to_thread(blocking, supervisor.addresses[0], supervisor.control)


async def test_calls_come_by_tls_where_it_is_set_up(desk: Any, transport: str) -> None:
    made = await asyncio.to_thread(make_certificate)
    certificate = await asyncio.to_thread(made.path.read_bytes)
    tls = Tls(certificate=made.path, key=made.key_path)
    hosting = Hosting(listen="127.0.0.1:0", transport=transport, tls=tls)  # type: ignore[arg-type]
    async with serve(desk.home, desk.config, hosting) as supervisor:
        credentials = grpc.ssl_channel_credentials(certificate)
        async with grpc.aio.secure_channel(supervisor.addresses[0], credentials) as channel:
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_key_that_others_may_read_starts_nothing(desk: Any, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.touch(mode=0o644)
    hosting = Hosting(listen="127.0.0.1:0", tls=Tls(certificate=tmp_path / "certificate.pem", key=key))
    with pytest.raises(ListenRefused, match="others may read"):
        async with serve(desk.home, desk.config, hosting):
            pass
