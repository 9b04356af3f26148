"""The client's end: what a load generator, or any caller of a scorer, is built on."""

from __future__ import annotations

from typing import Any, Protocol

from serving.transport.http2 import frames
from serving.transport.http2.connection import Connection
from serving.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault
from serving.transport.http2.frames import Setting
from serving.transport.http2.hpack import Head, HeaderListTooLarge
from serving.transport.http2.limits import Limits

_MAX_FRAME = frames.LEAST_MAX_FRAME_BYTES


class Receiver(Protocol):
    """What an answer means."""

    def whole_answer(self, stream_id: int, head: Head, content: bytes, trailers: Head) -> None:
        """An answer that came in one piece. The stream is over."""
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


class ClientConnection(Connection):
    """A connection whose peer is a server."""

    def __init__(self, receiver: Receiver, limits: Limits) -> None:
        super().__init__(limits)
        self._receiver = receiver
        self._next_stream = 1
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

    def cancel(self, stream_id: int) -> None:
        """Gives a call up."""
        if stream_id in self.streams:
            self.reset(stream_id, ErrorCode.CANCEL)

    def _send_long(self, stream_id: int, content: bytes) -> None:
        self.sending.queue(stream_id, content)

    def _take(self, data: bytes) -> None:
        at, end = 0, len(data)
        while at < end:
            following = self._whole_answer(data, at, end)
            if not following:
                following = self._frame(data, at, end) if at + 9 <= end else -1
            if following < 0:
                self._rest = data[at:]
                self._give_credit()
                return
            at = following
        self._rest = b""
        self._give_credit()

    def _whole_answer(self, data: bytes, at: int, end: int) -> int:
        """Reads HEADERS, DATA and trailers of one stream in one step; 0 where they do not lie there just so."""
        unpack, known = frames.HEAD.unpack_from, self.decoder.known
        if at + 9 > end or self._block is not None:
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
        if trailers is None or data_stream != stream_id or stream_id not in self.streams or size > _MAX_FRAME:
            return 0
        self._credit += size
        self.forget(stream_id)
        self._receiver.whole_answer(stream_id, head, data[start + 9 : stop], trailers)
        return over

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
            self.forget(stream_id)

    def _data_came(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        self._receiver.answer_data(stream_id, data, ended=ended)
        if ended:
            self.forget(stream_id)

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
