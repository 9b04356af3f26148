"""The client's end: what a load generator, or any caller of a scorer, is built on.

    connection.request(block, content, kept)           one request; what is kept of it stands in `connection.streams`
    connection.send_made(frames, count, content_bytes) many, whose frames were made before and only got their numbers

A request is sent when the peer's windows have room for it, so a caller that must not queue asks `has_room` first.
How many streams the peer allows at once is in `most_streams`; holding to it is the caller's part (RFC 9113, 5.1.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serving.transport.http2 import frames
from serving.transport.http2.connection import Connection
from serving.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault
from serving.transport.http2.frames import Setting
from serving.transport.http2.hpack import FIRST_TABLE_BYTES, Head, HeaderListTooLarge
from serving.transport.http2.layout import LEAST_RUN, Bytes, Fixed, Layout, Open
from serving.transport.http2.limits import Limits

_MAX_FRAME = frames.LEAST_MAX_FRAME_BYTES
_ANY_NUMBER = frames.MAX_WINDOW  # of streams, as long as the peer has not said how many (RFC 9113, section 6.5.2)
_LEAST_ANSWER = 3 * frames.HEAD_BYTES + 2  # bytes


class Receiver(Protocol):
    """What an answer means."""

    def whole_answer(self, stream_id: int, head: Head, content: bytes, trailers: Head) -> None:
        """An answer that came in one piece. The stream is over."""
        ...

    def whole_answers(self, stream_ids: Sequence[int], head: Head, contents: Bytes, trailers: Head) -> None:
        """The same of several at once, of one size: contents uint8 [stream, bytes], a view to be copied if kept."""
        ...

    def answer_head(self, stream_id: int, head: Head, *, ended: bool) -> None:
        """The head of an answer, or its trailers when it has one already."""
        ...

    def answer_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """More of an answer's content."""
        ...

    def stream_gone(self, stream_id: int, stream: Any) -> None:
        """The stream was reset."""
        ...


@dataclass(frozen=True, eq=False)
class _Answers:
    """The layout of the answer that came last, and what its blocks mean."""

    block: bytes
    head: Head
    size: int
    end_block: bytes
    trailers: Head
    layout: Layout

    @classmethod
    def like(cls, block: bytes, head: Head, size: int, end_block: bytes, trailers: Head) -> _Answers:
        """Answers of `size` bytes of content between these blocks."""
        flags = frames.END_HEADERS
        layout = Layout(
            (
                Fixed(frames.HEADERS, flags, block),
                Open(frames.DATA, 0, size),
                Fixed(frames.HEADERS, flags | frames.END_STREAM, end_block),
            )
        )
        return cls(block, head, size, end_block, trailers, layout)

    def stands(self, known: dict[bytes, Head]) -> bool:
        """Whether the blocks still mean what they did: a peer's table that moved gives them another meaning."""
        return known.get(self.block) is self.head and known.get(self.end_block) is self.trailers


