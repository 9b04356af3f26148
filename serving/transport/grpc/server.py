"""The calls of one connection: from HTTP/2 requests to messages for a method, and back (no socket here).

http2 → Calls.whole_request → method.answer(call, message) → call.answer(reply) → connection.out
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from serving.errors import DeadlinePassed, MessageTooLarge, Overloaded, ServingError
from serving.runtime.engine import NO_DEADLINE_NS
from serving.transport.grpc.call import CallGroup, NativeCall, StreamingCall
from serving.transport.grpc.ending import ANSWER_BLOCK, OK_BLOCK, error_block, http_block
from serving.transport.grpc.message import PREFIX, PREFIX_BYTES, check_prefix, only_message
from serving.transport.grpc.opening import NO_LENGTH, Asked, HttpAnswer, Opening, Openings
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode, StreamFault
from serving.transport.http2.hpack import Head
from serving.transport.http2.layout import Bytes
from serving.transport.http2.limits import Budget, Limits
from serving.transport.http2.server import ServerConnection
from serving.transport.methods import Methods, Streaming, Unary

LOG = logging.getLogger("signalbox.calls")

_STREAM_BYTES = 512  # what a stream costs beside its head and content, about
_MOST_IGNORED_BYTES = 65_536  # of a request that is no gRPC
_UNREAD = Asked(Opening(), 0)  # the meaning of a head that was not looked at yet
_FIELD_BYTES = 128  # what a field costs beside its bytes, about


class Unfinished:
    """The requests that have not come in whole, of all connections of a server, held to a limit of bytes together.

    Where the limit is passed the oldest of them is refused: an honest request is whole within moments, and what has
    been kept waiting for long is what somebody hoards.
    """

    def __init__(self, limit: int) -> None:
        self.used = 0
        self._limit = limit
        self._kept: dict[_Incoming, tuple[Calls, int]] = {}  # those that hold something → whose, stream; oldest first

    def keep(self, calls: Calls, stream_id: int, incoming: _Incoming) -> None:
        """Counts what `incoming` holds by now. It may be refused by that, as may any other."""
        self._kept.setdefault(incoming, (calls, stream_id))
        holds = incoming.holds
        self.used += holds - incoming.counted
        incoming.counted = holds
        while self.used > self._limit:
            oldest, (calls, stream_id) = next(iter(self._kept.items()))
            self.give(oldest)
            calls.refuse(stream_id, Overloaded("too many unfinished requests wait here; back off and repeat"))

    def give(self, incoming: _Incoming) -> None:
        """`incoming` is unfinished no more."""
        if incoming.counted:
            self.used -= incoming.counted
            incoming.counted = 0
            del self._kept[incoming]


class _Incoming:
    """A request that has not come in whole. Lives from its head to its end. counted: bytes, by Unfinished."""

    __slots__ = ("_head_bytes", "began_ns", "content", "counted", "head", "opening", "timeout_ns")

    def __init__(self, head: Head, asked: Asked, began_ns: int) -> None:
        self.head = head
        self.opening, self.timeout_ns = asked
        self.began_ns = began_ns
        self.content = bytearray()
        self.counted = 0
        self._head_bytes = 0

    @property
    def holds(self) -> int:
        """Bytes of memory, about."""
        if not self._head_bytes:
            self._head_bytes = sum(_FIELD_BYTES + len(name) + len(value) for name, value in self.head.fields)
        return _STREAM_BYTES + self._head_bytes + len(self.content)

    def add(self, data: bytes, max_bytes: int) -> None:
        """More of its content. MessageTooLarge or MalformedRequest as soon as it can be told."""
        content = self.content
        unread = len(content) < PREFIX_BYTES
        content += data
        if len(content) > max_bytes + PREFIX_BYTES:
            raise MessageTooLarge(f"request: expected at most {max_bytes} bytes, found more; ask in parts")
        if unread and len(content) >= PREFIX_BYTES:
            check_prefix(bytes(content[:PREFIX_BYTES]), max_bytes)


class Calls:
    """The calls of one connection: its Receiver. Lives as long as the connection.

    changed: called when something is to be written. start: runs a streaming method. now_ns of the connection is the
    moment at which a call came in.
    """

    def __init__(
        self,
        methods: Methods,
        limits: Limits,
        unfinished: Unfinished,
        unread: Budget,
        *,
        most_window: int | None = None,
        changed: Callable[[Calls], None],
        start: Callable[[StreamingCall, Streaming, bytes], None],
    ) -> None:
        self.connection = connection = ServerConnection(self, limits, unread=unread, most_window=most_window)
        self.marked = False
        self.streams, self.out, self.sending = connection.streams, connection.out, connection.sending
        self._openings = Openings(methods)
        self._limits = limits
        self._unfinished = unfinished
        self._changed = changed
        self._start = start

    def mark(self) -> None:
        """Has what is in `connection.out` written, once a turn."""
        if not self.marked:
            self.marked = True
            self._changed(self)

    def whole_request(self, stream_id: int, head: Head, data: bytes, start: int, stop: int) -> None:
        """See http2.server.Receiver: the hot path."""
        opening, timeout_ns = head.meaning or _UNREAD
        if stop - start == opening.usual_bytes and data.startswith(opening.usual_prefix, start):
            began_ns = self.connection.now_ns
            call = NativeCall(self, stream_id, head, began_ns, began_ns + timeout_ns if timeout_ns else NO_DEADLINE_NS)
            self.streams[stream_id] = call
            try:
                opening.answer(call, data[start + 5 : stop])
            except Exception as error:  # noqa: BLE001 - a defect of ours ends its own call, not the connection
                self._failed(stream_id, error)
            return
        self.request_head(stream_id, head, ended=False)
        self.request_data(stream_id, data[start:stop], ended=True)

    def whole_requests(self, stream_ids: Sequence[int], head: Head, contents: Bytes) -> None:
        """See http2.server.Receiver: the hot path of a peer that asks much at once."""
        opening, timeout_ns = head.meaning or _UNREAD
        count, size = contents.shape
        prefixes = opening.usual_prefix * count
        if size == opening.usual_bytes and contents[:, :PREFIX_BYTES].tobytes() == prefixes:
            began_ns = self.connection.now_ns
            deadline_ns = began_ns + timeout_ns if timeout_ns else NO_DEADLINE_NS
            group = CallGroup(self, stream_ids, head, began_ns, deadline_ns)
            if self._are_taken(group, opening, contents[:, PREFIX_BYTES:]):
                return
        data = contents.tobytes()
        for place, stream_id in enumerate(stream_ids):
            self.whole_request(stream_id, head, data, place * size, (place + 1) * size)

    def is_usual(self, head: Head) -> bool:
        """See http2.server.Receiver."""
        asked: Asked = head.meaning or self._openings.of(head)
        head.meaning = asked
        return asked.opening.is_usual

    def _are_taken(self, group: CallGroup, opening: Opening, messages: Bytes) -> bool:
        """Hands the calls over together; False where the method would rather have them one by one."""
        streams = self.streams
        streams.update(dict.fromkeys(group.stream_ids, group))
        try:
            if opening.answer_all(group, messages):
                return True
        except Exception as error:  # noqa: BLE001 - as above
            for stream_id in group.stream_ids:
                self._failed(stream_id, error)
            return True
        for stream_id in group.stream_ids:
            del streams[stream_id]
        return False

    def request_head(self, stream_id: int, head: Head, *, ended: bool) -> None:
        """See http2.server.Receiver."""
        asked: Asked = head.meaning or self._openings.of(head)
        head.meaning = asked
        opening = asked.opening
        incoming = self.connection.streams[stream_id] = _Incoming(head, asked, self.connection.now_ns)
        if opening.fault:
            self._malformed(stream_id, opening.fault)
        elif opening.http is not None:
            self._ignore(stream_id, incoming, b"", opening.http, ended=ended)
        elif opening.refusal is not None:
            self.refuse(stream_id, opening.refusal)
        elif ended:
            self._begin(stream_id, incoming, b"")

    def head_too_large(self, stream_id: int, *, ended: bool) -> None:
        """See http2.server.Receiver."""
        self.connection.streams[stream_id] = None
        words = f"header list: expected at most {self._limits.header_list_bytes} bytes, found more; send less metadata"
        self.refuse(stream_id, MessageTooLarge(words))

    def request_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """See http2.server.Receiver."""
        incoming = self.connection.streams.get(stream_id)
        if not isinstance(incoming, _Incoming):
            return  # it was refused already; the rest of it is not wanted
        if incoming.opening.http is not None:
            self._ignore(stream_id, incoming, data, incoming.opening.http, ended=ended)
            return
        if ended and not incoming.content:
            self._begin(stream_id, incoming, data)
            return
        length = incoming.opening.content_length
        if NO_LENGTH != length < len(incoming.content) + len(data):
            self._malformed(stream_id, f"content-length: expected {length} bytes of content, found more")
            return
        try:
            incoming.add(data, self._limits.message_bytes)
        except ServingError as error:
            self.refuse(stream_id, error)
            return
        if ended:
            self._begin(stream_id, incoming, bytes(incoming.content))
        else:
            self._unfinished.keep(self, stream_id, incoming)

    def stream_gone(self, stream_id: int, stream: Any) -> None:
        """See http2.server.Receiver."""
        if isinstance(stream, _Incoming):
            self._unfinished.give(stream)
        elif isinstance(stream, CallGroup):
            stream.cancelled = True  # in part
        elif isinstance(stream, NativeCall):
            stream.cancelled = True
            if isinstance(stream, StreamingCall) and stream.wake is not None:
                stream.wake()

    def sent_whole(self, stream_id: int) -> None:
        """See http2.server.Receiver."""
        call = self.connection.streams.get(stream_id)
        if isinstance(call, StreamingCall) and call.wake is not None:
            call.wake()
            return
        self.connection.close_stream(stream_id)

    def answer_long(self, call: NativeCall, body: bytes) -> None:
        """The answer of a unary call that the windows, or a frame, do not hold at once."""
        try:
            self._check_unsent(len(body))
        except Overloaded as error:
            call.refuse(error)
            return
        self.connection.answered += 1
        self._write_block(call.stream_id, ANSWER_BLOCK, ended=False)
        self.sending.queue(call.stream_id, PREFIX.pack(0, len(body)) + body, OK_BLOCK)

    def send(self, call: StreamingCall, body: bytes) -> None:
        """One message of a streaming answer. Overloaded when the peer leaves too much unread for one more."""
        if not call.cancelled:
            self._check_unsent(len(body))
            self._open_answer(call)
            self.sending.queue(call.stream_id, PREFIX.pack(0, len(body)) + body)
            self.mark()

    def finish(self, call: StreamingCall) -> None:
        """Ends a streaming call well."""
        if not call.cancelled:
            self._open_answer(call)
            call.wake = None
            self.connection.answered += 1
            self.sending.queue(call.stream_id, b"", OK_BLOCK)
            self.mark()

    def _check_unsent(self, size: int) -> None:
        """Overloaded when replies wait already, and `size` bytes more would pass the limit. One alone may be larger."""
        unsent, limit = self.sending.unsent, self._limits.unsent_bytes
        if unsent and unsent + size > limit:
            raise Overloaded(f"expected at most {limit} bytes of replies unread, found more; read what was asked for")

    def _open_answer(self, call: StreamingCall) -> None:
        if not call.headed:
            call.headed = True
            self._write_block(call.stream_id, ANSWER_BLOCK, ended=False)

    def refuse(self, stream_id: int, error: BaseException, *, headed: bool = False) -> None:
        """Ends a call with an error."""
        connection = self.connection
        if stream_id not in connection.streams:
            return
        stream = connection.streams[stream_id]
        if isinstance(stream, _Incoming):
            self._unfinished.give(stream)
        elif isinstance(stream, NativeCall | CallGroup):
            stream.cancelled = True
        connection.sending.forget(stream_id)
        connection.answered += 1
        self._write_block(stream_id, error_block(error, answered=headed), ended=True)
        connection.close_stream(stream_id)

    def expire(self, now_ns: int) -> None:
        """Ends the requests that have not come in whole in time, and counts the others as unfinished.

        ConnectionFault as from `Connection.receive`'s frames: what had waited may prove malformed.
        """
        self.connection.promote_all()
        limit_ns = int(self._limits.request_seconds * 1e9)
        incoming = [(stream_id, each) for stream_id, each in self.streams.items() if isinstance(each, _Incoming)]
        for stream_id, each in incoming:
            if self.streams.get(stream_id) is not each:
                continue  # refused meanwhile: it was the oldest of too many
            if now_ns - each.began_ns > limit_ns and each.opening.http is not None:
                self._unfinished.give(each)
                self._answer_http(stream_id, each.opening.http)
            elif now_ns - each.began_ns > limit_ns:
                seconds = self._limits.request_seconds
                words = f"request: expected all of it within {seconds} s, found a part; send it faster"
                self.refuse(stream_id, DeadlinePassed(words))
            else:
                self._unfinished.keep(self, stream_id, each)

    def close(self) -> None:
        """The connection is gone: every call on it is cancelled."""
        for stream_id in list(self.connection.streams):
            self.stream_gone(stream_id, self.connection.forget(stream_id))

    def _begin(self, stream_id: int, incoming: _Incoming, content: bytes) -> None:
        """A request has come in whole."""
        opening = incoming.opening
        if opening.content_length not in (NO_LENGTH, len(content)):
            words = f"content-length: expected {opening.content_length} bytes of content, found {len(content)}"
            self._malformed(stream_id, words)
            return
        self._unfinished.give(incoming)
        try:
            message = only_message(content, gzip=opening.gzip, max_bytes=self._limits.message_bytes)
        except ServingError as error:
            self.refuse(stream_id, error)
            return
        if not opening.gzip:
            opening.expect_again(content)
        try:
            self._run(stream_id, incoming, message)
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(stream_id, error)

    def _run(self, stream_id: int, incoming: _Incoming, message: bytes) -> None:
        opening = incoming.opening
        began_ns = incoming.began_ns
        deadline_ns = began_ns + incoming.timeout_ns if incoming.timeout_ns else NO_DEADLINE_NS
        told = (self, stream_id, incoming.head, began_ns, deadline_ns)
        if isinstance(opening.method, Unary):
            call = self.connection.streams[stream_id] = NativeCall(*told)
            opening.method.answer(call, message)
        elif isinstance(opening.method, Streaming):
            stream = self.connection.streams[stream_id] = StreamingCall(*told)
            self._start(stream, opening.method, message)

    def _failed(self, stream_id: int, error: Exception) -> None:
        if not isinstance(error, ServingError):
            LOG.error("a call failed: %s", error, exc_info=error)
        self.refuse(stream_id, error)

    def _malformed(self, stream_id: int, why: str) -> None:
        self.connection.stream_fault(StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, why))

    def _ignore(self, stream_id: int, incoming: _Incoming, data: bytes, answer: HttpAnswer, *, ended: bool) -> None:
        """Content of what is no gRPC: answered once it has come, unless there is much of it.

        An answer before that is allowed (RFC 9113, section 8.1), but curl, for one, drops it with what it still sends.
        """
        incoming.content += data
        if ended or len(incoming.content) > _MOST_IGNORED_BYTES:
            self._unfinished.give(incoming)
            self._answer_http(stream_id, answer)
        else:
            self._unfinished.keep(self, stream_id, incoming)

    def _answer_http(self, stream_id: int, answer: HttpAnswer) -> None:
        """The text goes along where the windows have room for it: nothing waits for a peer that speaks no gRPC."""
        sending = self.sending
        text = answer.text.encode()
        if answer.bare or len(text) > min(sending.window, sending.small):
            self._write_block(stream_id, http_block(answer, length=len(text) if answer.bare else 0), ended=True)
        else:
            self._write_block(stream_id, http_block(answer, length=len(text)), ended=False)
            sending.window -= len(text)
            self.out.append(frames.frame(frames.DATA, frames.END_STREAM, stream_id, text))
        self.connection.close_stream(stream_id)

    def _write_block(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        self.sending.block(stream_id, block, ended=ended)
        self.mark()
