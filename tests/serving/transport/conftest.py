"""A server without a socket, and one with: both serve the same few methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvloop

from loadtests.clients.wire import PREFACE, Answer, Reading, Requests
from serving.errors import WrongValue
from serving.runtime.lane import Caller
from serving.transport.call import Bytes, Call
from serving.transport.grpc.call import NativeCall
from serving.transport.grpc.server import Calls, Unfinished
from serving.transport.http2.limits import Budget, Limits
from serving.transport.listen import Tls
from serving.transport.methods import Method, Streaming, Unary
from serving.transport.native import native_transport


class Served:
    """What the test's methods were asked, and the calls that they have not answered yet."""

    def __init__(self) -> None:
        self.held: list[tuple[Call, bytes]] = []
        self.messages: list[bytes] = []
        self.came = asyncio.Event()  # set by each call of Echo and Hold
        self.open_streams: asyncio.Event | None = None  # when set, they are over
        self.methods: dict[str, Method] = {
            "/t/Echo": Unary(self._echo, self._echo_all),
            "/t/Hold": Unary(self._hold),
            "/t/Bytes": Unary(self._bytes),
            "/t/Refuse": Unary(self._refuse),
            "/t/Fail": Unary(self._fail),
            "/t/Count": Streaming(self._count),
            "/t/Until": Streaming(self._until),
            "/t/Late": Streaming(self._late),
        }

    def _echo(self, call: Call, body: bytes) -> None:
        self.messages.append(body)
        self.came.set()
        call.answer(body)

    def _echo_all(self, calls: Caller, bodies: Bytes) -> bool:
        self.messages += map(bytes, bodies)
        self.came.set()
        calls.answer_each(b"", bodies.tobytes(), b"")
        return True

    def _hold(self, call: Call, body: bytes) -> None:
        self.held.append((call, body))
        self.came.set()

    def _bytes(self, call: Call, body: bytes) -> None:
        call.answer(bytes(int(body)))

    def _refuse(self, call: Call, body: bytes) -> None:
        call.refuse(WrongValue("é: 100 % wrong\n"))

    def _fail(self, call: Call, body: bytes) -> None:
        raise ZeroDivisionError("a secret")

    async def _count(self, body: bytes) -> AsyncGenerator[bytes, None]:
        for number in range(int(body or b"3")):
            yield b"%d" % number

    async def _until(self, body: bytes) -> AsyncGenerator[bytes, None]:
        yield b"open"
        assert self.open_streams is not None
        await self.open_streams.wait()
        yield b"over"

    async def _late(self, body: bytes) -> AsyncGenerator[bytes, None]:
        yield b"begun"
        raise TimeoutError("a database's, say")


