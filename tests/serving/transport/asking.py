"""The same bytes to two servers: trains of requests, well and badly formed, and what is heard of each.

A train is made once and sent to any server, since every frame of it is the client's own choice; what is heard may come
in any order and in any frames, and is compared stream by stream.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from loadtests.clients import wire
from serving.errors import WrongValue
from serving.runtime.engine import NO_DEADLINE_NS
from serving.transport.call import Call
from serving.transport.grpcio import GrpcioTransport, grpcio_transport
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode
from serving.transport.http2.frames import Setting
from serving.transport.http2.limits import Limits
from serving.transport.methods import Methods, Streaming, Unary
from serving.transport.native import NativeTransport, native_transport

PATIENCE_SECONDS = 8.0
MESSAGE_BYTES = 2000
_ROOM = 1_000_000  # bytes of window: nothing that is asked here waits for one
GREETING = (
    frames.PREFACE
    + wire.settings({Setting.INITIAL_WINDOW_SIZE: _ROOM})
    + wire.settings_ack()
    + frames.window_update(0, _ROOM)
)


@dataclass(frozen=True)
class Asked:
    """One request. kinds: what is unusual about it, by name.

    continued: CONTINUATION frames behind HEADERS. head_padding: of HEADERS. weighted: HEADERS say a priority. cuts:
    where the content is cut into DATA frames. padding: of the first of them. ending: how the client ends it: with the
    last `data`, an `empty` frame, the `head`, `trailers`, a `reset` or one behind the end (`late reset`), or not at
    all (`open`, `open trailers`).
    """

    fields: wire.Fields
    content: bytes = b""
    kinds: frozenset[str] = frozenset()
    continued: int = 0
    head_padding: int | None = None
    weighted: bool = False
    cuts: tuple[int, ...] = ()
    padding: int | None = None
    ending: str = "data"
    trailers: wire.Fields = ((b"x-end", b"1"),)

    @property
    def is_due(self) -> bool:
        """Whether the client has asked for an answer, and waits for it."""
        return "reset" not in self.ending and "open" not in self.ending

    def steps(self, number: int) -> list[Callable[[wire.Requests], bytes]]:
        """Its frames, each made when its turn has come: header blocks depend on those before."""
        steps = [lambda requests: self._head(number, requests.block(self.fields))]
        if self.ending != "head":
            cuts = sorted({cut for cut in self.cuts if cut < len(self.content)})
            parts = [self.content[a:b] for a, b in zip([0, *cuts], [*cuts, len(self.content)], strict=True)]
            for at, part in enumerate(parts):
                steps.append(_fixed(self._data(number, part, first=not at, last=at == len(parts) - 1)))
        if self.ending == "empty":
            steps.append(_fixed(wire.data(number, b"", end=True)))
        if "trailers" in self.ending:
            end = self.ending == "trailers"
            steps.append(lambda requests: wire.head(number, requests.block(self.trailers), end=end))
        if "reset" in self.ending:
            steps.append(_fixed(frames.rst_stream(number, ErrorCode.CANCEL)))
        return steps

    def _head(self, number: int, block: bytes) -> bytes:
        last = frames.END_STREAM if self.ending == "head" else 0
        size = -(-len(block) // (self.continued + 1))
        first, *more = (block[at : at + size] for at in range(0, len(block), size))
        if self.weighted:
            last |= frames.WITH_PRIORITY
            first = bytes((0, 0, 0, 0, 15)) + first
        if self.head_padding is not None:
            last |= frames.PADDED
            first = bytes((self.head_padding,)) + first + bytes(self.head_padding)
        made = frames.frame(frames.HEADERS, last | (0 if more else frames.END_HEADERS), number, first)
        for at, part in enumerate(more, 1):
            flags = frames.END_HEADERS if at == len(more) else 0
            made += frames.frame(frames.CONTINUATION, flags, number, part)
        return made

    def _data(self, number: int, part: bytes, *, first: bool, last: bool) -> bytes:
        end = last and self.ending in ("data", "late reset")
        return wire.data(number, part, end=end, padding=self.padding if first else None)


def _fixed(data: bytes) -> Callable[[wire.Requests], bytes]:
    return lambda _: data


@dataclass(frozen=True)
class Train:
    """Requests on one connection. order: whose turn it is, request by request, until nothing is left of them.

    between: what else is sent, and before which turn.
    """

    requests: tuple[Asked, ...]
    order: tuple[int, ...] = ()
    between: tuple[tuple[int, bytes], ...] = ()

    def bytes(self) -> bytes:
        """All of it. Streams begin in their order, whatever `order` says."""
        encoder, more = wire.Requests(), dict(self.between)
        waiting = [asked.steps(2 * at + 1) for at, asked in enumerate(self.requests)]
        made, begun = [GREETING], 0
        for turn, wanted in enumerate(self.order):
            at = min(wanted, begun)
            begun = max(begun, at + 1)
            made += [more.get(turn, b""), *[step(encoder) for step in waiting[at][:1]]]
            del waiting[at][:1]
        made += [step(encoder) for steps in waiting for step in steps]
        return b"".join((*made, wire.settings({Setting.INITIAL_WINDOW_SIZE: _ROOM}), frames.window_update(0, _ROOM)))


@dataclass(frozen=True)
class Heard:
    """What is heard of one request. outcome: in a word or two. words: the `grpc-message`, decoded."""

    outcome: str
    messages: tuple[bytes, ...] = ()
    words: bytes = b""

    @classmethod
    def of(cls, answer: wire.Answer | None, *, closed: bool) -> Heard:
        """Of what came on the stream."""
        if answer is None or not (answer.ended or answer.reset is not None):
            return cls("closed" if closed else "nothing")
        if not answer.ended:
            return cls(f"reset {ErrorCode(answer.reset or 0).name}")
        fields = dict(answer.head + answer.trailers)
        if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            return cls(f"http {answer.http_status}", (answer.content,))
        words = unquote_to_bytes(fields.get(b"grpc-message", b""))
        return cls(f"status {answer.status}", tuple(answer.messages), words)


class Service:
    """Methods of every sort, whose answers are the same each time."""

    def __init__(self) -> None:
        self.methods: Methods = {
            "/t/Echo": Unary(lambda call, body: call.answer(body)),
            "/t/Bytes": Unary(lambda call, body: call.answer(bytes(40 * len(body)))),
            "/t/Refuse": Unary(lambda call, body: call.refuse(WrongValue("é: 100 % wrong\n"))),
            "/t/Metadata": Unary(self._metadata),
            "/t/Deadline": Unary(self._deadline),
            "/t/Count": Streaming(self._count),
        }

    def _metadata(self, call: Call, _body: bytes) -> None:
        call.answer(json.dumps(sorted(call.metadata(), key=lambda pair: pair[0])).encode())

    def _deadline(self, call: Call, _body: bytes) -> None:
        call.answer(b"none" if call.deadline_ns == NO_DEADLINE_NS else b"one")

    async def _count(self, body: bytes) -> AsyncGenerator[bytes, None]:
        for number in range(len(body)):
            yield b"%d" % number
        if len(body) == 3:
            raise WrongValue("three are too many")


class Servers(NamedTuple):
    """The same methods on both transports."""

    native: NativeTransport
    grpcio: GrpcioTransport


@asynccontextmanager
async def both(methods: Methods, limits: Limits | None = None) -> AsyncIterator[Servers]:
    """`methods` on both transports."""
    async with (
        native_transport(methods, listen="127.0.0.1:0", limits=limits) as native,
        grpcio_transport(methods, listen="127.0.0.1:0", limits=limits) as grpcio,
    ):
        yield Servers(native, grpcio)


async def hear(address: str, sent: bytes, due: Collection[int]) -> tuple[wire.Reading, bool]:
    """What a server says to `sent` until the streams `due` are over; whether it closed the connection before."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    reading = wire.Reading()
    try:
        writer.write(sent)
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not set(due) <= reading.ended.keys():
                    found = await _read(reader)
                    if not found:
                        return reading, True
                    reading.take(found)
        return reading, False
    finally:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(2**16)
    except ConnectionError:
        return b""


async def ask(address: str, train: Train, due: Collection[int]) -> list[Heard]:
    """What a server says to each request of `train`, once those at the places `due` are over."""
    reading, closed = await hear(address, train.bytes(), [2 * at + 1 for at in due])
    answers = (reading.answers.get(2 * at + 1) for at in range(len(train.requests)))
    return [Heard.of(answer, closed=closed) for answer in answers]
