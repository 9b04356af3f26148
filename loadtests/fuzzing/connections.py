"""A server's and a client's connection without their sockets, fed with any bytes at all.

Each input is a first byte that chooses how the rest is cut into reads, and the rest. For every input: a fault of the
peer ends in `fault`, and nothing else is raised; what is said in return is bounded by what came; once the connection
is closed nothing of it is counted any more. For some inputs, any cut into reads says the same bytes, and so does the
reader that knows no shortcut.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from serving.errors import Overloaded, WrongValue
from serving.transport.call import Call
from serving.transport.grpc.call import StreamingCall
from serving.transport.grpc.server import Calls, Unfinished
from serving.transport.http2 import frames
from serving.transport.http2.client import ClientConnection
from serving.transport.http2.errors import ConnectionFault
from serving.transport.http2.frames import Setting
from serving.transport.http2.hpack import Encoder, Head
from serving.transport.http2.layout import Bytes
from serving.transport.http2.limits import Budget, Limits, Rate
from serving.transport.methods import Methods, Streaming, Unary

# Small ones, so that an input of a few hundred bytes passes them.
LIMITS = Limits(
    concurrent_streams=6,
    header_list_bytes=1024,
    continuation_frames=3,
    message_bytes=400,
    unfinished_bytes=16_384,
    unsent_bytes=16_384,
    stream_window_bytes=16_384,
    connection_window_bytes=65_535,
    resets=Rate(8, 1),
    pings=Rate(8, 1, 1.0),
    settings=Rate(6, 1),
    empty_frames=Rate(8, 1, 1.0),
    window_updates=Rate(12, 1, 1.0),
    refused_streams=Rate(8, 1),
)
GREETED = 8  # bit of the first byte: the preface and SETTINGS come before the rest
_CUTS = (0, 1, 2, 5, 9, 17, 64, 300)
_LATER_NS = 3600 * 10**9
_LEAST_SAID, _MOST_SAID = 2048, 80  # bytes in return: so many, and so many for each that came
_CUT_EVERY, _SLOW_EVERY = 4, 8
GREETING = frames.PREFACE + frames.settings({Setting.INITIAL_WINDOW_SIZE: 20})


class Knows(dict[bytes, Head]):
    """A decoder's memory that is never of use."""

    def get(self, key: bytes, default: Any = None) -> Any:
        """Nothing."""
        return default


def _echo(call: Call, body: bytes) -> None:
    call.answer(body)


def _refuse(call: Call, body: bytes) -> None:
    call.refuse(WrongValue(f"expected something else, found {body[:20]!r}"))


def _metadata(call: Call, body: bytes) -> None:
    call.answer(b"".join(name.encode() + value.encode("latin-1") for name, value in call.metadata()))


async def _never(body: bytes) -> Any:
    yield body


class Server:
    """One connection of a server. said: all bytes that it has sent."""

    def __init__(self, *, knows: bool = True) -> None:
        self.held: list[tuple[Call, bytes]] = []
        self.began: list[tuple[StreamingCall, bytes]] = []
        self.unfinished = Unfinished(LIMITS.unfinished_bytes)
        self.unread = Budget(LIMITS.unread_bytes)
        methods: Methods = {
            "/signalbox.v1.Scorer/Score": Unary(_echo),
            "/inference.GRPCInferenceService/ModelInfer": Unary(_metadata),
            "/signalbox.v1.Scorer/Subscribe": Streaming(_never),
            "/signalbox.v1.Scorer/Describe": Unary(lambda call, body: self.held.append((call, body))),
            "/grpc.health.v1.Health/Check": Unary(_refuse),
        }
        self.calls = Calls(
            methods,
            LIMITS,
            self.unfinished,
            self.unread,
            changed=lambda calls: None,
            start=lambda call, method, body: self.began.append((call, body)),
        )
        self.connection = self.calls.connection
        if not knows:
            self.connection.decoder.known = Knows()

    def feed(self, wire: bytes, size: int) -> bytes:
        """All that it says to `wire`, cut into reads of `size` (0: one), and to the end of its patience."""
        connection = self.connection
        step = size or len(wire) or 1
        for at in range(0, len(wire), step):
            connection.receive(wire[at : at + step])
        self._try(connection.promote_all)
        for call, body in self.held:
            call.answer(body)
        for stream, body in self.began:
            self._stream(stream, body)
        self._try(lambda: self.calls.expire(_LATER_NS))
        return b"".join(connection.out)

    def close(self) -> None:
        """The socket is gone. AssertionError when something is counted still."""
        self.calls.close()
        held = len(self.connection.streams), self.unfinished.used, self.unread.used, self.connection.sending.unsent
        assert held == (0, 0, 0, 0), f"expected nothing after the end, found {held}"

    def _try(self, act: Callable[[], None]) -> None:
        """What a fault ends: as the glue does (serving.transport.native)."""
        if self.connection.fault is None:
            try:
                act()
            except ConnectionFault as fault:
                self.connection.end(fault)

    def _stream(self, call: StreamingCall, body: bytes) -> None:
        call.wake = lambda: None
        try:
            for _ in range(3):
                self.calls.send(call, body)
            self.calls.finish(call)
        except Overloaded as error:
            call.refuse(error)


