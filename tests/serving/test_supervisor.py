"""The scorer as processes: workers that die, ledgers that cannot be read, halts that hold, drains that lose nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from promotion.errors import BrokenChain
from protos.client import AsyncClient, AsyncControlClient, Client, ControlClient
from protos.errors import CallError, Rejected, TimedOut, Unreachable
from serving.errors import ListenRefused
from serving.host.hosting import Hosting
from serving.host.kill import kill_path
from serving.host.supervisor import Supervisor, serve

HALTED = ("HALTED", [3])


@dataclass
class Running:
    supervisor: Supervisor
    scorer: AsyncClient
    control: AsyncControlClient

    async def state(self, *instruments: str) -> tuple[str, list[int]]:
        score = await self.scorer.score("large_caps", instruments or ["CCC"])
        return score.posture, score.status.tolist()

    async def kill_worker(self, worker: int = 0) -> None:
        """kill -9, and waits until another process answers in its place."""
        link = self.supervisor.fleet.links[worker]
        os.kill(link.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            await link.gone.wait()
            await self.supervisor.assign()  # waits for it to be back


@asynccontextmanager
async def running(desk: Any, **options: Any) -> AsyncIterator[Running]:
    async with (
        serve(desk.home, desk.config, Hosting(**({"listen": "127.0.0.1:0"} | options))) as supervisor,
        AsyncClient(*supervisor.addresses) as scorer,
        AsyncControlClient(supervisor.control) as control,
    ):
        yield Running(supervisor, scorer, control)


async def test_a_killed_worker_comes_back_at_its_address_with_everything_it_knew(desk: Any) -> None:
    async with running(desk) as here:
        await here.control.push(desk.rows(3))
        before = await here.scorer.score("large_caps")
        addresses = here.supervisor.addresses
        await here.kill_worker()
        assert here.supervisor.addresses == addresses
        after = await here.scorer.score("large_caps")
        assert after.scores.tolist() == before.scores.tolist() == [6, 12, 18, 24]
        assert after.row_sequences.tolist() == [3, 3, 3, 3]
        status = await here.control.status()
        assert [worker.restarts for worker in status.workers] == [1]


async def test_a_halt_is_latched_whatever_dies_and_whatever_the_ledger_says(desk: Any) -> None:
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        generation = (await here.scorer.score("large_caps")).generation
        assert await here.control.halt("large_caps", reason="fat finger") == ("large_caps",)
        assert await here.state() == HALTED
        # not in the ledger yet: replies carry the generation that it will be
        assert (await here.scorer.score("large_caps")).generation == generation + 1
        await here.control.sync()
        assert await here.state() == HALTED
        await here.kill_worker()
        assert await here.state() == HALTED
        (view,) = (await here.control.status()).signals
        assert (view.latched, view.reason) == (True, "fat finger")
        assert await here.control.resume("large_caps") == ("large_caps",)
        assert await here.state() == ("NORMAL", [0])
        desk.rollout.halt("large_caps", why="test", as_="alice")
        await here.control.sync()
        await here.control.resume()
        assert await here.state() == HALTED, "what the ledger halted stays halted"


async def test_each_worker_can_be_halted_without_its_supervisor(desk: Any) -> None:
    async with running(desk, workers=2) as here:
        await here.control.push(desk.rows(0))
        reader, writer = await asyncio.open_unix_connection(kill_path(desk.home, 1))
        writer.write(b"halt large_caps\n")
        assert await reader.readline() == b"halted large_caps\n"
        writer.close()
        first, second = here.supervisor.addresses
        async with AsyncClient(first) as one, AsyncClient(second) as other:
            assert (await one.score("large_caps", ["CCC"])).status.tolist() == [0]
            assert (await other.score("large_caps", ["CCC"])).status.tolist() == [3]
            await here.control.sync()
            assert (await other.score("large_caps", ["CCC"])).status.tolist() == [3]


async def test_without_a_readable_ledger_everything_starts_halted_until_it_can_be_read(desk: Any) -> None:
    away = desk.home.ledger.with_suffix(".away")
    desk.home.ledger.rename(away)
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        assert await here.state() == HALTED
        status = await here.control.status()
        assert status.ledger_sequence == 0
        assert "ledger" in status.ledger_error
        assert status.signals[0].reason
        with pytest.raises(Unreachable, match="expected a ledger") as refused:
            await here.control.sync()
        assert refused.value.retry
        away.rename(desk.home.ledger)
        await here.control.sync()
        assert await here.state() == ("NORMAL", [0])
        desk.home.ledger.rename(away)
        assert await here.state() == ("NORMAL", [0]), "what was known is served on"
        away.rename(desk.home.ledger)


async def test_a_broken_ledger_chain_starts_nothing_and_the_entry_is_named(desk: Any) -> None:
    with sqlite3.connect(desk.home.ledger) as connection:
        connection.execute("DROP TRIGGER entries_stay")
        (body,) = connection.execute("SELECT body FROM entries WHERE sequence = 5").fetchone()
        altered = body.replace(b'"time_ns":17', b'"time_ns":18')
        assert altered != body
        connection.execute("UPDATE entries SET body = ? WHERE sequence = 5", (altered,))
    with pytest.raises(BrokenChain, match="entry 5"):
        async with running(desk):
            pass
    assert not desk.home.control_socket.exists()


async def test_a_release_with_an_altered_byte_is_not_served_and_named(desk: Any) -> None:
    path = desk.home.releases / desk.releases[1] / "model.onnx"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        assert await here.state() == HALTED
        (view,) = (await here.control.status()).signals
        assert (view.posture, view.live) == ("HALTED", desk.releases[1])
        assert "model.onnx" in view.reason
        desk.rollout.rollback("large_caps", why="altered", as_="alice")
        await here.control.sync()
        assert await here.state() == ("NORMAL", [0])


async def test_a_signal_without_a_release_is_a_clear_refusal(empty_desk: Any) -> None:
    async with running(empty_desk) as here:
        with pytest.raises(Rejected, match="promote one") as refused:
            await here.scorer.score("large_caps")
        assert refused.value.code == "FAILED_PRECONDITION"
        release = empty_desk.promote(1.0)
        await here.control.sync(1, signal="large_caps")
        await here.control.push(empty_desk.rows(0))
        assert (await here.scorer.score("large_caps")).releases == (release,)


async def test_an_unnoticed_commit_is_followed_by_polling(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.host.supervisor.POLL_SECONDS", 0.02)
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        desk.rollout.set_weight("large_caps", 0.25, why="test", as_="alice")
        async with asyncio.timeout(10):
            while (await here.scorer.score("large_caps", ["AAA"])).weights.tolist() != [0.25]:
                pass


async def test_every_bad_call_has_its_status_over_the_wire(desk: Any) -> None:
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


async def test_pushed_rows_are_refused_one_by_one(desk: Any) -> None:
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


async def test_a_subscriber_over_the_wire_sees_rows_and_cuts(desk: Any) -> None:
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


async def test_health_reflection_and_metrics(desk: Any) -> None:
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


async def test_swaps_under_load_fail_no_call_and_mix_no_two_releases(desk: Any) -> None:
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
        desk.promote(4.0)
        await here.control.sync()
        (latest,) = set(desk.releases) - {older, newer}
        desk.rollout.rollback("large_caps", why="test", as_="alice")
        await here.control.sync()
        stop.set()
        await asyncio.gather(*askers)
    assert {(older, 3.0), (latest, 12.0)} <= seen <= {(older, 3.0), (newer, 6.0), (latest, 12.0)}


async def test_a_signal_that_the_configuration_does_not_name_is_halted(desk: Any) -> None:
    config = msgspec.structs.replace(desk.config, signals={})
    async with running(replace(desk, config=config)) as here:
        score = await here.scorer.score("large_caps", ["AAA"])
        assert (score.posture, score.status.tolist()) == HALTED
        (view,) = (await here.control.status()).signals
        assert "does not name this signal" in view.reason


async def test_a_drain_under_load_loses_no_call(desk: Any) -> None:
    answered, failed = 0, []
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        stop, warm = asyncio.Event(), asyncio.Event()

        async def ask() -> None:
            nonlocal answered
            while not stop.is_set():
                try:
                    await here.scorer.score("large_caps", features=np.ones((1, 3)))
                    answered += 1
                    if answered == 50:
                        warm.set()
                except Unreachable:
                    return  # refused, not lost: the client may repeat it elsewhere
                except CallError as error:
                    failed.append(error)

        askers = [asyncio.create_task(ask()) for _ in range(8)]
        await warm.wait()
        await here.supervisor.fleet.close()
        stop.set()
        await asyncio.gather(*askers)
    assert failed == []


async def test_one_home_has_one_supervisor_and_one_address_one_worker(desk: Any, empty_desk: Any) -> None:
    async with running(desk) as here:
        with pytest.raises(ListenRefused, match="no other supervisor"):
            async with running(desk):
                pass
        with pytest.raises(ListenRefused, match="expected a free address"):
            async with running(
                desk, listen=here.supervisor.addresses[0], control=str(desk.home.root / "other" / "control.sock")
            ):
                pass


@pytest.mark.parametrize("listen", ["8500", "host:", "127.0.0.1:99999", ""])
async def test_an_address_is_host_and_port(empty_desk: Any, listen: str) -> None:
    with pytest.raises(ListenRefused, match="HOST:PORT"):
        async with running(empty_desk, listen=listen):
            pass


async def test_the_blocking_client_says_the_same(desk: Any) -> None:
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


SUPERVISE = """
import asyncio, msgspec, sys
from pathlib import Path
from promotion.config import Config
from promotion.home import Home
from serving.host.hosting import Hosting
from serving.host.supervisor import serve

