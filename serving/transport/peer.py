"""One connection's socket, and what there is to write, once a turn of the loop (see serving.transport.native)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Protocol, cast

from serving.errors import DeadlinePassed, ServingError
from serving.runtime.engine import NO_DEADLINE_NS
from serving.transport.grpc.call import StreamingCall
from serving.transport.grpc.server import Calls, Unfinished
from serving.transport.http2.errors import ConnectionFault, ErrorCode
from serving.transport.http2.limits import Budget, Limits
from serving.transport.methods import Methods, Streaming

LOG = logging.getLogger("signalbox.transport")

_NS = 1_000_000_000
_HIGH_WATER = 2**18  # bytes that wait in the socket's buffer before a peer is no longer read from
_MOST_READ = 2**17  # bytes of one peer in one turn of the loop, before the others' and what they ask have theirs
_MOST_WRITTEN = 2**19  # bytes of a peer's window that are used before what was written has left
_HTTP_1 = (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE")
_HTTP_1_TEXT = b"this port speaks gRPC over HTTP/2: use a gRPC client\n"
_HTTP_1_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b" % (len(_HTTP_1_TEXT), _HTTP_1_TEXT)
)


class Outbox:
    """The connections that have something to write. A context manager: what happens inside leaves in one write each."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.held = 0
        self.dirty: list[Peer] = []
        self._loop = loop

    def add(self, peer: Peer) -> None:
        """Has `peer` written: at the end of the block one is in, else in the next turn of the loop."""
        if not self.held and not self.dirty:
            self._loop.call_soon(self.flush)
        self.dirty.append(peer)

    def flush(self) -> None:
        """Writes what is there."""
        dirty, self.dirty = self.dirty, []
        for peer in dirty:
            try:
                peer.flush()
            except Exception as error:  # a defect of ours ends its own connection, and no other's
                LOG.error("a connection could not be written to: %s", error, exc_info=error)
                peer.abort()

    def __enter__(self) -> None:
        self.held += 1

    def __exit__(self, *error: object) -> None:
        self.held -= 1
        if self.dirty and not self.held:
            self.flush()