class ServerTarget:
    """See the module. Lives as long as the fuzzing."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, data: bytes) -> None:
        """One input."""
        if not data:
            return
        self._count += 1
        wire = GREETING + data[1:] if data[0] & GREETED else data[1:]
        server = Server()
        said = server.feed(wire, _CUTS[data[0] & 7])
        assert len(said) <= _LEAST_SAID + _MOST_SAID * len(wire), f"expected less, found {len(said)} bytes in return"
        server.close()
        if self._count % _CUT_EVERY == 0:
            self._compare(wire, said, 0 if data[0] & 7 else 3)
        if self._count % _SLOW_EVERY == 0:
            self._compare_slow(wire, server)

    def _compare(self, wire: bytes, said: bytes, size: int) -> None:
        other = Server()
        assert other.feed(wire, size) == said, f"expected the same however it is cut, found a difference at {size}"
        other.close()

    def _compare_slow(self, wire: bytes, quick: Server) -> None:
        """Where a rate was passed they may differ: what is wrong with a head is found, and counted, later or sooner."""
        slow = Server(knows=False)
        slow.feed(wire, 0)
        one, other = quick.connection, slow.connection
        faults = one.fault, other.fault
        if not any(fault is not None and fault.limit for fault in faults):
            assert str(faults[0]) == str(faults[1]), f"expected the same fault, found {faults}"
            assert one.last_stream == other.last_stream
            assert faults != (None, None) or _heard(quick) == _heard(slow), "expected the same answers, found others"
        slow.close()


def _heard(server: Server) -> dict[int, list[tuple[int, int, bytes]]]:
    """By stream: its frames (type, flags, content) but for resets that end nothing, DATA joined."""
    heard: dict[int, list[tuple[int, int, bytes]]] = {}
    wire, at = b"".join(server.connection.out), 0
    while at < len(wire):
        word, flags, stream_id = frames.HEAD.unpack_from(wire, at)
        kind, content = word & 0xFF, wire[at + 9 : at + 9 + (word >> 8)]
        at += 9 + (word >> 8)
        told = heard.setdefault(stream_id, [])
        if kind == frames.RST_STREAM and not any(content):
            continue
        if kind == frames.DATA and told and told[-1][0] == frames.DATA:
            content = told.pop()[2] + content
        if stream_id:
            told.append((kind, flags, content))
    return heard


class Answers:
    """What a client is told. Receiver of its connection."""

    def __init__(self) -> None:
        self.told: dict[int, list[Any]] = {}

    def whole_answer(self, stream_id: int, head: Head, content: bytes, trailers: Head) -> None:
        """See http2.client.Receiver."""
        self.answer_head(stream_id, head, ended=False)
        self.answer_data(stream_id, content, ended=False)
        self.answer_head(stream_id, trailers, ended=True)

    def whole_answers(self, stream_ids: Sequence[int], head: Head, contents: Bytes, trailers: Head) -> None:
        """See http2.client.Receiver."""
        for stream_id, content in zip(stream_ids, contents, strict=True):
            self.whole_answer(stream_id, head, content.tobytes(), trailers)

    def answer_head(self, stream_id: int, head: Head, *, ended: bool) -> None:
        """See http2.client.Receiver."""
        self._told(stream_id).append((head.fields, ended))

    def answer_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """See http2.client.Receiver."""
        told = self._told(stream_id)
        before = told.pop() if told and isinstance(told[-1], bytes) else b""
        told.append(before + data)
        if ended:
            told.append("ended")

    def stream_gone(self, stream_id: int, stream: Any) -> None:
        """See http2.client.Receiver."""
        self._told(stream_id).append("gone")

    def _told(self, stream_id: int) -> list[Any]:
        return self.told.setdefault(stream_id, [])


class Client:
    """One connection of a client with calls under way."""

    def __init__(self, calls: int, *, knows: bool = True) -> None:
        self.answers = Answers()
        self.connection = ClientConnection(self.answers, LIMITS)
        if not knows:
            self.connection.decoder.known = Knows()
        for at in range(calls):
            self.connection.request(_REQUEST, bytes(5 + at), at)
        self.connection.out.clear()

    def feed(self, wire: bytes, size: int) -> bytes:
        """See Server.feed."""
        step = size or len(wire) or 1
        for at in range(0, len(wire), step):
            self.connection.receive(wire[at : at + step])
        return b"".join(self.connection.out)


_REQUEST = Encoder().encode(
    ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/signalbox.v1.Scorer/Score"), (b":authority", b"here"))
)
_CALLS = 40


class ClientTarget:
    """The same of a client, whose calls are answered by the input. No call is told anything once it is over."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, data: bytes) -> None:
        """One input."""
        if not data:
            return
        self._count += 1
        wire = frames.settings({}) + data[1:] if data[0] & GREETED else data[1:]
        client = Client(_CALLS)
        said = client.feed(wire, _CUTS[data[0] & 7])
        assert len(said) <= _LEAST_SAID + 3 * len(wire), f"expected less, found {len(said)} bytes in return"
        for stream_id, told in client.answers.told.items():
            ends = [at for at, each in enumerate(told) if _is_end(each)]
            assert ends in ([], [len(told) - 1]), f"stream {stream_id}: expected one end, the last, found {told}"
            assert (stream_id in client.connection.streams) == (not ends), (
                f"stream {stream_id}: still open after {told}"
            )
        if self._count % _CUT_EVERY == 0:
            self._compare(wire, client, Client(_CALLS), 0 if data[0] & 7 else 3)
        if self._count % _SLOW_EVERY == 0:
            self._compare(wire, client, Client(_CALLS, knows=False), 0)

    def _compare(self, wire: bytes, one: Client, other: Client, size: int) -> None:
        said = other.feed(wire, size)
        assert said == b"".join(one.connection.out), "expected the same said however it is read, found a difference"
        assert other.answers.told == one.answers.told, "expected the same told however it is read, found a difference"


def _is_end(told: Any) -> bool:
    return told in ("ended", "gone") or (isinstance(told, tuple) and told[1])
