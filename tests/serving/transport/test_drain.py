"""The end in two steps: GOAWAY, a PING, GOAWAY again. What was accepted is answered; who retries loses nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from loadtests.clients import wire
from serving.status import Code
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode
from serving.transport.native import native_transport

from .conftest import Served, SocketPeer

ROOT = Path(__file__).resolve().parents[3]
GRACE = 10.0
Serve = Callable[..., Any]


def nothing() -> None:
    pass


@asynccontextmanager
async def calling(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A grpcio client in its own process, once it is answered; see loadtests/clients/calling.py."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "loadtests.clients.calling", *arguments, stdin=pipe, stdout=pipe, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """What a client says when it is told to stop."""
    out, _ = await process.communicate(b"")
    document: dict[str, Any] = json.loads(out)
    return document


async def first_goaway(peer: SocketPeer) -> bytes:
    """Waits for the first half of the end; returns what its PING carries."""
    await peer.until(lambda: peer.reading.of(frames.PING))
    assert peer.reading.goaway == (frames.MAX_WINDOW, ErrorCode.NO_ERROR, "")
    return peer.reading.of(frames.PING)[0].payload


async def test_two_steps_with_a_ping_between(serve: Serve, served: Served) -> None:
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        await peer.send(peer.requests.call("/t/Hold", b"held"))
        assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]
        draining = asyncio.create_task(transport.drain(GRACE, nothing))
        ping = await first_goaway(peer)
        assert (await peer.call("/t/Echo", b"on its way")).messages == [b"on its way"]

        await peer.send(wire.ping(ping, ack=True))
        await peer.until(lambda: len(peer.reading.of(frames.GOAWAY)) == 2)
        assert peer.reading.goaway == (5, ErrorCode.NO_ERROR, "")
        assert (await peer.call("/t/Echo", b"late")).reset == ErrorCode.REFUSED_STREAM
        assert not draining.done()

        served.held[0][0].answer(b"done")
        await peer.until(lambda: 1 in peer.reading.ended)
        assert peer.reading.answers[1].messages == [b"done"]
        await peer.closed()
        await draining
        assert transport.statistics().connections == 0


async def test_a_peer_that_never_answers_the_ping_is_not_waited_for_long(serve: Serve) -> None:
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]
        draining = asyncio.create_task(transport.drain(GRACE, nothing))
        await peer.closed()
        assert [each.payload[:8] for each in peer.reading.of(frames.GOAWAY)] == [
            b"\x7f\xff\xff\xff\0\0\0\0",
            b"\0\0\0\1\0\0\0\0",
        ]
        await draining


async def test_a_request_whose_content_is_on_its_way_is_finished(serve: Serve) -> None:
    """Of a head that is known by its bytes nobody hears before its content comes: it counts as under way."""
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        for _ in range(3):
            assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]
        stream_id = peer.requests.stream()
        await peer.send(wire.head(stream_id, peer.requests.block(peer.requests.fields("/t/Echo"))) + wire.ping())
        await peer.until(lambda: peer.reading.of(frames.PING))
        peer.reading.frames.clear()
        draining = asyncio.create_task(transport.drain(GRACE, nothing))
        await peer.send(wire.ping(await first_goaway(peer), ack=True))
        await peer.until(lambda: len(peer.reading.of(frames.GOAWAY)) == 2)
        await peer.send(wire.ping())
        await peer.until(lambda: peer.reading.frames[-1].kind == frames.PING)
        assert not draining.done()
        await peer.send(wire.data(stream_id, wire.grpc(b"whole"), end=True))
        await peer.until(lambda: stream_id in peer.reading.ended)
        assert peer.reading.answers[stream_id].messages == [b"whole"]
        await draining


async def test_streams_end_when_every_peer_knows(serve: Serve, served: Served) -> None:
    served.open_streams = asyncio.Event()
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        await peer.send(peer.requests.call("/t/Until"))
        await peer.until(lambda: peer.reading.answers[1].messages if 1 in peer.reading.answers else [])
        draining = asyncio.create_task(transport.drain(GRACE, served.open_streams.set))
        await peer.send(wire.ping(await first_goaway(peer), ack=True))
        await peer.until(lambda: 1 in peer.reading.ended)
        assert peer.reading.answers[1].messages == [b"open", b"over"]
        assert peer.reading.answers[1].status == Code.OK
        await draining


async def test_what_is_not_done_within_the_grace_is_cancelled(serve: Serve, served: Served) -> None:
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        await peer.send(peer.requests.call("/t/Hold", b"held"))
        await peer.send(wire.ping())
        await peer.until(lambda: peer.reading.of(frames.PING))
        await transport.drain(0.3, nothing)
        await peer.closed()
        assert served.held[0][0].cancelled


async def test_no_connection_is_accepted_any_more(serve: Serve) -> None:
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]
        draining = asyncio.create_task(transport.drain(GRACE, nothing))
        await first_goaway(peer)
        with pytest.raises(ConnectionError):
            async with SocketPeer.to(transport.address):
                pass
        await draining


async def test_grpcio_clients_that_retry_lose_nothing() -> None:
    """Three servers are drained and replaced one after the other, with three clients at work."""
    async with AsyncExitStack() as stack:
        addresses, opened = [], []
        for _ in range(3):
            own = await stack.enter_async_context(AsyncExitStack())
            transport = await own.enter_async_context(native_transport(Served().methods, listen="127.0.0.1:0"))
            opened.append((own, transport))
            addresses.append(transport.address)
        load = ",".join(addresses), "/t/Echo", "--retry", "--in-flight"
        clients = [await stack.enter_async_context(calling(*load, in_flight)) for in_flight in ("1", "4", "16")]
        for address, (own, transport) in zip(addresses, opened, strict=True):
            await transport.drain(GRACE, nothing)
            assert transport.statistics().connections == 0
            await own.aclose()
            again = Served()
            await own.enter_async_context(native_transport(again.methods, listen=address))
            await again.came.wait()
        for client in clients:
            found = await told(client)
            assert (found["lost"], found["wrong"]) == ({}, 0)
            assert found["answered"] > 100


async def test_a_grpcio_client_loses_no_call_that_is_under_way(serve: Serve, served: Served) -> None:
    """Without retries: what was accepted is answered, whenever the end came."""
    async with serve() as transport, calling(transport.address, "/t/Echo", "--in-flight", "4") as client:
        holder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", _HOLD, transport.address, stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        while not served.held:
            served.came.clear()
            await served.came.wait()
        draining = asyncio.create_task(transport.drain(GRACE, nothing))
        assert not (await asyncio.wait({draining}, timeout=0.6))[0]
        served.held[0][0].answer(b"done")
        out, _ = await holder.communicate()
        assert out == b"done"
        await draining
        found = await told(client)
        assert set(found["lost"]) <= {"UNAVAILABLE"}, "after the end there is nobody to call"


_HOLD = """
import sys, grpc
with grpc.insecure_channel("ipv4:" + sys.argv[1], [("grpc.enable_http_proxy", 0)]) as channel:
    sys.stdout.buffer.write(channel.unary_unary("/t/Hold")(b"held", timeout=20))
"""
