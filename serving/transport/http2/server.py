"""The server's end: streams are requests (RFC 9113, section 8)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

from serving.transport.http2 import frames
from serving.transport.http2.connection import Connection
from serving.transport.http2.errors import ConnectionFault, ErrorCode, Http2Fault, StreamFault
from serving.transport.http2.frames import Setting
from serving.transport.http2.hpack import Head, HeaderListTooLarge
from serving.transport.http2.layout import LEAST_RUN, MOST_WHOLE, Bytes, Fixed, Layout, Numbers, Open
from serving.transport.http2.limits import Budget, Limits

_PREFACE_BYTES = len(frames.PREFACE)
_TOO_LONG = (frames.LEAST_MAX_FRAME_BYTES + 1) << 8  # a frame's first word, from where on it is longer than we take
_REST_OF_RUN = LEAST_RUN - 1
_OF_REQUEST = (b":method", b":scheme", b":path")
_OF_CONNECT = (b":method", b":authority")
_MAX_STREAM = frames.MAX_WINDOW  # stream numbers have 31 bits, too


@lru_cache(maxsize=16)
def _requests_alike(block: bytes, size: int) -> Layout:
    """Requests of one head, each with `size` bytes of content in one frame."""
    return Layout((Fixed(frames.HEADERS, frames.END_HEADERS, block), Open(frames.DATA, frames.END_STREAM, size)))


@lru_cache(maxsize=16)
def _heads_alike(block: bytes) -> Layout:
    return Layout((Fixed(frames.HEADERS, frames.END_HEADERS, block),))


@lru_cache(maxsize=16)
def _contents_alike(size: int) -> Layout:
    return Layout((Open(frames.DATA, frames.END_STREAM, size),))


class Receiver(Protocol):
    """What a request means. It puts what it keeps of a stream into `connection.streams` when the stream opens."""

    def whole_request(self, stream_id: int, head: Head, data: bytes, start: int, stop: int) -> None:
        """A request that came in one piece: its content is `data[start:stop]`. The stream is half closed."""
        ...

    def whole_requests(self, stream_ids: Sequence[int], head: Head, contents: Bytes) -> None:
        """The same of several at once: contents uint8 [stream, bytes], a view to be copied if kept."""
        ...

    def request_head(self, stream_id: int, head: Head, *, ended: bool) -> None:
        """A request has begun. ended: and nothing follows."""
        ...

    def is_usual(self, head: Head) -> bool:
        """Whether `head` needs no answer before its content has come."""
        ...

    def head_too_large(self, stream_id: int, *, ended: bool) -> None:
        """A request has begun whose header list passes the limit."""
        ...

    def request_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """More of the content of an open stream."""
        ...

    def stream_gone(self, stream_id: int, stream: Any) -> None:
        """The stream was reset; `stream` is what was kept of it. Nothing may be sent on it."""
        ...

    def sent_whole(self, stream_id: int) -> None:
        """All that was queued of the stream has left."""
        ...


class ServerConnection(Connection):
    """A connection whose peer is a client."""

    def __init__(
        self, receiver: Receiver, limits: Limits, *, unread: Budget | None = None, most_window: int | None = None
    ) -> None:
        super().__init__(limits, unsent=unread, most_window=most_window)
        self._receiver = receiver
        self._preface = frames.PREFACE
        self._heads: dict[int, Head] = {}  # streams of which a known head has come, and nothing else yet
        self._last_refused = 0  # the highest stream that came after our last GOAWAY
        self.greet({Setting.MAX_CONCURRENT_STREAMS: limits.concurrent_streams})

    @property
    def is_http_2(self) -> bool:
        """Whether the preface has come."""
        return not self._preface

    @property
    def awaits_content(self) -> bool:
        """Whether a head has come whose content has not, and that the receiver does not know of yet."""
        return bool(self._heads)

    def end(self, fault: Http2Fault) -> None:
        """See Connection.end. Who sent no preface does not speak HTTP/2, and gets no frame (section 3.4)."""
        super().end(fault)
        if self._preface:
            self.out.clear()

    def close_stream(self, stream_id: int) -> None:
        """Our side has ended the stream. Where the client has not, it is told that the rest is not wanted (8.1)."""
        if stream_id in self._windows:
            self.reset(stream_id, ErrorCode.NO_ERROR)
        else:
            self.forget(stream_id)

    def is_whole(self, stream_id: int) -> bool:
        """Whether the client has ended the stream."""
        return stream_id not in self._windows

    def promote(self, stream_id: int) -> None:
        """Has the receiver know of a stream of which only a head has come: something else than its content follows."""
        head = self._heads.pop(stream_id)
        self._windows[stream_id] = self.limits.stream_window_bytes
        self._receiver.request_head(stream_id, head, ended=False)

    def promote_all(self) -> None:
        """Has the receiver know of every stream that has begun."""
        for stream_id in list(self._heads):
            self.promote(stream_id)

    def forget(self, stream_id: int) -> Any:
        """See Connection.forget."""
        self._heads.pop(stream_id, None)
        return super().forget(stream_id)

    def _take(self, data: bytes) -> None:  # noqa: C901 - the hot path: a call a frame would cost more than the frame
        at = self._skip_preface(data) if self._preface else 0
        if at < 0:
            return
        end = len(data)
        unpack = frames.HEAD.unpack_from
        heads, known, streams = self._heads, self.decoder.known, self.streams
        room = self.limits.concurrent_streams
        whole_request = self._receiver.whole_request
        # The usual request is two frames: HEADERS with a block that is known by its bytes, and all of the content in
        # one DATA frame that ends the stream. Whatever is not exactly that goes the long way, through `_frame`.
        while at + 9 <= end:
            word, flags, stream_id = unpack(data, at)
            stop = at + 9 + (word >> 8)
            if stop > end or word >= _TOO_LONG:
                self._frame(data, at, end)  # raises for one that is too long
                break
            following = at
            if flags == 1 and not word & 0xFF:  # DATA, END_STREAM
                if stream_id in heads and self._block is None:
                    if end - stop >= _REST_OF_RUN * (stop - at) and self._repeats(data, at, stop):
                        following = self._take_contents(data, at, stop, end, heads[stream_id])
                    if following == at:
                        self._credit += stop - at - 9
                        whole_request(stream_id, heads.pop(stream_id), data, at + 9, stop)
                        following = stop
            elif flags == 4 and word & 0xFF == 1:  # HEADERS, END_HEADERS
                head = known.get(data[at + 9 : stop])
                if self._block is None and not self.final and not self._first_settings:
                    if head is not None and end - stop >= _REST_OF_RUN * (stop - at):
                        following = self._take_run(data, at, stop, end, head)
                    if (
                        following == at
                        and self.last_stream < stream_id <= _MAX_STREAM
                        and stream_id & 1
                        and len(streams) + len(heads) < room
                    ):
                        head = head or self._read_head(stream_id, data[at + 9 : stop])
                        self.last_stream = stream_id
                        if head is not None:
                            heads[stream_id] = head
                        following = stop
            if following == at:
                following = self._frame(data, at, end)
            at = following
        self._rest = data[at:] if at < end else b""
        self._give_credit()

    def _read_head(self, stream_id: int, block: bytes) -> Head | None:
        """The head of a new stream, if it is a usual one; else the receiver knows of it already."""
        try:
            head = self.decoder.decode(block)
        except HeaderListTooLarge:
            head = None
            self._spend("large_heads")  # each costs more to read than to send
        if head is not None and self._receiver.is_usual(head):
            return head
        self._open(stream_id, head, ended=False)
        return None

    def _repeats(self, data: bytes, at: int, stop: int) -> bool:
        """Whether what lies at `at` seems to be the first of a run: the same frame head stands where the last would be.

        A guess, and a cheap one: what costs something is looked at where it may be worth that. Asked only where so much
        lies there: a request that is alone pays for none of this.
        """
        return stop - at <= MOST_WHOLE and data.startswith(data[at : at + 5], at + _REST_OF_RUN * (stop - at))

    def _take_run(self, data: bytes, at: int, stop: int, end: int, head: Head) -> int:
        """Takes a run of heads, or of whole requests, that repeat one known block; returns where it ends.

        A client with many calls in flight sends their heads one behind the other (nghttp2), or each before its content.
        """
        word, flags, _ = frames.HEAD.unpack_from(data, stop)
        if word & 0xFF == frames.HEADERS:
            return self._take_heads(data, at, stop, end, head) if self._repeats(data, at, stop) else at
        behind = stop + 9 + (word >> 8)
        if word & 0xFF or flags != frames.END_STREAM or end - behind < _REST_OF_RUN * (behind - at):
            return at
        if not self._repeats(data, at, behind):
            return at
        layout = _requests_alike(data[at + 9 : stop], word >> 8)
        found, contents = layout.run(data, at, end)
        numbers = self._opened(found)
        if not numbers:
            return at
        self._credit += (word >> 8) * len(numbers)
        self._receiver.whole_requests(numbers, head, contents[: len(numbers)])
        return at + layout.whole * len(numbers)

    def _take_heads(self, data: bytes, at: int, stop: int, end: int, head: Head) -> int:
        """Opens the streams of a run of HEADERS frames; returns where it ends."""
        layout = _heads_alike(data[at + 9 : stop])
        numbers = self._opened(layout.run(data, at, end)[0])
        self._heads.update(dict.fromkeys(numbers, head))
        return at + layout.whole * len(numbers)

    def _take_contents(self, data: bytes, at: int, stop: int, end: int, head: Head) -> int:
        """Hands over the requests of a run of DATA frames, each all of a stream's that has `head`; returns its end."""
        heads = self._heads
        size = stop - at - 9
        found, contents = _contents_alike(size).run(data, at, end)
        numbers: list[int] = []
        for number in found.tolist():
            if heads.get(number) is not head:
                break
            del heads[number]
            numbers.append(number)
        if numbers:
            self._credit += size * len(numbers)
            self._receiver.whole_requests(numbers, head, contents[: len(numbers)])
        return at + (stop - at) * len(numbers)

    def _opened(self, found: Numbers) -> list[int]:
        """The streams of `found`, from the first, that may be opened: they count as such."""
        numbers: list[int] = found.tolist()
        room = self.limits.concurrent_streams - len(self.streams) - len(self._heads)
        count = min(len(numbers), max(0, room))
        last = self.last_stream
        for at, number in enumerate(numbers[:count]):
            if not last < number <= _MAX_STREAM or not number & 1:
                count = at
                break
            last = number
        self.last_stream = last
        return numbers[:count]

    def _skip_preface(self, data: bytes) -> int:
        """Where frames begin, or −1 while the preface has not come in whole (section 3.4)."""
        if not frames.PREFACE.startswith(data[:_PREFACE_BYTES]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "expected the preface of HTTP/2, found something else")
        if len(data) < _PREFACE_BYTES:
            self._rest = data
            return -1
        self._preface = b""
        return _PREFACE_BYTES

    def _handle(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id in self._heads:
            self.promote(stream_id)
        super()._handle(kind, flags, stream_id, payload)

    def _is_idle(self, stream_id: int) -> bool:
        return stream_id > max(self.last_stream, self._last_refused) or not stream_id & 1

    def _block_done(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        try:
            head = self.decoder.known.get(block) or self.decoder.decode(block)
        except HeaderListTooLarge:
            head = None
            self._spend("large_heads")  # each costs more to read than to send
        if stream_id in self._windows:
            self._trailers(stream_id, head, ended=ended)
        elif not stream_id & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS: expected an odd stream, found {stream_id}")
        elif self._is_idle(stream_id):
            self._open(stream_id, head, ended=ended)
        elif stream_id in self.streams:
            raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, "HEADERS: expected none after END_STREAM, found more")
        elif stream_id not in self._reset:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS: expected a new stream, found {stream_id} closed")

    def _open(self, stream_id: int, head: Head | None, *, ended: bool) -> None:
        if self.final:  # it came after our GOAWAY: it was not processed, and the client knows (section 6.8)
            self._last_refused = stream_id
            self._refuse(stream_id)
            return
        self.last_stream = stream_id
        if len(self.streams) + len(self._heads) >= self.limits.concurrent_streams:
            self._refuse(stream_id)
            return
        if not ended:
            self._windows[stream_id] = self.limits.stream_window_bytes
        if head is None:
            self._receiver.head_too_large(stream_id, ended=ended)
        else:
            self._receiver.request_head(stream_id, head, ended=ended)

    def _refuse(self, stream_id: int) -> None:
        self.reset(stream_id, ErrorCode.REFUSED_STREAM)
        self._spend("refused_streams")

    def _trailers(self, stream_id: int, head: Head | None, *, ended: bool) -> None:
        if head is None or head.fault or not ended or any(name[:1] == b":" for name, _ in head.fields):
            why = "trailers: expected regular fields and END_STREAM, found something else"
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, why)
        del self._windows[stream_id]
        self._receiver.request_data(stream_id, b"", ended=True)

    def _data_came(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        self._receiver.request_data(stream_id, data, ended=ended)

    def _stream_gone(self, stream_id: int, stream: Any) -> None:
        self._receiver.stream_gone(stream_id, stream)

    def _sent_whole(self, stream_id: int) -> None:
        self._receiver.sent_whole(stream_id)


def request_fault(head: Head) -> str:
    """Why `head` is no request (RFC 9113, sections 8.1.1 to 8.3.1 and 8.5), or "".

    Each of :method, :scheme and :path once, none of them empty, none that is unknown; content-length is a number.
    CONNECT has :authority in place of the other two.
    """
    if head.fault:
        return head.fault
    pseudo = [name for name, _ in head.fields if name[:1] == b":"]
    for name in pseudo:
        if name not in (b":method", b":scheme", b":path", b":authority"):
            return f"expected the pseudo fields of a request, found {name!r}"
    if len(set(pseudo)) < len(pseudo):
        return "expected each pseudo field once, found one twice"
    values = dict(head.fields)
    connects = values.get(b":method") == b"CONNECT"
    for name in _OF_CONNECT if connects else _OF_REQUEST:
        if not values.get(name):
            return f"expected {name.decode()}, found none"
    if connects and len(pseudo) > len(_OF_CONNECT):
        return "CONNECT: expected :authority alone, found :scheme or :path"
    if not connects and values[b":path"][:1] != b"/" and values[b":path"] != b"*":
        return f":path: expected one that begins with /, found {values[b':path'][:32]!r}"
    lengths = {value for name, value in head.fields if name == b"content-length"}
    if len(lengths) > 1 or not all(value.isdigit() and len(value) < 16 for value in lengths):
        return f"content-length: expected one number, found {sorted(lengths)!r}"
    return ""
