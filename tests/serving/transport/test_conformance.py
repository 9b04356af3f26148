"""RFC 9113, sections 3.4 to 8: what a server must do, one row a rule; docs/conformance.md is this table.

A case is what a peer sends, and what must come of it. What cannot be said so is a test with `@must`. Both are rows of
the page, and `test_the_page_says_what_is_tested` holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loadtests.clients import wire
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode
from serving.transport.http2.frames import Setting

from .conftest import InMemory, Served

PAGE = Path(__file__).resolve().parents[3] / "docs" / "conformance.md"
GOES_ON = "ignored; calls go on"

Act = Callable[[InMemory], None]
Row = tuple[str, str, str, str]


@dataclass(frozen=True)
class Case:
    """act: what the peer does. code: of the error; on_stream: which stream ends, 0 for the connection; None: none."""

    section: str
    rule: str
    act: Act
    code: ErrorCode | None = None
    on_stream: int = 0

    @property
    def answer(self) -> str:
        if self.code is None:
            return GOES_ON
        return f"{'stream' if self.on_stream else 'connection'} error {self.code.name}"


RULES: list[Row] = []


def must(section: str, rule: str, answer: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A row of the page whose test is a function."""

    def note(test: Callable[..., Any]) -> Callable[..., Any]:
        RULES.append((section, rule, answer, test.__name__))
        return test

    return note


# What a peer may do.


def sends(*wire_bytes: bytes) -> Act:
    return lambda peer: peer.send(b"".join(wire_bytes)) and None


def opened(*wire_bytes: bytes, ended: bool = False) -> Act:
    """Stream 1 is open, or half closed by its client while its call is under way; then `wire_bytes` come."""

    def act(peer: InMemory) -> None:
        content = wire.data(1, wire.grpc(b"x"), end=True) if ended else wire.data(1, b"\0\0\0\0\2a")
        peer.send(wire.head(1, peer.requests.block(peer.requests.fields("/t/Hold"))) + content)
        peer.requests.next_stream = 3
        peer.send(b"".join(wire_bytes))

    return act


def answered(*wire_bytes: bytes) -> Act:
    """Stream 1 has been answered and is closed; then `wire_bytes` come."""

    def act(peer: InMemory) -> None:
        assert peer.call("/t/Echo", b"x").messages == [b"x"]
        peer.send(b"".join(wire_bytes))

    return act


def usual(make: Callable[[bytes], bytes]) -> Act:
    """Three usual calls have been answered: their head's block is known by its bytes; then what `make` makes of it."""

    def act(peer: InMemory) -> None:
        for _ in range(3):
            assert peer.call("/t/Echo", b"x").messages == [b"x"]
        peer.send(make(peer.requests.block(peer.requests.fields("/t/Echo"))))
        peer.requests.next_stream = 101

    return act


def asks(*fields: tuple[bytes, bytes]) -> Act:
    """A request on stream 1 with exactly these fields, in their order."""

    def act(peer: InMemory) -> None:
        peer.requests.next_stream = 3
        peer.send(wire.head(1, peer.requests.block(fields)) + wire.data(1, wire.grpc(b"x"), end=True))

    return act


def asks_with(*more: tuple[bytes, bytes]) -> Act:
    return asks(*wire.Requests().fields("/t/Echo"), *more)


def asks_without(name: bytes, *instead: tuple[bytes, bytes]) -> Act:
    rest = [each for each in wire.Requests().fields("/t/Echo") if each[0] != name]
    return asks(*instead, *rest)


def trails(*fields: tuple[bytes, bytes], ended: bool = True) -> Act:
    """Stream 1 gets a second field section."""

    def act(peer: InMemory) -> None:
        opened()(peer)
        peer.send(wire.head(1, peer.requests.block(fields), end=ended))

    return act


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    return frames.frame(kind, flags, stream_id, payload)


def setting(key: int, value: int) -> bytes:
    return frame(frames.SETTINGS, 0, 0, key.to_bytes(2, "big") + value.to_bytes(4, "big"))


PROTOCOL, SIZE, FLOW = ErrorCode.PROTOCOL_ERROR, ErrorCode.FRAME_SIZE_ERROR, ErrorCode.FLOW_CONTROL_ERROR
CLOSED, COMPRESSION, REFUSED = ErrorCode.STREAM_CLOSED, ErrorCode.COMPRESSION_ERROR, ErrorCode.REFUSED_STREAM
BEGUN = wire.head(1, b"\x83", flags=0)  # a header block that goes on
KINDS = frames.DATA, frames.HEADERS, frames.RST_STREAM, frames.SETTINGS, frames.PING, frames.WINDOW_UPDATE

