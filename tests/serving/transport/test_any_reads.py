"""However the bytes are cut into reads, and whichever way they are read, a connection says the same.

A train is what one client sends: requests of several kinds, their frames interleaved in any order that keeps each
stream's own, with whatever else a peer may send between them. The server has a way of its own for the usual request,
and another for everything: the second is forced here by a decoder that never knows a block again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients import wire
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode
from serving.transport.http2.frames import Setting
from serving.transport.http2.hpack import Head
from serving.transport.http2.limits import Limits

from .conftest import InMemory, Served

Make = Callable[[wire.Requests], bytes]


class Train:
    """Frames in the order in which they are sent; header blocks are made when their turn has come."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self._steps: list[Make] = []

    def bytes(self) -> bytes:
        requests = wire.Requests()
        return wire.PREFACE + b"".join(step(requests) for step in self._steps)

    def fill(self) -> None:
        """Streams begin in their order; what follows of each comes whenever it likes."""
        waiting: list[list[Make]] = []
        number = 1
        for _ in range(self._draw(st.integers(1, 14))):
            kind = self._draw(st.sampled_from(["burst", "stream", "stream", "more"]))
            if kind == "burst":
                number = self._burst(number, self._draw(st.integers(2, 24)))
            elif kind == "stream" or not waiting:
                waiting.append(self._stream(number))
                self._go_on(waiting, last=True)
                number += 2
            else:
                self._go_on(waiting)
            if self._draw(st.integers(0, 5)) == 0:
                self._steps.append(self._draw(_BETWEEN))
        while waiting:
            self._go_on(waiting)
        if self._draw(st.integers(0, 7)) == 0:
            self._steps.append(self._draw(_WRONG))

    def _burst(self, number: int, count: int) -> int:
        """Usual requests, each whole or all heads first; now and then one of them is not so usual."""
        streams = range(number, number + 2 * count, 2)
        fields, odd = self._draw(_FIELDS), self._draw(st.sampled_from([*streams, 0, 0, 0]))
        content = wire.grpc(self._draw(_MESSAGES)[0][:99])
        heads = [_headers(each, self._draw(_FIELDS) if each == odd else fields, 0, ended=False) for each in streams]
        rest = [_fixed(wire.data(each, content + b"!" * (each == odd), end=True)) for each in streams]
        if self._draw(st.booleans()):
            self._steps += itertools.chain.from_iterable(zip(heads, rest, strict=True))
        else:
            self._steps += [*heads, *(self._draw(st.permutations(rest)) if odd else rest)]
        return number + 2 * count

    def _go_on(self, waiting: list[list[Make]], *, last: bool = False) -> None:
        at = -1 if last else self._draw(st.integers(0, len(waiting) - 1))
        self._steps.append(waiting[at].pop(0))
        if not waiting[at]:
            waiting.pop(at)

    def _stream(self, number: int) -> list[Make]:
        fields = self._draw(_FIELDS)
        content = b"".join(map(wire.grpc, self._draw(_MESSAGES)))[self._draw(_FROM) :]
        steps = [_headers(number, fields, self._draw(_SHAPES), ended=self._draw(_RARELY))]
        cuts = sorted(
            {*self._draw(st.lists(st.integers(0, len(content)), max_size=2)), *range(16_384, len(content), 16_000)}
        )
        parts = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
        ending = self._draw(st.sampled_from(["data", "data", "data", "empty", "trailers", "reset", "nothing"]))
        for at, part in enumerate(parts):
            end = ending == "data" and at == len(parts) - 1
            padding = self._draw(st.sampled_from([None, None, None, 0, 7]))
            steps.append(_fixed(wire.data(number, part, end=end, padding=padding)))
        if ending == "empty":
            steps.append(_fixed(wire.data(number, b"", end=True)))
        elif ending == "trailers":
            steps.append(_headers(number, ((b"x-end", b"1"),), 0, ended=True))
        elif ending == "reset":
            steps.append(_fixed(frames.rst_stream(number, ErrorCode.CANCEL)))
        return steps


def _fixed(data: bytes) -> Make:
    return lambda _: data


