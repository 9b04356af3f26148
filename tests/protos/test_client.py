"""The client: what it makes of answers, refusals, silence and workers that go away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
import pytest

from protos.client import AsyncClient, AsyncControlClient, Client, ControlClient
from protos.control_client import control_address
from protos.errors import CallError, Rejected, Shed, TimedOut, Unreachable
from protos.signalbox.v1 import scorer_pb2

Start = Callable[[Any], Awaitable[str]]
NOWHERE = "127.0.0.1:1"


def reply(n: int = 1, **changes: Any) -> bytes:
    facts: dict[str, Any] = {
        "generation": 1,
        "posture": scorer_pb2.POSTURE_NORMAL,
        "releases": ["ab"],
        "scores": np.ones(n, "<f4").tobytes(),
        "status": bytes(n),
        "weights": np.ones(n, "<f4").tobytes(),
        "release_index": bytes(n),
        "knowledge_time_unix_ns": bytes(8 * n),
        "row_sequence": bytes(8 * n),
    }
    return scorer_pb2.ScoreReply(**(facts | changes)).SerializeToString()


def saying(body: bytes) -> Any:
    async def handler(_request: bytes, _context: Any) -> bytes:
        return body

    return handler


def refusing(code: grpc.StatusCode, *, retry: str = "0") -> Any:
    async def handler(_request: bytes, context: Any) -> bytes:
        await context.abort(code, "because", (("signalbox-retry", retry),))
        return b""

    return handler


async def test_a_question_travels_whole(answering: Start) -> None:
    seen: list[Any] = []

    async def handler(request: bytes, _context: Any) -> bytes:
        seen.append(scorer_pb2.ScoreRequest.FromString(request))
        return reply(2)

    async with AsyncClient(await answering(handler)) as client:
        score = await client.score("s", ["A", "B"], features=np.ones((2, 3)), release="ab", max_feature_age_ms=0)
    (asked,) = seen
    assert (asked.signal, list(asked.instruments), asked.release) == ("s", ["A", "B"], "ab")
    assert asked.HasField("max_feature_age_ms")
    assert np.frombuffer(asked.features, "<f4").tolist() == [1.0] * 6
    assert score.instruments == ("A", "B")
    assert score.ok.tolist() == [True, True]
    assert not score.scores.flags.writeable


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, Rejected),
        (grpc.StatusCode.NOT_FOUND, Rejected),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Shed),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimedOut),
        (grpc.StatusCode.UNAVAILABLE, Unreachable),
        (grpc.StatusCode.CANCELLED, Unreachable),
    ],
)
@pytest.mark.parametrize("retry", ["0", "1"])
async def test_a_status_becomes_an_error_that_says_whether_to_retry(
    answering: Start, code: grpc.StatusCode, kind: type[CallError], retry: str
) -> None:
    async with AsyncClient(await answering(refusing(code, retry=retry))) as client:
        with pytest.raises(kind, match="because") as refused:
            await client.score("s")
    assert (refused.value.code, refused.value.retry) == (code.name, retry == "1")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_a_worker_that_is_gone_is_passed_over_once(answering: Start, code: grpc.StatusCode) -> None:
    gone, there = await answering(refusing(code)), await answering(saying(reply()))
    async with AsyncClient(gone, there) as client:
        for _ in range(3):
            assert (await client.score("s")).scores.tolist() == [1]

    def blocking() -> None:
        with Client(NOWHERE, there) as client:
            assert client.score("s").scores.tolist() == [1]

    await asyncio.to_thread(blocking)


async def test_a_refusal_is_not_repeated(answering: Start) -> None:
    calls: list[bytes] = []

    async def handler(request: bytes, context: Any) -> bytes:
        calls.append(request)
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "because")
        return b""

    async with AsyncClient(await answering(handler)) as client:
        with pytest.raises(Rejected):
            await client.score("s")
    assert len(calls) == 1


async def test_silence_ends_with_the_deadline(answering: Start) -> None:
    async def silent(_request: bytes, _context: Any) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with AsyncClient(await answering(silent)) as client:
        with pytest.raises(TimedOut):
            await client.score("s", timeout=0.05)
        with pytest.raises(TimedOut, match="no time left"):
            await client.score("s", timeout=0.0)


async def test_nobody_there_is_unreachable() -> None:
    async with AsyncClient(NOWHERE) as client:
        with pytest.raises(Unreachable):
            await client.score("s", timeout=2.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": b"\0\0"},
        {"weights": b""},
        {"release_index": b"\0\0\0"},
        {"row_sequence": b""},
        {"knowledge_time_unix_ns": bytes(16)},
        {"instruments": ["A", "B"]},
        {"posture": 0},
        {"posture": 9},
        {"scores": b"\0\0\0"},
        {"release_index": b"\1"},
        {"status": b"\4"},
    ],
    ids=str,
)
async def test_an_answer_that_does_not_fit_together_is_not_believed(answering: Start, changes: dict[str, Any]) -> None:
    async with AsyncClient(await answering(saying(reply(**changes)))) as client:
        with pytest.raises(Rejected, match="do not trade on it"):
            await client.score("s")


async def test_an_answer_about_fewer_instruments_than_asked_is_not_believed(answering: Start) -> None:
    async with AsyncClient(await answering(saying(reply(1)))) as client:
        with pytest.raises(Rejected, match="one length"):
            await client.score("s", ["A", "B"])


def test_a_control_address_is_a_path_or_what_grpc_takes() -> None:
    assert control_address("/run/control.sock") == "unix:/run/control.sock"
    assert control_address("unix:run/control.sock") == "unix:run/control.sock"
    assert control_address("10.0.0.1:9000") == "10.0.0.1:9000"


async def test_no_scorer_behind_the_control_socket_is_unreachable(tmp_path: Any) -> None:
    path = str(tmp_path / "control.sock")
    async with AsyncControlClient(path) as control:
        with pytest.raises(Unreachable):
            await control.status()
        for _ in range(2):  # a push that failed leaves nothing behind for the next
            with pytest.raises(Unreachable):
                await control.push([b"row"])

    def blocking() -> None:
        with ControlClient(path) as plane:
            for _ in range(2):
                with pytest.raises(Unreachable):
                    plane.push([b"row"])

    await asyncio.to_thread(blocking)


async def test_pushing_nothing_asks_nobody(tmp_path: Any) -> None:
    async with AsyncControlClient(str(tmp_path / "control.sock")) as control:
        assert await control.push([]) == (await control.push(iter(())))