class ClientConnection(Connection):
    """A connection whose peer is a server.

    most_streams: how many the peer allows at once. peer_table_bytes: how large a table its decoder keeps for us.
    """

    def __init__(self, receiver: Receiver, limits: Limits) -> None:
        super().__init__(limits)
        self.most_streams = _ANY_NUMBER
        self.peer_table_bytes = FIRST_TABLE_BYTES
        self._receiver = receiver
        self._next_stream = 1
        self._most_whole = min(_MAX_FRAME, limits.stream_window_bytes)
        self._answers: _Answers | None = None
        self.out.append(frames.PREFACE)
        self.greet({Setting.ENABLE_PUSH: 0})

    def request(self, block: bytes, content: bytes, kept: Any) -> int:
        """Opens a stream with header block `block` and all of `content`; returns its number. kept: for `streams`."""
        stream_id = self._next_stream
        self._next_stream += 2
        self.streams[stream_id] = kept
        self._windows[stream_id] = self.limits.stream_window_bytes
        size = len(content)
        sending = self.sending
        head = frames.HEAD.pack(len(block) << 8 | frames.HEADERS, frames.END_HEADERS, stream_id)
        if size <= sending.window and size <= sending.first_window and size <= _MAX_FRAME:
            sending.window -= size
            data = frames.HEAD.pack(size << 8, frames.END_STREAM, stream_id)
            self.out += (head, block, data, content)
        else:
            self.out += (head, block)
            self._send_long(stream_id, content)
        return stream_id

    @property
    def next_stream(self) -> int:
        """The number that the next request gets."""
        return self._next_stream

    def has_room(self, content_bytes: int, largest: int) -> bool:
        """Whether requests of `content_bytes` in all, the largest of `largest`, would leave at once."""
        sending = self.sending
        return content_bytes <= sending.window and largest <= sending.first_window

    def send_made(self, made: bytes, count: int, content_bytes: int, kept: Any = None) -> None:
        """Sends `count` whole requests, one after the other in `made`, with stream numbers from `next_stream` on.

        content_bytes: of all their DATA frames, none of which may be larger than the protocol's first frame size.
        kept: what stands in `streams` for each. To be called when `has_room` says so: nothing is queued.
        """
        streams = dict.fromkeys(range(self._next_stream, self._next_stream + 2 * count, 2), kept)
        self._next_stream += 2 * count
        self.streams.update(streams)
        self._windows.update(dict.fromkeys(streams, self.limits.stream_window_bytes))
        self.sending.window -= content_bytes
        self.out.append(made)

    def cancel(self, stream_id: int) -> None:
        """Gives a call up."""
        if stream_id in self.streams:
            self.reset(stream_id, ErrorCode.CANCEL)

    def _send_long(self, stream_id: int, content: bytes) -> None:
        self.sending.queue(stream_id, content)

    def _take(self, data: bytes) -> None:
        at, end = 0, len(data)
        while at < end:
            following = self._run_of_answers(data, at, end) or self._whole_answer(data, at, end)
            if not following:
                following = self._frame(data, at, end) if at + 9 <= end else -1
            if following < 0:
                self._rest = data[at:]
                self._give_credit()
                return
            at = following
        self._rest = b""
        self._give_credit()

    def _run_of_answers(self, data: bytes, at: int, end: int) -> int:
        """Reads as many answers as lie there laid out like the one before them; 0 where that is not worth it."""
        answers = self._answers
        if answers is None or end - at < LEAST_RUN * answers.layout.whole or self._block is not None:
            return 0
        if not answers.stands(self.decoder.known):
            self._answers = None
            return 0
        found, contents = answers.layout.run(data, at, end)
        numbers = found.tolist()
        if not self.streams.keys() >= set(numbers) or len(set(numbers)) < len(numbers):
            count = self._are_open(numbers)
            numbers, contents = numbers[:count], contents[:count]
        if not numbers:
            return 0
        self._credit += answers.size * len(numbers)
        self.answered += len(numbers)
        self._forget_all(numbers)
        self._receiver.whole_answers(numbers, answers.head, contents, answers.trailers)
        return at + answers.layout.whole * len(numbers)

    def _are_open(self, numbers: Sequence[int]) -> int:
        """How many of `numbers`, from the first, are of open streams, each of them once."""
        seen: set[int] = set()
        for count, number in enumerate(numbers):
            if number in seen or number not in self.streams:
                return count
            seen.add(number)
        return len(numbers)

    def _forget_all(self, numbers: Sequence[int]) -> None:
        if self.sending.is_bare:
            for number in numbers:
                del self.streams[number], self._windows[number]
            return
        for number in numbers:
            self.forget(number)

    def _whole_answer(self, data: bytes, at: int, end: int) -> int:
        """Reads HEADERS, DATA and trailers of one stream in one step; 0 where they do not lie there just so."""
        unpack, known = frames.HEAD.unpack_from, self.decoder.known
        if at + _LEAST_ANSWER > end or self._block is not None:
            return 0
        word, flags, stream_id = unpack(data, at)
        start = at + 9 + (word >> 8)
        if word & 0xFF != frames.HEADERS or flags != frames.END_HEADERS or start + 9 > end:
            return 0
        head = known.get(data[at + 9 : start])
        word, flags, data_stream = unpack(data, start)
        stop = start + 9 + (word >> 8)
        if head is None or word & 0xFF or flags or data_stream != stream_id or stop + 9 > end:
            return 0
        size = word >> 8
        word, flags, data_stream = unpack(data, stop)
        over = stop + 9 + (word >> 8)
        if word & 0xFF != frames.HEADERS or flags != frames.END_HEADERS | frames.END_STREAM or over > end:
            return 0
        trailers = known.get(data[stop + 9 : over])
        if trailers is None or data_stream != stream_id or stream_id not in self.streams or size > self._most_whole:
            return 0
        answers = self._answers
        if answers is None or answers.head is not head or answers.size != size or answers.trailers is not trailers:
            self._answers = _Answers.like(data[at + 9 : start], head, size, data[stop + 9 : over], trailers)
        self._credit += size
        self.answered += 1
        self.forget(stream_id)
        self._receiver.whole_answer(stream_id, head, data[start + 9 : stop], trailers)
        return int(over)

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id >= self._next_stream or not stream_id & 1

    def _block_done(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        try:
            head = self.decoder.known.get(block) or self.decoder.decode(block)
        except HeaderListTooLarge as error:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, str(error)) from error
        if stream_id not in self._windows:
            self._late(stream_id, "HEADERS")
            return
        if head.fault:
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, head.fault)
        if ended:
            del self._windows[stream_id]
        self._receiver.answer_head(stream_id, head, ended=ended)
        if ended:
            self.answered += 1
            self.forget(stream_id)

    def _data_came(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        self._receiver.answer_data(stream_id, data, ended=ended)
        if ended:
            self.answered += 1
            self.forget(stream_id)

    def _apply(self, key: int, value: int) -> None:
        if key == Setting.HEADER_TABLE_SIZE:  # blocks are made by the caller, who has to follow it
            self.peer_table_bytes = value
            return
        super()._apply(key, value)
        if key == Setting.MAX_CONCURRENT_STREAMS:
            self.most_streams = value

    def _stream_gone(self, stream_id: int, stream: Any) -> None:
        self._receiver.stream_gone(stream_id, stream)

    def _sent_whole(self, stream_id: int) -> None:
        if stream_id in self.streams:
            self.out.append(frames.frame(frames.DATA, frames.END_STREAM, stream_id))

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        super()._goaway(flags, stream_id, payload)
        last = frames.WORD.unpack_from(payload)[0] & frames.MAX_WINDOW
        for unseen in [each for each in self.streams if each > last]:  # never processed: safe to repeat elsewhere
            self._receiver.stream_gone(unseen, self.forget(unseen))


def lost(connection: ClientConnection) -> ConnectionFault:
    """What the calls of a connection that broke end with."""
    return ConnectionFault(ErrorCode.CONNECT_ERROR, f"expected a connection, found it gone: {connection.fault or ''}")