CASES = [
    Case("4.1", "Frames of unknown types are ignored", sends(frame(0x20, 0xFF, 5, b"x"), frame(0xFF, 0, 0))),
    Case("4.1", "Flags without a meaning are ignored", sends(frame(frames.PING, 0xFE, 0, b"12345678"))),
    Case("4.1", "The reserved bit is ignored", sends(frame(frames.PING, 0, 1 << 31, b"12345678"))),
    Case("4.1", "The reserved bit is ignored on a usual request", usual(lambda block: wire.head(7 | 1 << 31, block))),
    Case("4.2", "A frame of 2^14 bytes is taken", opened(wire.data(1, bytes(16_384)))),
    Case("4.2", "A DATA frame above 2^14 bytes", opened(wire.data(1, bytes(16_385))), SIZE),
    Case("4.2", "A frame of an unknown type above 2^14 bytes", sends(frame(0x20, 0, 0, bytes(16_385))), SIZE),
    Case("4.2", "DATA too short for its pad length", opened(frame(frames.DATA, frames.PADDED, 1)), SIZE),
    Case("4.2", "HEADERS too short for its pad length", sends(frame(frames.HEADERS, 0xC, 1)), SIZE),
    Case("4.2", "HEADERS too short for its priority", sends(frame(frames.HEADERS, 0x24, 1, b"1234")), SIZE),
    Case("4.2", "GOAWAY below 8 bytes", sends(frame(frames.GOAWAY, 0, 0, b"1234567")), SIZE),
    Case("4.3", "A block that cannot be decoded", sends(wire.head(1, b"\xff\xff\xff\xff\xff\xff")), COMPRESSION),
    Case("4.3", "A block that ends within a field", sends(wire.head(1, b"\x40\x01")), COMPRESSION),
    Case("4.3", "A block that cannot be decoded, in trailers", opened(wire.head(1, b"\xc6", end=True)), COMPRESSION),
    Case("4.3.1", "A table larger than we allow", sends(wire.head(1, b"\x3f\xe2\x1f\x83")), COMPRESSION),
    Case("5.1", "Idle: DATA", sends(wire.data(1, b"x")), PROTOCOL),
    Case("5.1", "Idle: RST_STREAM", sends(frames.rst_stream(1, ErrorCode.CANCEL)), PROTOCOL),
    Case("5.1", "Idle: WINDOW_UPDATE", sends(frames.window_update(1, 1)), PROTOCOL),
    Case("5.1", "Idle: CONTINUATION", sends(frame(frames.CONTINUATION, 4, 1, b"\x83")), PROTOCOL),
    Case("5.1", "Idle: PRIORITY is taken", sends(frame(frames.PRIORITY, 0, 9, bytes(5)))),
    Case("5.1", "Half closed: DATA", opened(wire.data(1, b"x"), ended=True), CLOSED, 1),
    Case("5.1", "Half closed: HEADERS", opened(wire.head(1, b"\x83"), ended=True), CLOSED, 1),
    Case("5.1", "Half closed: WINDOW_UPDATE is taken", opened(frames.window_update(1, 1), ended=True)),
    Case("5.1", "Half closed: PRIORITY is taken", opened(frame(frames.PRIORITY, 0, 1, bytes(5)), ended=True)),
    Case("5.1", "Half closed: RST_STREAM is taken", opened(frames.rst_stream(1, ErrorCode.CANCEL), ended=True)),
    Case("5.1", "Closed: HEADERS", answered(wire.head(1, b"\x83")), PROTOCOL),
    Case("5.1", "Closed: PRIORITY is taken", answered(frame(frames.PRIORITY, 0, 1, bytes(5)))),
    Case("5.1", "Closed by both ends: WINDOW_UPDATE is taken", answered(frames.window_update(1, 1))),
    Case("5.1", "Closed by both ends: RST_STREAM is taken", answered(frames.rst_stream(1, ErrorCode.CANCEL))),
    Case("5.1.1", "A stream with an even number", sends(wire.head(2, b"\x83")), PROTOCOL),
    Case(
        "5.1.1",
        "A stream with a lower number than the last",
        opened(wire.head(9, b"\x83"), wire.head(7, b"\x83")),
        PROTOCOL,
    ),
    Case("5.1.1", "An even number on a usual request", usual(lambda block: wire.head(8, block)), PROTOCOL),
    Case("5.1.1", "A lower number in a train of heads", usual(lambda b: wire.head(9, b) + wire.head(7, b)), PROTOCOL),
    Case("5.1.1", "An even number in a train of heads", usual(lambda b: wire.head(7, b) + wire.head(8, b)), PROTOCOL),
    Case(
        "5.4.2", "RST_STREAM is never answered with RST_STREAM", answered(frames.rst_stream(1, ErrorCode.NO_ERROR) * 2)
    ),
    Case("5.5", "An unknown frame within a header block", sends(BEGUN, frame(0x20, 0, 0)), PROTOCOL),
    Case("6.1", "DATA on stream 0", sends(wire.data(0, b"x")), PROTOCOL),
    Case("6.1", "DATA on a closed stream", answered(wire.data(1, b"x")), CLOSED, 1),
    Case("6.1", "DATA: as much padding as there is frame", opened(frame(frames.DATA, 8, 1, b"\3ab")), PROTOCOL),
    Case("6.1", "DATA: all of it padding", opened(frame(frames.DATA, 8, 1, b"\2ab"))),
    *[
        Case(
            "6.2", f"A frame of type {kind} within a header block", sends(BEGUN, frame(kind, 0, 1, bytes(8))), PROTOCOL
        )
        for kind in KINDS
    ],
    Case(
        "6.2",
        "A usual request's content within the block of another",
        usual(
            lambda block: wire.head(7, block) + wire.head(9, block, flags=0) + wire.data(7, wire.grpc(b"x"), end=True)
        ),
        PROTOCOL,
    ),
    Case("6.2", "HEADERS on stream 0", sends(wire.head(0, b"\x83")), PROTOCOL),
    Case(
        "6.2", "HEADERS: as much padding as there is frame", sends(frame(frames.HEADERS, 0xC, 1, b"\2\x83")), PROTOCOL
    ),
    Case("6.3", "PRIORITY on stream 0", sends(frame(frames.PRIORITY, 0, 0, bytes(5))), PROTOCOL),
    Case("6.3", "PRIORITY of 4 bytes", opened(frame(frames.PRIORITY, 0, 1, bytes(4))), SIZE, 1),
    Case("6.3", "PRIORITY of 6 bytes on an idle stream, which cannot be reset", sends(frame(2, 0, 9, bytes(6))), SIZE),
    Case("6.4", "RST_STREAM on stream 0", sends(frames.rst_stream(0, ErrorCode.CANCEL)), PROTOCOL),
    Case("6.4", "RST_STREAM of 3 bytes", opened(frame(frames.RST_STREAM, 0, 1, bytes(3))), SIZE),
    Case("6.5", "SETTINGS on a stream", sends(frame(frames.SETTINGS, 0, 1)), PROTOCOL),
    Case("6.5", "An acknowledgement with content", sends(frame(frames.SETTINGS, 1, 0, bytes(6))), SIZE),
    Case("6.5", "SETTINGS of 7 bytes", sends(frame(frames.SETTINGS, 0, 0, bytes(7))), SIZE),
    Case("6.5.2", "SETTINGS_ENABLE_PUSH of 2", sends(setting(2, 2)), PROTOCOL),
    Case("6.5.2", "SETTINGS_INITIAL_WINDOW_SIZE of 2^31", sends(setting(4, 2**31)), FLOW),
    Case("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 2^14 − 1", sends(setting(5, 16_383)), PROTOCOL),
    Case("6.5.2", "SETTINGS_MAX_FRAME_SIZE of 2^24", sends(setting(5, 2**24)), PROTOCOL),
    Case("6.5.2", "An unknown setting is ignored", sends(setting(0x99, 2**32 - 1))),
    Case("6.6", "PUSH_PROMISE", opened(frame(frames.PUSH_PROMISE, 4, 1, bytes(4) + b"\x83")), PROTOCOL),
    Case("6.7", "PING on a stream", opened(frame(frames.PING, 0, 1, bytes(8))), PROTOCOL),
    Case("6.7", "PING of 7 bytes", sends(frame(frames.PING, 0, 0, bytes(7))), SIZE),
    Case("6.8", "GOAWAY on a stream", opened(frame(frames.GOAWAY, 0, 1, bytes(8))), PROTOCOL),
    Case("6.8", "GOAWAY from the peer: its calls are still answered", sends(frames.goaway(0, ErrorCode.NO_ERROR))),
    Case("6.9", "WINDOW_UPDATE of 0 on a stream", opened(frames.window_update(1, 0)), PROTOCOL, 1),
    Case("6.9", "WINDOW_UPDATE of 0 on the connection", sends(frames.window_update(0, 0)), PROTOCOL),
    Case("6.9", "WINDOW_UPDATE of 5 bytes", sends(frame(frames.WINDOW_UPDATE, 0, 0, bytes(5))), SIZE),
    Case("6.9.1", "A stream's window above 2^31 − 1", opened(frames.window_update(1, 2**31 - 1)), FLOW, 1),
    Case("6.9.1", "The connection's window above 2^31 − 1", sends(frames.window_update(0, 2**31 - 1)), FLOW),
    Case(
        "6.9.2",
        "A new initial window that takes a stream's above 2^31 − 1",
        opened(frames.window_update(1, 2**30), setting(4, 2**30 + 65_536)),
        FLOW,
    ),
    Case("6.10", "CONTINUATION on stream 0", sends(BEGUN, frame(frames.CONTINUATION, 4, 0, b"")), PROTOCOL),
    Case("6.10", "CONTINUATION of another stream", sends(BEGUN, frame(frames.CONTINUATION, 4, 3, b"")), PROTOCOL),
    Case("6.10", "CONTINUATION behind a block that has ended", opened(frame(frames.CONTINUATION, 4, 1, b"")), PROTOCOL),
    Case("7", "An unknown error code resets like any other", opened(frames.rst_stream(1, 0xDEAD))),  # type: ignore[arg-type]
    Case("7", "An unknown error code in GOAWAY", sends(frames.goaway(0, 0xDEAD))),  # type: ignore[arg-type]
    Case("8.1", "Trailers without END_STREAM", trails((b"x", b"y"), ended=False), PROTOCOL, 1),
    Case("8.1", "Trailers with a pseudo field", trails((b":path", b"/")), PROTOCOL, 1),
    Case("8.1", "Trailers with a field that is malformed", trails((b"X", b"y")), PROTOCOL, 1),
    Case("8.1.1", "Content shorter than content-length", asks_with((b"content-length", b"7")), PROTOCOL, 1),
    Case("8.1.1", "Content longer than content-length", asks_with((b"content-length", b"5")), PROTOCOL, 1),
    Case("8.1.1", "A content-length that is no number", asks_with((b"content-length", b"+6")), PROTOCOL, 1),
    Case("8.1.1", "Two content-lengths", asks_with((b"content-length", b"6"), (b"content-length", b"7")), PROTOCOL, 1),
    *[
        Case("8.2.1", f"A field name with {what}", asks_with((name, b"x")), PROTOCOL, 1)
        for what, name in [
            ("an upper-case letter", b"x-Y"),
            ("a space", b"x y"),
            ("a control character", b"x\x1f"),
            ("a byte above 0x7e", b"x\x7f"),
            ("a byte above 0x7f", b"x\xff"),
            ("a colon", b"x:y"),
            ("nothing in it", b""),
        ]
    ],
    *[
        Case("8.2.1", f"A field value with {what}", asks_with((b"x", value)), PROTOCOL, 1)
        for what, value in [
            ("NUL", b"a\0b"),
            ("LF", b"a\nb"),
            ("CR", b"a\rb"),
            ("a space before it", b" a"),
            ("a tab behind it", b"a\t"),
        ]
    ],
    *[
        Case("8.2.2", f"The field {name.decode()}", asks_with((name, b"x")), PROTOCOL, 1)
        for name in (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
    ],
    Case("8.2.2", "The field te with anything but trailers", asks_with((b"te", b"gzip")), PROTOCOL, 1),
    Case("8.3", "An unknown pseudo field", asks_without(b"", (b":protocol", b"websocket")), PROTOCOL, 1),
    Case("8.3", "A pseudo field of responses", asks_without(b"", (b":status", b"200")), PROTOCOL, 1),
    Case("8.3", "A pseudo field behind a regular one", asks_with((b":authority", b"a")), PROTOCOL, 1),
    Case("8.3", "A pseudo field twice", asks_without(b"", (b":path", b"/t/Echo")), PROTOCOL, 1),
    *[
        Case("8.3.1", f"A request without {name.decode()}", asks_without(name), PROTOCOL, 1)
        for name in (b":method", b":scheme", b":path")
    ],
    Case("8.3.1", "A request whose :path is empty", asks_without(b":path", (b":path", b"")), PROTOCOL, 1),
    Case(
        "8.3.1",
        "A request whose :path does not begin with /",
        asks_without(b":path", (b":path", b"t/Echo")),
        PROTOCOL,
        1,
    ),
    Case("8.5", "CONNECT with :scheme and :path", asks_without(b":method", (b":method", b"CONNECT")), PROTOCOL, 1),
    Case("8.4", "A client that pushes", sends(frame(frames.PUSH_PROMISE, 4, 0, b"\0\0\0\2\x83")), PROTOCOL),
    Case("8.5", "CONNECT without :authority", asks((b":method", b"CONNECT")), PROTOCOL, 1),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.section} {case.rule}")
def test_case(peer: InMemory, served: Served, case: Case) -> None:
    case.act(peer)
    if case.code is not None and not case.on_stream:
        assert peer.code == case.code, peer.reading.goaway
        before = len(peer.reading.frames)
        peer.send(wire.ping())
        assert len(peer.reading.frames) == before, "after its GOAWAY the server says nothing more"
        return
    assert peer.code == -1, peer.reading.goaway
    resets = [(each.stream_id, each.word) for each in peer.reading.of(frames.RST_STREAM)]
    assert resets == ([(case.on_stream, case.code)] if case.code is not None else [])
    for _ in range(3):
        assert peer.call("/t/Echo", b"next").messages == [b"next"]
    if case.code is not None:
        assert all(call.cancelled for call, _ in served.held), "what was under way on the stream is not done"


# What cannot be said as a case.


@must("3.4", "Anything but the preface", "closed without a frame")
def test_preface_wrong(served: Served) -> None:
    for first in (b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"\x16\x03\x01\x02\x00"):
        peer = InMemory(served).send(first)
        assert peer.connection.fault is not None
        assert peer.sent == b""


@must("3.4", "SETTINGS is the first frame of either end", "connection error PROTOCOL_ERROR; ours is sent first")
def test_preface_settings(served: Served) -> None:
    for first in (wire.ping(), wire.settings_ack(), frames.window_update(0, 1)):
        peer = InMemory(served).send(frames.PREFACE + first)
        assert peer.code == PROTOCOL
        assert peer.reading.frames[0].kind == frames.SETTINGS


@must("4.1", "No flag without a meaning and no reserved bit is sent", "as it says")
def test_flags_and_reserved_bit_of_ours(peer: InMemory) -> None:
    allowed = {frames.DATA: 0x9, frames.HEADERS: 0x2D, frames.SETTINGS: 1, frames.PING: 1, frames.CONTINUATION: 4}
    peer.send(wire.ping() + wire.settings())
    opened(frames.window_update(1, 0))(peer)
    peer.call("/t/Echo", b"x")
    peer.call("/t/Refuse")
    peer.call("/t/Bytes", b"100000")
    for each in peer.reading.frames:
        assert not each.flags & ~allowed.get(each.kind, 0), each
        assert not each.stream_id >> 31


@must("4.2", "Frames are no larger than the peer takes", "at most SETTINGS_MAX_FRAME_SIZE, 2^14 at first")
def test_frames_of_ours_fit(peer: InMemory) -> None:
    peer.send(setting(4, 10**6) + frames.window_update(0, 10**6))
    peer.call("/t/Bytes", b"50000")
    assert [len(each.payload) for each in peer.reading.of(frames.DATA)] == [16_384, 16_384, 16_384, 853]
    peer.send(setting(5, 30_000))
    peer.call("/t/Bytes", b"50000")
    assert [len(each.payload) for each in peer.reading.of(frames.DATA)[4:]] == [30_000, 20_005]


@must("4.3", "A block is decoded even when its stream is refused or was reset", "the table stays in step")
def test_blocks_of_refused_streams_are_decoded(connect: Callable[..., InMemory]) -> None:
    peer = connect(concurrent_streams=1)
    fields = peer.requests.fields
    peer.send(peer.requests.call("/t/Hold"))
    refused = peer.call("/t/Echo", b"x", (b"x-new", b"into the table"))
    assert refused.reset == REFUSED
    peer.send(wire.head(3, peer.requests.block(((b"x-other", b"too"),)), end=True))  # trailers of the refused one
    peer.send(frames.rst_stream(1, ErrorCode.CANCEL))
    assert peer.call("/t/Echo", b"x", (b"x-new", b"into the table"), (b"x-other", b"too")).messages == [b"x"]
    assert fields("/t/Echo")


@must("4.3", "A block that is not decoded, as it is beyond the limits", "connection error ENHANCE_YOUR_CALM (5.4)")
def test_blocks_beyond_the_limits_end_the_connection(connect: Callable[..., InMemory]) -> None:
    for sizes in ([0] * 17, [16_000] * 5):
        peer = connect()
        peer.send(BEGUN + b"".join(frame(frames.CONTINUATION, 0, 1, bytes(size)) for size in sizes))
        assert peer.code == ErrorCode.ENHANCE_YOUR_CALM


@must("4.3", "A block is sent without a frame between its own", "HEADERS and CONTINUATION leave together")
def test_blocks_of_ours_are_contiguous(peer: InMemory) -> None:
    peer.connection.sending.block(1, bytes(40_000), ended=True)
    assert [each.kind for each in wire.read_frames(b"".join(peer.connection.out))[0]] == [1, 9, 9]
    peer.connection.out.clear()


@must("4.3.1", "SETTINGS_HEADER_TABLE_SIZE is lowered", "the next block begins with a table size update to 0")
def test_lower_table_is_acknowledged_in_the_next_block(peer: InMemory) -> None:
    for _ in range(2):  # whatever the way: an answer that is usual by now
        peer.call("/t/Echo", b"x")
    peer.send(setting(Setting.HEADER_TABLE_SIZE, 0))
    for _ in range(2):
        peer.call("/t/Echo", b"x")
    before, after, *rest = [each.payload for each in peer.reading.of(frames.HEADERS)[4::2]]
    assert before == b"\x20" + after
    assert not rest


@must("5.1", "A stream that we reset: what still comes is dropped, DATA counts, blocks are decoded", "no answer")
def test_late_frames_of_a_reset_stream(connect: Callable[..., InMemory]) -> None:
    peer = connect(connection_window_bytes=65_535)
    opened(frames.window_update(1, 0))(peer)
    before = len(peer.reading.frames)
    late = [wire.data(1, bytes(16_000)) * 3, frames.window_update(1, 1), frames.rst_stream(1, ErrorCode.CANCEL)]
    peer.send(b"".join(late) + wire.head(1, peer.requests.block(((b"x", b"y"),)), end=True))
    assert [(each.kind, each.stream_id) for each in peer.reading.frames[before:]] == [(frames.WINDOW_UPDATE, 0)]
    assert peer.call("/t/Echo", b"x", (b"x", b"y")).messages == [b"x"]


@must("5.1", "After RST_STREAM has come nothing is sent on the stream", "the call is cancelled")
def test_nothing_follows_a_reset(peer: InMemory, served: Served) -> None:
    opened(frames.window_update(0, 10**6), ended=True)(peer)
    asked = peer.requests.call("/t/Bytes", b"300000")
    peer.send(asked)
    before = len(peer.reading.frames)
    peer.send(frames.rst_stream(1, ErrorCode.CANCEL) + frames.rst_stream(3, ErrorCode.CANCEL))
    peer.send(frames.window_update(0, 10**6))
    served.held[0][0].answer(b"late")
    peer.flush()
    assert len(peer.reading.frames) == before


@must("5.1.2", "A stream beyond SETTINGS_MAX_CONCURRENT_STREAMS", "stream error REFUSED_STREAM")
def test_streams_beyond_the_limit(connect: Callable[..., InMemory], served: Served) -> None:
    peer = connect(concurrent_streams=3)
    for _ in range(5):
        peer.send(peer.requests.call("/t/Hold"))
    assert {each: answer.reset for each, answer in peer.reading.answers.items()} == {7: REFUSED, 9: REFUSED}
    assert len(served.held) == 3
    served.held[0][0].answer(b"done")
    assert peer.call("/t/Echo", b"x").messages == [b"x"]


@must("5.2.1", "The windows that the peer advertises are respected", "as 6.9.1; every window after every step")
def test_windows_of_many_streams(connect: Callable[..., InMemory]) -> None:
    peer = connect(first=frames.PREFACE + wire.settings({Setting.INITIAL_WINDOW_SIZE: 30_000}))
    for _ in range(3):
        peer.call("/t/Bytes", b"40000")
    sent = [len(answer.content) for answer in peer.reading.answers.values()]
    assert sent == [30_000, 30_000, 5535]
    peer.send(frames.window_update(0, 9))
    assert [len(answer.content) for answer in peer.reading.answers.values()] == [30_000, 30_000, 5544]


@must("5.2.2", "Frames are read as soon as they come", "all of a read at once; not while the peer takes nothing")
def test_all_frames_of_a_read_are_handled(peer: InMemory) -> None:
    peer.send(b"".join(wire.ping(b"%08d" % at) for at in range(100)))
    assert [each.payload for each in peer.reading.of(frames.PING)] == [b"%08d" % at for at in range(100)]


@must("5.4", "A frame that is an error of its stream and of the connection", "the connection error")
def test_connection_errors_come_first(peer: InMemory) -> None:
    opened(ended=True)(peer)
    peer.send(frame(frames.DATA, frames.PADDED, 1, b"\5a"))  # padding (6.1), on a stream that is half closed (5.1)
    assert peer.code == PROTOCOL


@must("5.4.1", "After a connection error the connection is closed", "GOAWAY with the last stream, then closed")
def test_goaway_names_the_last_stream(peer: InMemory) -> None:
    opened(wire.data(0, b"x"))(peer)
    assert peer.reading.goaway is not None
    assert peer.reading.goaway[:2] == (1, PROTOCOL)


@must("6.5.2", "No SETTINGS_ENABLE_PUSH and no PUSH_PROMISE is sent", "as it says")
def test_nothing_is_pushed(served: Served) -> None:
    peer = InMemory(served).send(wire.PREFACE)
    ours = peer.reading.frames[0]
    assert {key for key, _ in frames.read_settings(ours.payload)}.isdisjoint({Setting.ENABLE_PUSH})
    peer.call("/t/Echo", b"x")
    assert not peer.reading.of(frames.PUSH_PROMISE)


@must("6.5.3", "Settings are applied in their order, then acknowledged at once", "one acknowledgement each")
def test_settings_are_acknowledged_in_order(peer: InMemory) -> None:
    twice = frame(frames.SETTINGS, 0, 0, b"".join(setting(4, value)[9:] for value in (1, 7)))
    peer.send(twice + wire.ping() + wire.settings() + wire.settings_ack())
    assert [(each.kind, each.flags) for each in peer.reading.frames] == [(4, 1), (6, 1), (4, 1)]
    assert len(peer.call("/t/Echo", b"123456789").content) == 7


@must("6.7", "PING is answered with the same content; an answer is not", "PING with ACK, in its place")
def test_ping(peer: InMemory) -> None:
    peer.send(wire.ping(b"abcdefgh") + wire.ping(ack=True))
    assert peer.reading.frames == [(frames.PING, frames.ACK, 0, b"abcdefgh")]


@must("6.8", "The last stream of a later GOAWAY is never higher", "2^31 − 1, then the last that was taken")
def test_goaway_never_rises(peer: InMemory) -> None:
    peer.connection.announce_end()
    assert peer.call("/t/Echo", b"x").messages == [b"x"]
    (ping,) = peer.reading.of(frames.PING)
    peer.send(wire.ping(ping.payload, ack=True))
    assert peer.call("/t/Echo", b"x").reset == REFUSED
    peer.send(wire.data(0, b"x"))
    lasts = [int.from_bytes(each.payload[:4], "big") for each in peer.reading.of(frames.GOAWAY)]
    assert lasts == [frames.MAX_WINDOW, 1, 1]


@must("6.8", "After GOAWAY, blocks are decoded and DATA is counted", "streams beyond it are refused")
def test_late_streams_are_refused_and_harm_nothing(connect: Callable[..., InMemory], served: Served) -> None:
    peer = connect(connection_window_bytes=65_535)
    peer.send(peer.requests.call("/t/Hold"))
    peer.connection.announce_end()
    peer.connection.finish_end()
    for _ in range(3):
        late = peer.call("/t/Echo", bytes(16_000), (b"x-new", b"into the table"))
        assert late.reset == REFUSED
        peer.send(frames.window_update(peer.requests.next_stream - 2, 5))
        peer.send(frames.rst_stream(peer.requests.next_stream - 2, ErrorCode.CANCEL))
    assert any(each.stream_id == 0 for each in peer.reading.of(frames.WINDOW_UPDATE))
    served.held[0][0].answer(b"done")
    peer.flush()
    assert peer.reading.answers[1].messages == [b"done"]


@must("6.9", "DATA counts against the connection's window even when it is in error", "all of it is given back")
def test_data_in_error_counts(connect: Callable[..., InMemory]) -> None:
    peer = connect(connection_window_bytes=65_535)
    opened(ended=True)(peer)
    peer.send(wire.data(1, bytes(16_000)) * 5)  # STREAM_CLOSED
    granted = sum(each.word for each in peer.reading.of(frames.WINDOW_UPDATE))
    assert granted + peer.connection._credit == 5 * 16_000 + 6


@must("6.9.1", "No more is sent than either window allows; an end needs none", "the rest waits")
def test_windows_are_kept(connect: Callable[..., InMemory]) -> None:
    peer = connect(first=frames.PREFACE + wire.settings({Setting.INITIAL_WINDOW_SIZE: 0}))
    assert peer.call("/t/Refuse").ended
    answer = peer.call("/t/Echo", b"12345")
    assert (answer.head != (), answer.content, answer.ended) == (True, b"", False)
    peer.send(frames.window_update(3, 7))
    assert (answer.content, answer.ended) == (b"\0\0\0\0\x0512", False)
    peer.send(frames.window_update(3, 3))
    assert (answer.messages, answer.ended) == ([b"12345"], True)


@must("6.9.1", "A peer that passes our windows", "stream or connection error FLOW_CONTROL_ERROR")
def test_our_windows_are_kept(connect: Callable[..., InMemory]) -> None:
    peer = connect(stream_window_bytes=16_384, connection_window_bytes=65_535)
    opened()(peer)
    peer.send(wire.data(1, bytes(9000)))  # more than half: given back
    peer.send(wire.data(1, bytes(16_384)))
    assert peer.code == -1
    peer.send(wire.head(3, peer.requests.block(peer.requests.fields("/t/Echo"))))
    peer.send(wire.data(3, bytes(8000)) + wire.data(3, bytes(8385)))
    assert peer.reading.answers[3].reset == FLOW


@must(
    "6.9.2", "A changed initial window moves all streams' windows, below 0 too", "nothing leaves until it is positive"
)
def test_initial_window_moves_windows(connect: Callable[..., InMemory]) -> None:
    peer = connect(first=frames.PREFACE + wire.settings({Setting.INITIAL_WINDOW_SIZE: 100}))
    answer = peer.call("/t/Bytes", b"400")
    assert len(answer.content) == 100
    peer.send(setting(4, 40) + frames.window_update(1, 60))
    assert len(answer.content) == 100
    peer.send(setting(4, 41))
    assert len(answer.content) == 101
    peer.send(setting(4, 10_000))
    assert answer.messages == [bytes(400)]


@must("8.1", "A complete answer before the whole request", "RST_STREAM with NO_ERROR behind it")
def test_early_answer(peer: InMemory) -> None:
    peer.send(wire.head(1, peer.requests.block(peer.requests.fields("/t/None"))))
    assert [(each.kind, each.flags & 1) for each in peer.reading.frames] == [
        (frames.HEADERS, 1),
        (frames.RST_STREAM, 0),
    ]
    assert peer.reading.frames[1].word == ErrorCode.NO_ERROR


@must("8.2", "Our field names are in lower case, without fields of connections", "as it says")
def test_fields_of_ours(peer: InMemory) -> None:
    answers = [peer.call("/t/Echo", b"x"), peer.call("/t/Refuse"), peer.call("/t/None")]
    peer.send(
        wire.head(7, peer.requests.block(((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"))), end=True)
    )
    for answer in [*answers, peer.reading.answers[7]]:
        for name, value in answer.head + answer.trailers:
            assert re.fullmatch(rb":?[a-z0-9-]+", name)
            assert name not in (b"connection", b"transfer-encoding", b"keep-alive", b"upgrade")
            assert value == value.strip()


@must("8.3.2", "Every response has one :status, and no other pseudo field", "as it says")
def test_status_of_ours(peer: InMemory) -> None:
    for answer in (peer.call("/t/Echo", b"x"), peer.call("/t/Refuse"), peer.call("/t/None")):
        assert [name for name, _ in answer.head + answer.trailers if name.startswith(b":")] == [b":status"]


@must("8.5", "CONNECT", "405 with Allow: POST: no proxy here")
def test_connect_is_answered(peer: InMemory) -> None:
    asks((b":method", b"CONNECT"), (b":authority", b"a:443"))(peer)
    assert peer.reading.answers[1].http_status == 405


@must("8.7", "A stream that we say was not processed was not", "refused streams reach no method")
def test_refused_means_not_processed(connect: Callable[..., InMemory], served: Served) -> None:
    peer = connect(concurrent_streams=1)
    peer.send(peer.requests.call("/t/Hold"))
    assert peer.call("/t/Echo", b"refused").reset == REFUSED
    peer.connection.finish_end()
    assert peer.call("/t/Echo", b"refused").reset == REFUSED
    assert served.messages == []
    assert peer.reading.goaway is not None
    assert peer.reading.goaway[0] >= 1


# The page.

# The sections from 4 to 8 with a MUST in them; those that bind others alone: see the page.
WITH_RULES = {
    *("4.1", "4.2", "4.3", "4.3.1", "5.1", "5.1.1", "5.1.2", "5.2.1", "5.2.2", "5.4", "5.4.1", "5.4.2", "5.5", "6.1"),
    *("6.2", "6.3", "6.4", "6.5", "6.5.2", "6.5.3", "6.6", "6.7", "6.8", "6.9", "6.9.1", "6.9.2", "6.9.3", "6.10", "7"),
    *("8.1", "8.1.1", "8.2", "8.2.1", "8.2.2", "8.2.3", "8.3", "8.3.1", "8.3.2", "8.4", "8.4.1", "8.4.2", "8.5", "8.7"),
}
OF_OTHERS = {"6.9.3", "8.2.3", "8.4.1", "8.4.2"}


def rows() -> list[Row]:
    """section, rule, answer, test: in the order of the sections."""
    cases = [(case.section, case.rule, case.answer, f"test_case[{case.section} {case.rule}]") for case in CASES]
    return sorted([*cases, *RULES], key=lambda row: [int(part) for part in row[0].split(".")])


def test_the_page_says_what_is_tested() -> None:
    table = "\n".join(f"| {section} | {rule} | {answer} | `{test}` |" for section, rule, answer, test in rows())
    assert table in PAGE.read_text(), f"docs/conformance.md: expected this table:\n{table}"


def test_no_section_is_left_out() -> None:
    assert {section for section, *_ in rows()} - {"3.4"} == WITH_RULES - OF_OTHERS
    page = PAGE.read_text()
    assert all(section in page for section in OF_OTHERS)


def test_rules_are_told_apart() -> None:
    names = [f"{section} {rule}" for section, rule, *_ in rows()]
    assert len(set(names)) == len(names)