async def main():
    config = msgspec.json.decode(sys.argv[2], type=Config)
    async with serve(Home(Path(sys.argv[1])), config, Hosting(listen="127.0.0.1:0")) as supervisor:
        print(supervisor.addresses[0], supervisor.fleet.links[0].pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_workers_serve_on_when_their_supervisor_is_killed_and_drain_on_sigterm(desk: Any) -> None:
    config = msgspec.json.encode(desk.config)
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISE, str(desk.home.root), config, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    address, pid = (await supervisor.stdout.readline()).decode().split()
    async with AsyncControlClient(str(desk.home.control_socket)) as control, AsyncClient(address) as scorer:
        await control.push(desk.rows(0))
        supervisor.kill()
        await supervisor.wait()
        with pytest.raises(Unreachable):
            await control.status()
        score = await scorer.score("large_caps", ["CCC"])
        assert score.scores.tolist() == [18]
        async with running(desk) as successor:  # another supervisor takes over beside the orphan
            assert successor.supervisor.addresses != (address,)
        assert (await scorer.score("large_caps", ["CCC"])).scores.tolist() == [18]
        os.kill(int(pid), signal.SIGTERM)
        async with asyncio.timeout(10):
            while True:
                try:
                    await scorer.score("large_caps", ["CCC"])
                except Unreachable:
                    break
