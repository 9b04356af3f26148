"""Every limit of the transport over a socket: it holds, and an honest client's calls are answered meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from loadtests.clients import wire
from serving.status import Code
from serving.transport.http2 import frames
from serving.transport.http2.errors import ConnectionFault, ErrorCode
from serving.transport.http2.frames import Setting
from serving.transport.http2.limits import Guard, Limits, Rate

from .conftest import PATIENCE_SECONDS, HonestClient, Served, SocketPeer

CALM = ErrorCode.ENHANCE_YOUR_CALM
WIDE = wire.settings({Setting.INITIAL_WINDOW_SIZE: 2**30}) + frames.window_update(0, 2**30)
Serve = Callable[..., Any]


@pytest.mark.parametrize("name", Limits.__struct_fields__)
def test_a_limit_that_excludes_every_request_is_refused(name: str) -> None:
    if isinstance(getattr(Limits(), name), Rate):
        return
    for wrong in (-1, 2**70):
        with pytest.raises(ValueError, match=f"{name}: expected"):
            Limits(**{name: wrong})


@pytest.mark.parametrize(
    "told",
    [
        {"streams": 5},
        {"pings": {"burst": 5, "per_second": 1, "per_call": 1.0}},
        {"pings": {"burst": 0, "per_second": 1}},
        {"pings": {"burst": 5, "per_second": -1}},
    ],
    ids=str,
)
def test_what_is_no_limit_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(told, Limits)


def test_a_rate_refills_by_time_and_by_answers() -> None:
    guard = Guard(Limits(pings=Rate(2, 1, 0.5)))
    second = 10**9

    def spend(at_seconds: float, answers: int = 0) -> str:
        try:
            guard.spend("pings", int(at_seconds * second), answers)
        except ConnectionFault as fault:
            return str(fault)
        return ""

    assert not spend(0)
    assert not spend(0)
    assert spend(0).startswith("pings: expected at most 1 a second")
    assert not spend(2)  # the one that was refused is owed
    assert spend(2)
    assert not spend(2, answers=6)
    assert not spend(2, answers=6)
    assert spend(2, answers=6)
    assert not spend(1000)
    assert not spend(1000), "and no more than the burst is saved up"
    assert spend(1000)


# Floods: the peer sends as fast as it can, and comes again when it is closed.


def _requests_that_are_reset(peer: SocketPeer) -> bytes:
    return peer.requests.call("/t/Hold") + frames.rst_stream(peer.requests.next_stream - 2, ErrorCode.CANCEL)


def _requests_that_we_must_reset(peer: SocketPeer) -> bytes:
    """CVE-2025-8671: the server is made to reset streams whose requests it has begun to answer."""
    return peer.requests.call("/t/Hold") + frames.window_update(peer.requests.next_stream - 2, 0)


def _heads_that_are_malformed(peer: SocketPeer) -> bytes:
    """Known by their bytes: nobody looks at them until their content comes, or the time is over."""
    return wire.head(peer.requests.stream(), peer.requests.block(((b":method", b"POST"), (b":scheme", b"http"))))


def _streams_beyond_the_limit(peer: SocketPeer) -> bytes:
    return peer.requests.call("/t/Hold")


def _empty_continuation(peer: SocketPeer) -> bytes:
    begun = peer.requests.next_stream > 1
    peer.requests.stream()
    more = frames.frame(frames.CONTINUATION, 0, 1)
    return more if begun else wire.head(1, b"\x83", flags=0) + more


def _empty_data(peer: SocketPeer) -> bytes:
    begun = peer.requests.next_stream > 1
    peer.requests.stream()
    more = wire.data(1, b"")
    return more if begun else wire.head(1, peer.requests.block(peer.requests.fields("/t/Echo"))) + more


FLOODS: dict[str, tuple[Callable[[SocketPeer], bytes], str, dict[str, Any]]] = {
    "rapid reset (CVE-2023-44487)": (_requests_that_are_reset, "resets", {"resets": Rate(30, 1)}),
    "made to reset (CVE-2025-8671)": (_requests_that_we_must_reset, "resets", {"resets": Rate(30, 1)}),
    "ping (CVE-2019-9512)": (lambda peer: wire.ping(), "pings", {"pings": Rate(30, 1)}),
    "settings (CVE-2019-9515)": (lambda peer: wire.settings(), "settings", {"settings": Rate(30, 1)}),
    "empty data (CVE-2019-9518)": (_empty_data, "empty_frames", {"empty_frames": Rate(30, 1)}),
    "empty continuation": (_empty_continuation, "empty_frames", {"empty_frames": Rate(5, 1)}),
    "priority (CVE-2019-9513)": (
        lambda peer: frames.frame(frames.PRIORITY, 0, 1, bytes(5)),
        "empty_frames",
        {"empty_frames": Rate(30, 1)},
    ),
    "unknown frames": (lambda peer: frames.frame(0x77, 0, 0), "empty_frames", {"empty_frames": Rate(30, 1)}),
    "goaway": (lambda peer: frames.goaway(0, ErrorCode.NO_ERROR), "empty_frames", {"empty_frames": Rate(30, 1)}),
    "window update (CVE-2019-9511)": (
        lambda peer: frames.window_update(0, 1),
        "window_updates",
        {"window_updates": Rate(30, 1)},
    ),
    "streams beyond the limit": (
        _streams_beyond_the_limit,
        "refused_streams",
        {"refused_streams": Rate(30, 1), "concurrent_streams": 2},
    ),
    "continuation (CVE-2024-27316)": (
        lambda peer: wire.head(1, b"\x83", flags=0) + frames.frame(frames.CONTINUATION, 0, 1, b"\x83") * 99,
        "continuation_frames",
        {},
    ),
    "header block bytes": (
        lambda peer: wire.head(1, b"\x83" * 16_000, flags=0) + frames.frame(9, 0, 1, b"\x83" * 16_000) * 9,
        "header_block_bytes",
        {"header_block_bytes": 40_000},
    ),
    "HPACK bombs": (
        lambda peer: wire.head(peer.requests.stream(), b"\x83" * 16_000, end=True),
        "large_heads",
        {},
    ),
    "settings by the thousand in one frame": (
        lambda peer: frames.frame(frames.SETTINGS, 0, 0, b"\0\4\0\0\0\1" * 2000),
        "settings",
        {},
    ),
    "garbage": (lambda peer: bytes(range(1, 255)), "protocol", {}),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_its_own_connection_alone(serve: Serve, name: str) -> None:
    make, limit, limits = FLOODS[name]
    async with serve(**limits) as transport, HonestClient.to(transport.address) as honest:
        for times in range(1, 4):
            async with SocketPeer.to(transport.address) as hostile, asyncio.timeout(PATIENCE_SECONDS):
                closing = asyncio.create_task(hostile.closed())
                while not closing.done():
                    await hostile.send(b"".join(make(hostile) for _ in range(20)))
                    await asyncio.sleep(0)  # a turn of the loop, which the server runs in, too
                await closing
                assert hostile.reading.goaway is None or hostile.reading.goaway[1] in (CALM, ErrorCode.FRAME_SIZE_ERROR)
            await honest.more(5)
            assert transport.statistics().refused == {limit: times}


async def test_heads_that_wait_and_prove_malformed_do_not_stop_the_watch(serve: Serve) -> None:
    """Nobody has looked at them when the time is over: the one that does must live on."""
    async with (
        serve(resets=Rate(30, 1), request_seconds=0.2, frame_seconds=0.2) as transport,
        HonestClient.to(transport.address) as honest,
    ):
        for times in (1, 2):
            async with SocketPeer.to(transport.address) as hostile:
                for _ in range(4):
                    await hostile.send(_heads_that_are_malformed(hostile))
                await hostile.until(lambda: hostile.reading.of(frames.RST_STREAM))
                await hostile.send(b"".join(_heads_that_are_malformed(hostile) for _ in range(100)))
                await hostile.closed()
            await honest.more()
            assert transport.statistics().refused == {"resets": times}


# What is refused, one stream at a time.


async def test_concurrent_streams(serve: Serve, served: Served) -> None:
    async with (
        serve(concurrent_streams=3) as transport,
        HonestClient.to(transport.address) as honest,
        SocketPeer.to(transport.address) as hostile,
    ):
        await hostile.send(b"".join(hostile.requests.call("/t/Hold") for _ in range(8)))
        await hostile.until(lambda: len(hostile.reading.ended) == 5)
        assert {answer.reset for answer in hostile.reading.ended.values()} == {ErrorCode.REFUSED_STREAM}
        assert len(served.held) == 3
        await honest.more()
        assert transport.statistics().refused == {}


async def test_header_list_bytes(serve: Serve) -> None:
    async with (
        serve(header_list_bytes=2000) as transport,
        HonestClient.to(transport.address) as honest,
        SocketPeer.to(transport.address) as hostile,
    ):
        for _ in range(3):
            answer = await hostile.call("/t/Echo", b"x", (b"x-long", b"y" * 2000))
            assert answer.status == Code.RESOURCE_EXHAUSTED
            assert "2000 bytes" in answer.message
        await honest.more()
        assert (await hostile.call("/t/Echo", b"x")).messages == [b"x"]


async def test_an_hpack_bomb(serve: Serve) -> None:
    """A large field in the table once, then named by one byte thousands of times a block."""
    async with (
        serve() as transport,
        HonestClient.to(transport.address) as honest,
        SocketPeer.to(transport.address) as hostile,
    ):
        fields = hostile.requests.fields("/t/Echo", (b"x-bomb", b"y" * 3900))
        await hostile.send(wire.head(hostile.requests.stream(), hostile.requests.block(fields), end=True))
        for _ in range(15):
            await hostile.send(wire.head(hostile.requests.stream(), b"\xbe" * 16_000, end=True))
        await hostile.until(lambda: len(hostile.reading.ended) == 16)
        for stream_id in range(3, 33, 2):
            assert hostile.reading.answers[stream_id].status == Code.RESOURCE_EXHAUSTED
        await honest.more()
        assert (await hostile.call("/t/Echo", b"x")).messages == [b"x"]


async def test_message_bytes(serve: Serve) -> None:
    async with (
        serve(message_bytes=50_000) as transport,
        HonestClient.to(transport.address) as honest,
        SocketPeer.to(transport.address) as hostile,
    ):
        block = hostile.requests.block(hostile.requests.fields("/t/Echo"))
        await hostile.send(wire.head(hostile.requests.stream(), block) + wire.data(1, wire.grpc(bytes(50_001))[:99]))
        await hostile.until(lambda: 1 in hostile.reading.ended)
        assert hostile.reading.answers[1].status == Code.RESOURCE_EXHAUSTED
        await hostile.send(wire.data(1, bytes(16_000)) * 100)  # it may have been on its way
        await honest.more()
        assert (await hostile.call("/t/Echo", b"x")).messages == [b"x"]
        assert transport.unfinished.used == 0


async def test_unfinished_bytes_over_all_connections(serve: Serve) -> None:
    async with (
        serve(unfinished_bytes=300_000) as transport,
        HonestClient.to(transport.address) as honest,
        AsyncExitStack() as stack,
    ):
        hostile = [await stack.enter_async_context(SocketPeer.to(transport.address)) for _ in range(5)]
        for peer in hostile:
            for _ in range(3):
                block = peer.requests.block(peer.requests.fields("/t/Echo"))
                begun = wire.head(peer.requests.stream(), block)
                await peer.send(begun + wire.data(peer.requests.next_stream - 2, b"\0\0\1\0\0" + bytes(14_000)) * 2)
        refused = [asyncio.create_task(peer.until(lambda peer=peer: peer.reading.ended)) for peer in hostile]
        await asyncio.wait(refused, return_when=asyncio.FIRST_COMPLETED)
        await honest.more()
        for task in refused:
            task.cancel()
        ended = [answer for peer in hostile for answer in peer.reading.ended.values()]
        assert {answer.status for answer in ended} == {Code.RESOURCE_EXHAUSTED}
        assert transport.unfinished.used <= 300_000
        assert transport.statistics().refused == {}


# What a peer leaves unread.


async def test_replies_that_the_peer_s_window_holds_back(serve: Serve) -> None:
    async with (
        serve(unsent_bytes=200_000) as transport,
        HonestClient.to(transport.address) as honest,
        SocketPeer.to(transport.address) as hostile,
    ):
        await hostile.send(b"".join(hostile.requests.call("/t/Bytes", b"60000") for _ in range(50)))
        await hostile.until(lambda: len(hostile.reading.ended) >= 45)
        ended = [answer for answer in hostile.reading.ended.values() if answer.status]
        assert {answer.status for answer in ended} == {Code.RESOURCE_EXHAUSTED}
        await honest.more()
        assert transport.unread.used <= 200_000 + 60_005
        await hostile.send(WIDE)
        await hostile.until(lambda: len(hostile.reading.ended) == 50)
        assert transport.unread.used == 0


async def test_a_peer_that_reads_nothing(serve: Serve) -> None:
    """Its requests are small, their replies large: what waits for it stays below the limit, and then it is closed."""
    most = 0
    async with serve(unread_bytes=3_000_000, stalled_seconds=0.4) as transport:
        async with HonestClient.to(transport.address) as honest, AsyncExitStack() as stack:
            hostile = [
                await stack.enter_async_context(SocketPeer.to(transport.address, limit=1, first=wire.PREFACE + WIDE))
                for _ in range(8)
            ]
            for peer in hostile:
                await peer.send(b"".join(peer.requests.call("/t/Bytes", b"16000") for _ in range(2000)))
                most = max(most, transport.unread.used)
            await honest.more()
            while transport.statistics().connections > 1:
                most = max(most, transport.unread.used)
                await honest.more(1)
        assert most <= 3_000_000
        assert transport.unread.used == 0
        assert set(transport.statistics().refused) <= {"unread_bytes", "stalled_seconds"}
        assert sum(transport.statistics().refused.values()) == 8


async def test_a_peer_whose_window_stays_shut_is_closed(serve: Serve) -> None:
    async with serve(stalled_seconds=0.2) as transport, HonestClient.to(transport.address) as honest:
        shut = frames.PREFACE + wire.settings({Setting.INITIAL_WINDOW_SIZE: 0})
        async with SocketPeer.to(transport.address, first=shut) as hostile:
            await hostile.send(hostile.requests.call("/t/Echo", b"x") + hostile.requests.call("/t/Count", b"9"))
            await hostile.closed()
            assert hostile.reading.goaway is not None
            assert hostile.reading.goaway[1] == CALM
        await honest.more()
        assert transport.statistics().refused == {"stalled_seconds": 1}
        assert transport.unread.used == 0


async def test_too_much_unread_by_one_is_nobody_else_s_matter(serve: Serve) -> None:
    """What is over the limit in one turn of the loop once took the replies of all others with it."""
    async with serve(unread_bytes=16_384) as transport, AsyncExitStack() as stack:
        honest = [await stack.enter_async_context(HonestClient.to(transport.address)) for _ in range(3)]
        for times in range(1, 4):
            async with SocketPeer.to(transport.address) as hostile:
                await hostile.send(hostile.requests.call("/t/Bytes", b"99000"))
                await hostile.closed()
            for client in honest:
                await client.more()
            assert transport.statistics().refused == {"unread_bytes": times}


async def test_a_peer_that_brings_much_in_one_go_gives_way(serve: Serve) -> None:
    """libuv reads on while a read fills its buffer, and all of that would be ahead of everybody else."""
    async with serve() as transport, SocketPeer.to(transport.address, first=wire.PREFACE + WIDE) as peer:
        await peer.call("/t/Echo", b"x")
        (inside,) = transport._peers
        first = peer.requests.next_stream
        inside.data_received(b"".join(peer.requests.call("/t/Echo", b"much" * 50) for _ in range(700)))
        assert not inside._transport.is_reading()
        await peer.until(lambda: len(peer.reading.ended) == 701)
        assert inside._transport.is_reading()
        assert peer.reading.answers[first].messages == [b"much" * 50]
        assert (await peer.call("/t/Echo", b"next")).messages == [b"next"]


# Time.


SLOW_STARTS = [
    pytest.param(b"", "handshake_seconds", id="says nothing"),
    pytest.param(b"PRI * HTTP/2.0\r\n", "handshake_seconds", id="half a preface"),
    pytest.param(frames.PREFACE, "handshake_seconds", id="no settings"),
    pytest.param(frames.PREFACE + wire.settings()[:5], "handshake_seconds", id="half a settings frame"),
    pytest.param(wire.PREFACE + wire.head(1, b"\x83" * 99)[:50], "frame_seconds", id="half a head"),
    pytest.param(wire.PREFACE + wire.head(1, b"\x83", flags=0), "frame_seconds", id="a block that goes on"),
    pytest.param(wire.PREFACE + wire.ping()[:3], "frame_seconds", id="half a frame's head"),
]


@pytest.mark.parametrize(("first", "limit"), SLOW_STARTS)
async def test_slow_peers_are_closed(serve: Serve, first: bytes, limit: str) -> None:
    async with serve(**{limit: 0.2}) as transport, HonestClient.to(transport.address) as honest:
        async with SocketPeer.to(transport.address, first=first) as hostile:
            await hostile.closed()
            assert hostile.reading.goaway is None or hostile.reading.goaway[1] == CALM
        await honest.more()
        assert transport.statistics().refused == {limit: 1}


async def test_a_byte_now_and_then_is_no_progress(serve: Serve) -> None:
    """Slowloris: each byte comes in time, the frame never does."""
    async with serve(frame_seconds=0.3) as transport, HonestClient.to(transport.address) as honest:
        async with SocketPeer.to(transport.address) as hostile:
            closing = asyncio.create_task(hostile.closed())
            for byte in wire.head(1, b"\x83" * 16_000):
                await hostile.send(bytes((byte,)))
                if (await asyncio.wait({closing}, timeout=0.02))[0]:
                    break
            await closing
        await honest.more()
        assert transport.statistics().refused == {"frame_seconds": 1}


async def test_a_request_that_does_not_go_on_is_refused_and_its_connection_lives(serve: Serve) -> None:
    async with (
        serve(request_seconds=0.2) as transport,
        HonestClient.to(transport.address) as honest,
        SocketPeer.to(transport.address) as hostile,
    ):
        for _ in range(4):  # the later ones are known by their bytes
            stream_id = hostile.requests.stream()
            await hostile.send(wire.head(stream_id, hostile.requests.block(hostile.requests.fields("/t/Echo"))))
        await hostile.until(lambda: len(hostile.reading.ended) == 4)
        assert {answer.status for answer in hostile.reading.ended.values()} == {Code.DEADLINE_EXCEEDED}
        await honest.more()
        assert (await hostile.call("/t/Echo", b"x")).messages == [b"x"]


async def test_an_idle_connection_is_told_then_closed(serve: Serve) -> None:
    async with serve(idle_seconds=0.2, frame_seconds=0.4) as transport:
        async with SocketPeer.to(transport.address) as peer:
            assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]
            await peer.until(lambda: peer.reading.goaway)
            assert peer.reading.goaway == (frames.MAX_WINDOW, ErrorCode.NO_ERROR, "")
            await peer.send(wire.ping(peer.reading.of(frames.PING)[0].payload, ack=True))
            await peer.closed()
            assert peer.reading.goaway == (1, ErrorCode.NO_ERROR, "")
        assert transport.statistics().refused == {}


async def test_a_busy_connection_is_not_idle_and_pings_keep_none_alive(serve: Serve, served: Served) -> None:
    async with (
        serve(idle_seconds=0.2, frame_seconds=0.4) as transport,
        SocketPeer.to(transport.address) as busy,
        SocketPeer.to(transport.address) as idle,
    ):
        await busy.send(busy.requests.call("/t/Hold"))
        closing = asyncio.create_task(idle.closed())
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await asyncio.wait({closing}, timeout=0.05))[0]:
                await idle.send(wire.ping())
        served.held[0][0].answer(b"at last")
        await busy.until(lambda: 1 in busy.reading.ended)
        assert busy.reading.answers[1].messages == [b"at last"]


async def test_connections(serve: Serve) -> None:
    async with (
        serve(connections=4) as transport,
        HonestClient.to(transport.address) as honest,
        AsyncExitStack() as stack,
    ):
        for _ in range(3):
            await stack.enter_async_context(SocketPeer.to(transport.address))
        await honest.more()
        for times in range(1, 5):
            async with SocketPeer.to(transport.address) as one_too_many:
                await one_too_many.closed()
                assert one_too_many.reading.goaway is None or one_too_many.reading.goaway[1] == CALM
            await honest.more()
            assert transport.statistics().refused == {"connections": times}
    assert transport.statistics().connections == 0


# Honest clients never reach a limit.


async def test_a_client_that_pings_and_opens_windows_behind_every_answer(serve: Serve) -> None:
    """What Go's client does as long as it estimates the bandwidth."""
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        for _ in range(3000):
            await peer.send(frames.window_update(0, 7) + wire.ping())
            assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]
        assert transport.statistics().refused == {}