class InMemory:
    """One connection of a server without a socket: `send` bytes, look at `reading`."""

    def __init__(self, served: Served, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.unfinished = Unfinished(limits.unfinished_bytes)
        self.unread = Budget(limits.unread_bytes)
        self.started: list[tuple[NativeCall, Streaming, bytes]] = []
        self.changes = 0
        self.calls = Calls(
            served.methods,
            limits,
            self.unfinished,
            self.unread,
            changed=self._changed,
            start=lambda *call: self.started.append(call),
        )
        self.connection = self.calls.connection
        self.requests = Requests()
        self.reading = Reading()
        self.sent = b""

    def greet(self, first: bytes = PREFACE) -> InMemory:
        """Sends the preface and SETTINGS, and forgets what the server greets with."""
        self.send(first)
        self.reading = Reading()
        return self

    def send(self, wire: bytes, *, size: int = 0) -> InMemory:
        """Has the server receive `wire`, at once or `size` bytes at a time."""
        step = size or len(wire) or 1
        for at in range(0, len(wire), step):
            self.connection.receive(wire[at : at + step])
        self.flush()
        return self

    def flush(self) -> bytes:
        """Reads what the server has said since."""
        self.calls.marked = False
        wire = b"".join(self.connection.out)
        self.connection.out.clear()
        self.sent += wire
        self.reading.take(wire)
        return wire

    def call(self, path: str, message: bytes = b"", *more: tuple[bytes, bytes]) -> Answer:
        """A whole call."""
        stream_id = self.requests.next_stream
        self.send(self.requests.call(path, message, *more))
        return self.reading.answers[stream_id]

    @property
    def code(self) -> int:
        """The code that the connection ended with, or −1."""
        return -1 if self.reading.goaway is None else self.reading.goaway[1]

    def _changed(self, calls: Calls) -> None:
        self.changes += 1


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """The loop that the scorer runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
def peer(served: Served) -> InMemory:
    """A connection that has been greeted."""
    return InMemory(served).greet()


@pytest.fixture
def connect(served: Served) -> Callable[..., InMemory]:
    """Makes greeted connections with limits of their own: `connect(concurrent_streams=2)`."""

    def make(*, first: bytes = PREFACE, **limits: Any) -> InMemory:
        return InMemory(served, Limits(**limits)).greet(first)

    return make


PATIENCE_SECONDS = 30.0  # nothing here takes so long: a test that waits longer fails, and does not hang


class SocketPeer:
    """A client of bytes over a socket, as well or badly behaved as the test makes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests = Requests()
        self.reading = Reading()
        self.raw = b""
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def to(cls, address: str, *, first: bytes = PREFACE, **more: Any) -> AsyncIterator[SocketPeer]:
        """A connection to HOST:PORT or unix:PATH, greeted with `first`."""
        if address.startswith("unix:"):
            streams = await asyncio.open_unix_connection(address.removeprefix("unix:"), **more)
        else:
            host, _, port = address.rpartition(":")
            streams = await asyncio.open_connection(host, int(port), **more)
        peer = cls(*streams)
        try:
            await peer.send(first)
            yield peer
        finally:
            peer.abort()

    @property
    def ssl(self) -> Any:
        return self._writer.get_extra_info("ssl_object")

    def abort(self) -> None:
        """Closes the connection without a word."""
        self._writer.transport.abort()

    async def send(self, wire: bytes) -> None:
        """Sends `wire` and waits until the socket has taken most of it; a connection that is closed takes anything."""
        with suppress(ConnectionError):
            self._writer.write(wire)
            await self._writer.drain()

    async def read(self) -> bool:
        """Reads what comes next; whether anything did."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                found = await self._reader.read(2**16)
        except ConnectionError:
            found = b""
        self.reading.take(found)
        return bool(found)

    async def until(self, done: Callable[[], Any]) -> None:
        """Reads until `done`. Fails when the connection ends first."""
        while not done():
            assert await self.read(), f"the connection ended: {self.reading.goaway}"

    async def call(self, path: str, message: bytes = b"", *more: tuple[bytes, bytes]) -> Answer:
        """A whole call."""
        stream_id = self.requests.next_stream
        await self.send(self.requests.call(path, message, *more))
        await self.until(lambda: stream_id in self.reading.ended)
        return self.reading.answers[stream_id]

    async def read_all(self) -> None:
        """Reads until the server has closed the connection, whatever it says."""
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while found := await self._reader.read(2**16):
                    self.raw += found

    async def closed(self) -> None:
        """Reads until the server has closed the connection."""
        while await self.read():
            pass


class HonestClient:
    """Calls one after the other on a connection of its own, all of them answered rightly, as long as it lives."""

    def __init__(self) -> None:
        self.answered = 0
        self._came = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def to(cls, address: str) -> AsyncIterator[HonestClient]:
        client = cls()
        async with SocketPeer.to(address) as peer:
            work = asyncio.create_task(client._work(peer))
            try:
                yield client
            finally:
                work.cancel()
                with suppress(asyncio.CancelledError):
                    await work

    async def more(self, calls: int = 20) -> None:
        """Waits for so many more answers."""
        until = self.answered + calls
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.answered < until:
                self._came.clear()
                await self._came.wait()

    async def _work(self, peer: SocketPeer) -> None:
        while True:
            body = b"%d" % self.answered
            answer = await peer.call("/t/Echo", body)
            assert (answer.messages, answer.status) == ([body], 0), answer
            self.answered += 1
            self._came.set()


@pytest.fixture
def serve(served: Served) -> Callable[..., Any]:
    """A server on a free port of loopback: `async with serve(pings=Rate(9, 9)) as transport`."""

    def make(*, listen: str = "127.0.0.1:0", tls: Tls | None = None, **limits: Any) -> Any:
        return native_transport(served.methods, listen=listen, tls=tls, limits=Limits(**limits))

    return make
