"""One call, or many that came in alike, between HTTP/2 streams and a method; what answers look like on the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Protocol

import numpy as np

from serving.errors import ServingError
from serving.runtime.lane import Single
from serving.transport.call import Metadata
from serving.transport.grpc.ending import ANSWER_BLOCK, OK_BLOCK
from serving.transport.grpc.message import PREFIX, PREFIX_BYTES
from serving.transport.http2 import frames
from serving.transport.http2.hpack import Head
from serving.transport.http2.layout import Fixed, Layout, Open
from serving.transport.http2.sending import Sending
from serving.transport.http2.server import ServerConnection

# An answer is HEADERS, DATA and trailers; only the stream's number and the message differ.
_ANSWER_HEAD = frames.frame(frames.HEADERS, frames.END_HEADERS, 0, ANSWER_BLOCK)[:5]
_END_HEAD = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 0, OK_BLOCK)[:5]
_RESERVED = frozenset((b"te", b"content-type", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"))


class Owner(Protocol):
    """The calls of one connection, as one of them sees them.

    streams: those that are open. out: frames that are to leave; marked: that is known already.
    """

    connection: ServerConnection
    streams: dict[int, Any]
    out: list[bytes]
    sending: Sending
    marked: bool

    def mark(self) -> None:
        """Has what is in `out` written, once a turn."""
        ...

    def answer_long(self, call: NativeCall, body: bytes) -> None:
        """Answers a call where the windows, or a frame, do not hold it at once."""
        ...

    def refuse(self, stream_id: int, error: BaseException, *, headed: bool = False) -> None:
        """Ends a call with an error. headed: the head of its answer is out."""
        ...


class NativeCall(Single):
    """A unary call that has come in whole; see serving.transport.call.Call. Lives as long as the call."""

    __slots__ = ("_calls", "_head", "began_ns", "cancelled", "deadline_ns", "stream_id")

    def __init__(self, calls: Owner, stream_id: int, head: Head, began_ns: int, deadline_ns: int) -> None:
        self._calls = calls
        self._head = head
        self.stream_id = stream_id
        self.began_ns = began_ns
        self.deadline_ns = deadline_ns
        self.cancelled = False

    def answer(self, body: bytes) -> None:
        """See Caller.answer."""
        if self.cancelled:
            return
        calls = self._calls
        layout = _LAYOUTS.get(len(body)) or _layout(len(body))
        sending = calls.sending
        size = layout.size
        if size > sending.window or size > sending.small:
            calls.answer_long(self, body)
            return
        sending.window -= size
        self.cancelled = True  # it is over: nothing is answered twice
        stream_id = self.stream_id
        del calls.streams[stream_id]
        if sending.used:
            sending.forget(stream_id)
        calls.connection.answered += 1
        calls.out.append(
            layout.pack(
                _ANSWER_HEAD, stream_id, layout.middle, stream_id, layout.prefix, body, _END_HEAD, stream_id, OK_BLOCK
            )
        )
        if not calls.marked:
            calls.mark()

    def refuse(self, error: ServingError) -> None:
        """See Caller.refuse."""
        self._calls.refuse(self.stream_id, error)

    def metadata(self) -> Metadata:
        """See Call.metadata."""
        return tuple(
            (name.decode("ascii"), (value.rstrip(b"=") if name.endswith(b"-bin") else value).decode("latin-1"))
            for name, value in self._head.fields
            if name[:1] != b":" and name not in _RESERVED
        )


class CallGroup:
    """Unary calls that came in together, with one head, as one Caller. Lives as long as they."""

    __slots__ = ("_calls", "_head", "began_ns", "cancelled", "count", "deadline_ns", "stream_ids")

    def __init__(self, calls: Owner, stream_ids: Sequence[int], head: Head, began_ns: int, deadline_ns: int) -> None:
        self._calls = calls
        self.stream_ids = stream_ids
        self._head = head
        self.count = len(stream_ids)
        self.began_ns = began_ns
        self.deadline_ns = deadline_ns
        self.cancelled = False

    def answer_each(self, head: bytes, contents: bytes, tail: bytes) -> None:
        """See Caller.answer_each."""
        calls, sending, count = self._calls, self._calls.sending, self.count
        own = len(contents) // count
        size = len(head) + own + len(tail) + PREFIX_BYTES
        if self.cancelled or sending.used or size > sending.small or size * count > sending.window:
            for place, call in enumerate(self.spread()):
                call.answer(head + contents[place * own : (place + 1) * own] + tail)
            return
        sending.window -= size * count
        self.cancelled = True  # they are over: nothing is answered twice
        streams = calls.streams
        for stream_id in self.stream_ids:
            del streams[stream_id]
        calls.connection.answered += count
        numbers = np.array(self.stream_ids, ">u4").view(np.uint8).reshape(count, 4)
        calls.out.append(
            _answers(head, own, tail).written(numbers, np.frombuffer(contents, np.uint8).reshape(count, own))
        )
        calls.mark()

    def answer(self, body: bytes) -> None:
        """See Caller.answer."""
        for call in self.spread():
            call.answer(body)

    def refuse(self, error: ServingError) -> None:
        """See Caller.refuse."""
        for call in self.spread():
            call.refuse(error)

    def spread(self) -> tuple[NativeCall, ...]:
        """See Caller.spread. Each is on its own from then on."""
        calls, told = self._calls, (self._head, self.began_ns, self.deadline_ns)
        each = tuple(NativeCall(calls, stream_id, *told) for stream_id in self.stream_ids)
        for call in each:
            if calls.streams.get(call.stream_id) is self:
                calls.streams[call.stream_id] = call
            else:
                call.cancelled = True
        self.cancelled = True
        return each


class StreamingCall(NativeCall):
    """A call of a streaming method. headed: the head of its answer is out. wake: it may go on, or it is over."""

    __slots__ = ("headed", "wake")

    def __init__(self, calls: Owner, stream_id: int, head: Head, began_ns: int, deadline_ns: int) -> None:
        super().__init__(calls, stream_id, head, began_ns, deadline_ns)
        self.headed = False
        self.wake: Callable[[], None] | None = None

    def refuse(self, error: BaseException) -> None:
        """See Caller.refuse."""
        self._calls.refuse(self.stream_id, error, headed=self.headed)


class _Layout:
    """An answer's bytes that depend on its message's size alone, and what puts them together.

    size: of the content. middle: the head's block, and the size, type and flags of the DATA frame. prefix: the
    message's.
    """

    __slots__ = ("middle", "pack", "prefix", "size")

    def __init__(self, pack: Callable[..., bytes], size: int, middle: bytes, prefix: bytes) -> None:
        self.pack = pack
        self.size = size
        self.middle = middle
        self.prefix = prefix


_LAYOUTS: dict[int, _Layout] = {}  # bytes of a message → layout: at most one for each size that fits a frame
_NO_LAYOUT = _Layout(Struct("").pack, frames.LEAST_MAX_FRAME_BYTES + 1, b"", b"")


def _layout(message_bytes: int) -> _Layout:
    size = message_bytes + PREFIX_BYTES
    if size > frames.LEAST_MAX_FRAME_BYTES:
        return _NO_LAYOUT
    middle = ANSWER_BLOCK + frames.frame(frames.DATA, 0, 0, bytes(size))[:5]
    layout = Struct(f">5sI{len(middle)}sI5s{message_bytes}s5sI{len(OK_BLOCK)}s")
    _LAYOUTS[message_bytes] = _Layout(layout.pack, size, middle, PREFIX.pack(0, message_bytes))
    return _LAYOUTS[message_bytes]


@lru_cache(maxsize=64)
def _answers(head: bytes, own: int, tail: bytes) -> Layout:
    """Answers whose messages are `head`, `own` bytes of their own, `tail`."""
    message = len(head) + own + len(tail)
    ends = Fixed(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, OK_BLOCK)
    begins = Fixed(frames.HEADERS, frames.END_HEADERS, ANSWER_BLOCK)
    content = Open(frames.DATA, 0, PREFIX_BYTES + message, PREFIX.pack(0, message) + head, tail)
    return Layout((begins, content, ends))
