"""HTTP/2 as a peer sees it, frame by frame and well or badly formed: what hostile load and the tests are written in.

Header blocks are made and read by the `hpack` package, so that ours is held to somebody else's. No socket here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import hpack

from serving.transport.http2 import frames
from serving.transport.http2.frames import Setting

PREFACE = frames.PREFACE + frames.settings({})
Fields = tuple[tuple[bytes, bytes], ...]


class Frame(NamedTuple):
    """One frame as it lay on the wire."""

    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def word(self) -> int:
        """The last four bytes: an error code, an increment."""
        return int.from_bytes(self.payload[-4:], "big")


@dataclass
class Answer:
    """What came back on one stream. reset: the code of an RST_STREAM."""

    head: Fields = ()
    trailers: Fields = ()
    content: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        """The gRPC status, or −1 while there is none."""
        return int(dict(self.head + self.trailers).get(b"grpc-status", b"-1"))

    @property
    def http_status(self) -> int:
        """The HTTP status, or −1 while there is none."""
        return int(dict(self.head).get(b":status", b"-1"))

    @property
    def message(self) -> str:
        """The `grpc-message` as it came, percent-encoded."""
        return dict(self.head + self.trailers).get(b"grpc-message", b"").decode("ascii")

    @property
    def messages(self) -> list[bytes]:
        """The length-prefixed messages of the content."""
        found, at = [], 0
        while at < len(self.content):
            size = int.from_bytes(self.content[at + 1 : at + 5], "big")
            found.append(self.content[at + 5 : at + 5 + size])
            at += 5 + size
        return found


@dataclass
class Reading:
    """What a server has said so far on one connection."""

    frames: list[Frame] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)
    _decoder: hpack.Decoder = field(default_factory=hpack.Decoder)
    _rest: bytes = b""
    _block: bytes = b""

    def take(self, data: bytes) -> list[Frame]:
        """Reads more; returns the frames that are whole now."""
        found, self._rest = read_frames(self._rest + data)
        for each in found:
            self._note(each)
        self.frames += found
        return found

    def of(self, kind: int) -> list[Frame]:
        """All frames of a kind so far."""
        return [each for each in self.frames if each.kind == kind]

    @property
    def goaway(self) -> tuple[int, int, str] | None:
        """The last GOAWAY: last stream, code, words."""
        found = self.of(frames.GOAWAY)
        if not found:
            return None
        payload = found[-1].payload
        return int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:8], "big"), payload[8:].decode()

    @property
    def ended(self) -> dict[int, Answer]:
        """The answers that are over, well or badly."""
        return {each: answer for each, answer in self.answers.items() if answer.ended or answer.reset is not None}

    def _note(self, each: Frame) -> None:
        if each.kind in (frames.HEADERS, frames.CONTINUATION):
            self._block += each.payload
            if each.flags & frames.END_HEADERS:
                self._fields(each.stream_id)
        answer = self.answers.setdefault(each.stream_id, Answer()) if each.stream_id else Answer()
        if each.kind == frames.DATA:
            answer.content += each.payload
        if each.kind in (frames.DATA, frames.HEADERS) and each.flags & frames.END_STREAM:
            answer.ended = True
        if each.kind == frames.RST_STREAM:
            answer.reset = each.word

    def _fields(self, stream_id: int) -> None:
        block, self._block = self._block, b""
        fields = tuple((bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True))
        answer = self.answers.setdefault(stream_id, Answer())
        if answer.head:
            answer.trailers = fields
        else:
            answer.head = fields


class Requests:
    """Makes the frames of gRPC requests. Lives as long as a connection: header blocks depend on those before."""

    def __init__(self, authority: str = "127.0.0.1") -> None:
        self.next_stream = 1
        self._authority = authority.encode()
        self._encoder = hpack.Encoder()

    def block(self, fields: Fields, *, huffman: bool = True) -> bytes:
        """A header block of `fields`."""
        return bytes(self._encoder.encode(fields, huffman=huffman))

    def fields(self, path: str, *more: tuple[bytes, bytes]) -> Fields:
        """The head of a gRPC request."""
        return (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", path.encode()),
            (b":authority", self._authority),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            *more,
        )

    def stream(self) -> int:
        """A new stream's number."""
        stream_id, self.next_stream = self.next_stream, self.next_stream + 2
        return stream_id

    def call(self, path: str, message: bytes = b"", *more: tuple[bytes, bytes]) -> bytes:
        """A whole unary request on a new stream: HEADERS and one DATA frame."""
        stream_id = self.stream()
        return head(stream_id, self.block(self.fields(path, *more))) + data(stream_id, grpc(message), end=True)


def read_frames(wire: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the beginning of `wire`, and what is left behind them."""
    found, at = [], 0
    while at + frames.HEAD_BYTES <= len(wire):
        word, flags, stream_id = frames.HEAD.unpack_from(wire, at)
        end = at + frames.HEAD_BYTES + (word >> 8)
        if end > len(wire):
            break
        found.append(Frame(word & 0xFF, flags, stream_id, wire[at + frames.HEAD_BYTES : end]))
        at = end
    return found, wire[at:]


def grpc(message: bytes, *, flag: int = 0) -> bytes:
    """`message` with its five bytes before it."""
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


def head(stream_id: int, block: bytes, *, end: bool = False, flags: int = frames.END_HEADERS) -> bytes:
    """A HEADERS frame."""
    return frames.frame(frames.HEADERS, flags | (frames.END_STREAM if end else 0), stream_id, block)


def data(stream_id: int, content: bytes, *, end: bool = False, padding: int | None = None) -> bytes:
    """A DATA frame."""
    flags = frames.END_STREAM if end else 0
    if padding is not None:
        flags |= frames.PADDED
        content = bytes((padding,)) + content + bytes(padding)
    return frames.frame(frames.DATA, flags, stream_id, content)


def ping(payload: bytes = b"signalbx", *, ack: bool = False) -> bytes:
    """A PING frame."""
    return frames.frame(frames.PING, frames.ACK if ack else 0, 0, payload)


def settings(values: dict[Setting, int] | None = None) -> bytes:
    """A SETTINGS frame."""
    return frames.settings(values or {})


def settings_ack() -> bytes:
    """The acknowledgement of SETTINGS."""
    return frames.frame(frames.SETTINGS, frames.ACK, 0)