def _headers(number: int, fields: wire.Fields, shape: int, *, ended: bool) -> Make:
    """shape: in how many frames beyond the first; −1 for padding and priority."""

    def make(requests: wire.Requests) -> bytes:
        block = requests.block(fields)
        end = frames.END_STREAM if ended else 0
        if shape < 0:
            flags = frames.PADDED | frames.WITH_PRIORITY | frames.END_HEADERS | end
            return frames.frame(frames.HEADERS, flags, number, b"\3" + bytes(5) + block + bytes(3))
        step = -(-len(block) // (shape + 1))
        parts = [block[at : at + step] for at in range(0, len(block), step)] + [b""] * (shape > 2)
        made = frames.frame(frames.HEADERS, end | (frames.END_HEADERS if len(parts) == 1 else 0), number, parts[0])
        for part in parts[1:]:
            flags = frames.END_HEADERS if part is parts[-1] else 0
            made += frames.frame(frames.CONTINUATION, flags, number, part)
        return made

    return make


_REQUESTS = wire.Requests()
_FIELDS = st.sampled_from(
    [
        *[_REQUESTS.fields("/t/Echo")] * 6,
        _REQUESTS.fields("/t/Echo", (b"grpc-timeout", b"5S")),
        _REQUESTS.fields("/t/Hold"),
        _REQUESTS.fields("/t/Refuse"),
        _REQUESTS.fields("/t/None"),
        _REQUESTS.fields("/t/Echo", (b"content-length", b"9")),
        _REQUESTS.fields("/t/Echo", (b"x", b"y"), (b":path", b"/")),
        _REQUESTS.fields("/t/Echo")[1:],
        ((b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"127.0.0.1")),
    ]
)
_MESSAGES = st.sampled_from(
    [*[[b"same"]] * 4, [b"four"], [b""], [b"x" * 300], [b"a", b"b"], [b"0" * 20_000], [b"", b"", b""]]
)
_FROM = st.sampled_from([0] * 12 + [1, 3, 99])
_RARELY = st.sampled_from([False] * 9 + [True])
_SHAPES = st.sampled_from([0] * 8 + [-1, 1, 2, 3])
_BETWEEN = st.sampled_from(
    [
        _fixed(wire.ping()),
        _fixed(wire.settings({Setting.INITIAL_WINDOW_SIZE: 9})),
        _fixed(wire.settings({Setting.INITIAL_WINDOW_SIZE: 200_000, Setting.HEADER_TABLE_SIZE: 0})),
        _fixed(frames.window_update(0, 100_000)),
        _fixed(frames.window_update(1, 7)),
        _fixed(frames.frame(frames.PRIORITY, 0, 1, bytes(5))),
        _fixed(frames.frame(0x42, 0xFF, 1, b"whatever")),
    ]
)
_WRONG = st.sampled_from(
    [
        _fixed(wire.data(0, b"x")),
        _fixed(frames.window_update(0, 0)),
        _fixed(frames.frame(frames.CONTINUATION, 4, 1, b"")),
        _fixed(frames.frame(frames.HEADERS, 4, 999, b"\xff\xff\xff\xff\xff")),
        _fixed(frames.frame(frames.HEADERS, 0, 999, b"\x82") + wire.data(1, b"x", end=True)),
        _fixed(frames.HEAD.pack(20_000 << 8, 0, 1)),
    ]
)


@st.composite
def trains(draw: Any) -> bytes:
    train = Train(draw)
    train.fill()
    return train.bytes()


class Forgetful(dict[bytes, Head]):
    """Knows no block."""

    def get(self, key: bytes, default: Any = None) -> Any:
        return default


class Said:
    """What a server says on one connection to a train, and makes of it."""

    def __init__(self, train: bytes, sizes: list[int], *, forgetful: bool = False) -> None:
        served = Served()
        memory = self.memory = InMemory(served, Limits(connection_window_bytes=65_535))
        if forgetful:
            memory.connection.decoder.known = Forgetful()
        at = 0
        for size in itertools.chain(sizes, itertools.repeat(sizes[-1])):
            if at >= len(train):
                break
            memory.send(train[at : at + size])
            at += size
        if memory.connection.fault is None:
            memory.connection.promote_all()
        memory.flush()
        for call, body in served.held:
            call.answer(body)
        memory.flush()
        self.pending = set(memory.connection._heads)  # of a connection that ended before it looked at them
        self.messages = sorted(served.messages)
        self.answers = {
            stream_id: (answer.head, answer.trailers, answer.content, answer.ended, answer.reset)
            for stream_id, answer in memory.reading.answers.items()
        }
        self.goaway = memory.reading.goaway
        self.pongs = len(memory.reading.of(frames.PING))
        self.last_stream = memory.connection.last_stream
        self.streams = set(memory.connection.streams)
        self.kept = memory.unfinished.used, memory.unread.used
        granted = [each.word for each in memory.reading.of(frames.WINDOW_UPDATE) if not each.stream_id]
        self.credit = sum(granted) + memory.connection._credit

    def differs(self, other: Said) -> list[str]:
        """Where the two say something else; streams that one of them had no time to look at do not count."""
        pending = self.pending | other.pending
        return [
            f"{name}: {mine} and {theirs}"
            for name, mine, theirs in (
                ("messages", self.messages, other.messages),
                ("answers", _without(self.answers, pending), _without(other.answers, pending)),
                ("goaway", self.goaway, other.goaway),
                ("pongs", self.pongs, other.pongs),
                ("last stream", self.last_stream, other.last_stream),
                ("streams", self.streams - pending, other.streams - pending),
                ("kept", self.kept, other.kept),
                ("credit", self.credit, other.credit),
            )
            if mine != theirs
        ]


def _without(answers: dict[int, Any], streams: set[int]) -> dict[int, Any]:
    """What is compared: a client that is told early that the rest is not wanted (NO_ERROR) is told no other answer."""
    return {
        stream_id: (*answer, reset or None)
        for stream_id, (*answer, reset) in answers.items()
        if stream_id not in streams
    }


@given(trains(), st.lists(st.integers(1, 3000), min_size=1, max_size=9))
def test_any_cut_into_reads_and_both_ways_of_reading_say_the_same(train: bytes, sizes: list[int]) -> None:
    whole, cut, bytewise = Said(train, [len(train)]), Said(train, sizes), Said(train, [1 if len(train) < 3000 else 97])
    assert cut.memory.sent == whole.memory.sent, "cut into reads it gives other bytes"
    assert bytewise.memory.sent == whole.memory.sent, "byte by byte it gives other bytes"
    general = Said(train, [len(train)], forgetful=True)
    for other in (cut, bytewise, general):
        assert not other.differs(whole)
