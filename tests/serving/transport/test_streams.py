"""Streaming calls over a socket: as fast as they are read, ended by whoever ends them first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from loadtests.clients import wire
from serving.status import Code
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode
from serving.transport.http2.frames import Setting

from .conftest import Served, SocketPeer

Serve = Callable[..., Any]


async def test_a_stream_waits_for_the_window(serve: Serve) -> None:
    narrow = frames.PREFACE + wire.settings({Setting.INITIAL_WINDOW_SIZE: 20})
    async with serve() as transport, SocketPeer.to(transport.address, first=narrow) as peer:
        await peer.send(peer.requests.call("/t/Count", b"50"))
        await peer.until(lambda: 1 in peer.reading.answers and len(peer.reading.answers[1].content) == 20)
        await peer.send(wire.ping())
        await peer.until(lambda: peer.reading.of(frames.PING))
        assert 0 < transport.unread.used < 20, "one message waits at most"
        while 1 not in peer.reading.ended:
            await peer.send(frames.window_update(1, 20))
            await peer.read()
        assert peer.reading.answers[1].messages == [b"%d" % number for number in range(50)]
        assert transport.unread.used == 0


async def test_a_deadline_ends_a_stream(serve: Serve, served: Served) -> None:
    served.open_streams = asyncio.Event()
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        answer = await peer.call("/t/Until", b"", (b"grpc-timeout", b"50m"))
        assert (answer.messages, answer.status) == ([b"open"], Code.DEADLINE_EXCEEDED)


async def test_a_timeout_of_the_method_s_own_is_no_deadline(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        for more in ((), ((b"grpc-timeout", b"10S"),)):
            answer = await peer.call("/t/Late", b"", *more)
            assert (answer.messages, answer.status) == ([b"begun"], Code.INTERNAL)
            assert "database" not in answer.message
    assert "a database's, say" in caplog.text


@pytest.mark.parametrize("end", ["reset", "close"])
async def test_a_stream_whose_caller_goes_away_is_closed(serve: Serve, served: Served, end: str) -> None:
    served.open_streams = asyncio.Event()
    async with serve() as transport:
        async with SocketPeer.to(transport.address) as peer:
            await peer.send(peer.requests.call("/t/Until"))
            await peer.until(lambda: 1 in peer.reading.answers and peer.reading.answers[1].messages)
            (task,) = transport._tasks
            if end == "reset":
                await peer.send(frames.rst_stream(1, ErrorCode.CANCEL))
            else:
                peer.abort()
            await asyncio.wait({task}, timeout=10)
            assert task.done()
        assert transport.calls == 0