class Server(Protocol):
    """What the connections of a server have in common: `serving.transport.native.NativeTransport`.

    unfinished, unread: what they hold together. refused: connections given up, by limit. settled: set whenever one has
    moved while the server is draining.
    """

    methods: Methods
    limits: Limits
    unfinished: Unfinished
    unread: Budget
    outbox: Outbox
    refused: Counter[str]
    draining: bool
    settled: asyncio.Event

    def accept(self, peer: Peer) -> None:
        """A connection has come."""
        ...

    def lost(self, peer: Peer) -> None:
        """It has gone."""
        ...

    def relieve(self) -> None:
        """Gives up those who leave most unread, until the others' replies fit."""
        ...

    def soon(self, work: Callable[[], None]) -> None:
        """Has `work` done in the next turn of the loop."""
        ...

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A task that is over before the server is."""
        ...


class Peer(asyncio.Protocol):
    """One connection's socket. Lives as long as that."""

    def __init__(self, server: Server) -> None:
        self.calls = Calls(
            server.methods,
            server.limits,
            server.unfinished,
            server.unread,
            most_window=_MOST_WRITTEN,
            changed=self._changed,
            start=self._start,
        )
        self.connection = self.calls.connection
        self.paused = False
        self._server = server
        self._outbox = server.outbox
        self._transport: asyncio.Transport | None = None
        self._opened_ns = time.monotonic_ns()
        self._watch = _Watch(self._opened_ns)
        self._waiting = 0  # bytes in the socket's buffer while it is too full, as counted
        self._is_leaving = False  # told that no more calls are wanted
        self._is_counted = False  # among the refused
        self._streams: set[asyncio.Task[None]] = set()
        self._resumed = asyncio.Event()
        self._resumed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":  # what it says shows whether it can read an answer
            words = "expected h2 to be negotiated by ALPN (RFC 9113, section 3.2), found something else"
            self.connection.end(ConnectionFault(ErrorCode.HTTP_1_1_REQUIRED, words, limit="alpn"))
        self._server.accept(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol: the way in."""
        connection = self.connection
        outbox = self._outbox
        outbox.held += 1
        connection.now_ns = time.monotonic_ns()
        try:
            connection.receive(data)
            if connection.out and not self.calls.marked:
                self.calls.mark()
        finally:
            outbox.held -= 1
        if outbox.dirty and not outbox.held:
            outbox.flush()
        if connection.fault is not None:
            self._close_for_fault(data)
        elif self._server.draining:
            self._server.settled.set()
        if len(data) > _MOST_READ:
            self._give_way()

    def flush(self) -> None:
        """Writes what the connection has to say."""
        self.calls.marked = False
        out = self.connection.out
        transport = self._transport
        if not out or transport is None:
            return
        if self._server.draining:
            self._server.settled.set()
        transport.write(b"".join(out))
        out.clear()
        if self.connection.sending.unsent or self.paused:
            self._go_on(transport)

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the peer does not read, so it is not read from either."""
        self.paused = True
        self._resumed.clear()
        self._count_waiting(self.waiting)
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self.paused = False
        self._resumed.set()
        self._count_waiting(0)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._go_on(self._transport)

    def eof_received(self) -> bool:
        """See asyncio.Protocol: calls under way are answered to nobody."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        self._resumed.set()
        self._count_waiting(0)
        self.calls.close()
        self._server.lost(self)

    def check(self, now_ns: int) -> None:
        """Holds the peer to the limits of time."""
        limits = self._server.limits
        if self.connection.fault is not None:  # it was told so, and has had time to read that
            if _over(max(self._opened_ns, self.connection.now_ns), now_ns, limits.frame_seconds):
                self.abort()
            return
        why = self._watch.overdue(self, now_ns, limits)
        if why == "idle_seconds" or (self._is_leaving and not self.busy):
            self._leave()
        elif why:
            self.give_up(why)
        else:
            self._expire(now_ns)

    @property
    def waiting(self) -> int:
        """Bytes in the socket's buffer while it is too full to be written to; else 0."""
        return self._transport.get_write_buffer_size() if self.paused and self._transport is not None else 0

    @property
    def opened_ns(self) -> int:
        """When the connection came, monotonic clock."""
        return self._opened_ns

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self.connection.streams) or self.connection.awaits_content

    @property
    def unread(self) -> int:
        """Bytes of replies that the peer has not read, as the server counts them."""
        return self.connection.sending.unsent + self._waiting

    def give_up(self, limit: str) -> None:
        """Ends the connection because of `limit`: with GOAWAY to a peer that reads, else at once."""
        self.calls.close()
        self.connection.end(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"{limit} passed", limit=limit))
        self._count_refused()
        if self.paused:
            self.abort()
        else:
            self.close()

    def abort(self) -> None:
        """Closes the connection at once; what was written and has not left is lost."""
        self._count_refused()
        self._count_waiting(0)
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Closes the connection once all that it has to say has left."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    async def end_streams(self) -> None:
        """Cancels the streaming calls and waits until they are over."""
        for task in self._streams:
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)

    def _close_for_fault(self, data: bytes) -> None:
        self._count_refused()
        self.calls.close()
        if self._transport is not None:
            if not self.connection.is_http_2 and data[:4] in _HTTP_1:
                self._transport.write(_HTTP_1_ANSWER)
            self._transport.close()

    def _give_way(self) -> None:
        """More may lie there, and the loop would go on reading it: all of that would be ahead of everybody else."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._server.soon(self._read_on)

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing() and not self.paused:
            self._transport.resume_reading()

    def _count_refused(self) -> None:
        if not self._is_counted and self.connection.fault is not None:
            self._is_counted = True
            self._server.refused[self.connection.fault.limit or "protocol"] += 1

    def _leave(self) -> None:
        """Two looks without a call between them: at the first the peer is told, at the second it is closed."""
        if self._is_leaving:
            self.connection.finish_end()
            self.close()
            return
        self._is_leaving = True
        self.connection.announce_end()
        self.flush()

    def _expire(self, now_ns: int) -> None:
        try:
            self.calls.expire(now_ns)
        except ConnectionFault as fault:
            self.connection.end(fault)
            self.flush()
            self._close_for_fault(b"")

    def _go_on(self, transport: asyncio.Transport) -> None:
        """Sends more of what waits, as long as the socket takes it; a peer that leaves too much unread is given up."""
        sending, out = self.connection.sending, self.connection.out
        while sending.reserve and not self.paused:
            sending.refill()
            if not out:
                break
            transport.write(b"".join(out))
            out.clear()
        if self._server.unread.is_over:
            self._server.relieve()

    def _count_waiting(self, size: int) -> None:
        self._server.unread.used += size - self._waiting
        self._waiting = size

    def _changed(self, calls: Calls) -> None:
        self._outbox.add(self)

    def _start(self, call: StreamingCall, method: Streaming, body: bytes) -> None:
        moved = asyncio.Event()
        task = self._server.spawn(self._stream(call, method, body, moved))
        self._streams.add(task)
        task.add_done_callback(self._streams.discard)

        def wake() -> None:
            if call.cancelled:
                task.cancel()
            moved.set()

        call.wake = wake

    async def _stream(self, call: StreamingCall, method: Streaming, body: bytes, moved: asyncio.Event) -> None:
        """Runs a streaming method, as fast as its caller reads: one message waits at most."""
        remaining = None if call.deadline_ns == NO_DEADLINE_NS else (call.deadline_ns - time.monotonic_ns()) / _NS
        deadline = asyncio.timeout(remaining)
        try:
            async with deadline, aclosing(method.stream(body)) as messages:
                async for message in messages:
                    self.calls.send(call, message)
                    await self._resumed.wait()
                    while self.connection.sending.waits(call.stream_id):
                        moved.clear()
                        await moved.wait()
            self.calls.finish(call)
        except ServingError as error:
            call.refuse(error)
        except Exception as error:
            if deadline.expired():  # else it is a TimeoutError of the method's own
                call.refuse(DeadlinePassed("the deadline passed while the stream was open; ask again"))
                return
            LOG.error("a stream failed: %s", error, exc_info=error)
            call.refuse(error)


class _Watch:
    """What one connection looked like when it was last looked at, and since when it has not moved."""

    def __init__(self, now_ns: int) -> None:
        self._frame: tuple[object, int] = (None, now_ns)
        self._unsent: tuple[object, int] = (None, now_ns)
        self._call: tuple[object, int] = (None, now_ns)

    def overdue(self, peer: Peer, now_ns: int, limits: Limits) -> str:
        """The limit of time that the peer has passed, or ""."""
        connection = peer.connection
        if not connection.greeted:
            return "handshake_seconds" if _over(peer.opened_ns, now_ns, limits.handshake_seconds) else ""
        self._frame = _since(self._frame, (connection.mid_frame, connection.progress_made), now_ns)
        if connection.mid_frame and not peer.paused and _over(self._frame[1], now_ns, limits.frame_seconds):
            return "frame_seconds"
        # Not how much waits, which may be the same at every look at a busy peer, but whether any of it has left.
        sending = connection.sending
        self._unsent = _since(self._unsent, (bool(sending.unsent), sending.sent, peer.waiting), now_ns)
        if (sending.unsent or peer.paused) and _over(self._unsent[1], now_ns, limits.stalled_seconds):
            return "stalled_seconds"
        self._call = _since(self._call, (peer.busy, connection.last_stream, connection.answered), now_ns)
        if not peer.busy and _over(self._call[1], now_ns, limits.idle_seconds):
            return "idle_seconds"
        return ""


def _since(before: tuple[object, int], value: object, now_ns: int) -> tuple[object, int]:
    return before if before[0] == value else (value, now_ns)


def _over(since_ns: int, now_ns: int, seconds: float) -> bool:
    return now_ns - since_ns > seconds * _NS