async def test_a_client_that_gives_back_every_frame_of_a_long_stream(serve: Serve) -> None:
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        await peer.send(peer.requests.call("/t/Count", b"5000"))
        seen = 0
        while 1 not in peer.reading.ended:
            await peer.read()
            found = peer.reading.of(frames.DATA)
            for each in found[seen:]:
                size = len(each.payload)
                await peer.send(frames.window_update(0, size) + frames.window_update(1, size))
            seen = len(found)
        assert len(peer.reading.answers[1].messages) == 5000
        assert transport.statistics().refused == {}


async def test_a_client_that_gives_up_all_it_has_asked(serve: Serve, served: Served) -> None:
    async with serve() as transport, SocketPeer.to(transport.address) as peer:
        for _ in range(2):
            first = peer.requests.next_stream
            await peer.send(b"".join(peer.requests.call("/t/Hold") for _ in range(1000)))
            await peer.call("/t/Echo", b"x")
            await peer.send(b"".join(frames.rst_stream(first + 2 * at, ErrorCode.CANCEL) for at in range(1000)))
        assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]
        assert all(call.cancelled for call, _ in served.held)
        assert transport.statistics().refused == {}


async def test_a_busy_client_whose_reads_end_within_a_frame(serve: Serve) -> None:
    """Every look at it finds a frame that has begun; it was closed for that once."""
    async with serve(frame_seconds=0.2) as transport, SocketPeer.to(transport.address) as peer:
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.8
        left = b""
        while loop.time() < until:
            whole = left + peer.requests.call("/t/Echo", b"x")
            cut = len(left) + 5  # within a head: nobody has heard of its stream yet
            await peer.send(whole[:cut])
            left = whole[cut:]
            await peer.until(
                lambda: peer.requests.next_stream <= 3 or peer.requests.next_stream - 4 in peer.reading.ended
            )
        assert transport.statistics().refused == {}


async def test_a_busy_client_with_replies_of_one_size_does_not_stall(serve: Serve) -> None:
    """Every look at it finds as much in the socket's buffer as the one before; it was closed for that once."""
    async with serve(stalled_seconds=0.2) as transport, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(HonestClient.to(transport.address)) for _ in range(8)]
        loop = asyncio.get_running_loop()
        until = loop.time() + 0.8
        while loop.time() < until:
            await clients[0].more(1)
        for client in clients:
            await client.more(1)
        assert transport.statistics().refused == {}
