"""One end of an HTTP/2 connection without its socket: frames, settings, flow control, ends (RFC 9113).

    connection.receive(data)      what the socket brought; calls the receiver for what it means
    connection.out                frames that are to leave, in order: join, write, clear
    connection.fault              set once the peer broke the protocol: write what is in `out`, then close

`ServerConnection` and `ClientConnection` say what a header block and data mean on their side, and each reads the
frames of its usual exchange in one step; everything else comes through `_frame` here. Nothing in this package opens a
socket, reads a clock or waits: the glue sets `now_ns` before it calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from serving.transport.http2 import frames
from serving.transport.http2.errors import ConnectionFault, ErrorCode, Http2Fault, StreamFault
from serving.transport.http2.frames import Setting
from serving.transport.http2.hpack import FIRST_TABLE_BYTES, Decoder, HpackError
from serving.transport.http2.limits import Budget, Guard, Limits
from serving.transport.http2.sending import Sending

_REMEMBERED = 1024  # streams that were reset lately, whose late frames are to be ignored
_FINAL_PING = b"\0goaway\0"
_MOST_SETTINGS_BYTES = 32 * 6  # each may move the windows of all streams; nghttp2 takes no more either


class Connection:
    """What both ends have in common. Lives as long as the socket.

    streams: open streams; what the receiver keeps of each. last_stream: the highest that the peer opened. answered: how
    many calls this connection has answered: what earns a peer its rates. now_ns: monotonic, set by the glue.
    """

    def __init__(self, limits: Limits, *, unsent: Budget | None = None, most_window: int | None = None) -> None:
        self.out: list[bytes] = []
        self.streams: dict[int, Any] = {}
        self.fault: Http2Fault | None = None
        self.last_stream = 0
        self.answered = 0
        self.now_ns = 0
        self.greeted = False  # the peer's SETTINGS have come
        self.peer_goes = False  # the peer has sent GOAWAY
        self.progress = 0  # frames that came in whole one by one, outside header blocks that go on
        self.final = False  # our last GOAWAY is out: no stream beyond `last_stream` is served
        self.limits = limits
        self.guard = Guard(limits)
        self.decoder = Decoder(max_list_bytes=limits.header_list_bytes)
        self.sending = Sending(self.out, self._sent_whole, budget=unsent, most_window=most_window)
        self._rest = b""
        self._block: _Block | None = None
        self._windows: dict[int, int] = {}  # streams whose peer has not ended them → what it may still send
        self._reset: dict[int, None] = {}
        self._first_settings = True
        self._credit = 0  # bytes taken since the last WINDOW_UPDATE of the connection
        self._handlers: tuple[Callable[[int, int, bytes], None], ...] = (
            self._data,
            self._headers,
            self._priority,
            self._rst_stream,
            self._settings,
            self._push_promise,
            self._ping,
            self._goaway,
            self._window_update,
            self._continuation,
        )

    def greet(self, more: dict[Setting, int]) -> None:
        """Our SETTINGS, and the connection's window opened once for good."""
        limits = self.limits
        self.out.append(
            frames.settings(
                {
                    Setting.INITIAL_WINDOW_SIZE: limits.stream_window_bytes,
                    Setting.MAX_HEADER_LIST_SIZE: limits.header_list_bytes,
                    **more,
                }
            )
        )
        if limits.connection_window_bytes > frames.FIRST_WINDOW:
            self.out.append(frames.window_update(0, limits.connection_window_bytes - frames.FIRST_WINDOW))

    def receive(self, data: bytes) -> None:
        """Takes what the socket brought, in pieces of any size. A fault of the peer ends in `fault`, never raises."""
        if self.fault is not None:
            return
        try:
            self._take(self._rest + data if self._rest else data)
        except ConnectionFault as fault:
            self.end(fault)
        except HpackError as error:
            self.end(ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"header block: {error}"))

    def end(self, fault: Http2Fault) -> None:
        """Gives the connection up: GOAWAY, and nothing more is taken in."""
        self.fault = fault
        self._rest = b""
        self.out.append(frames.goaway(self.last_stream, fault.code, str(fault)))

    def announce_end(self) -> None:
        """The first half of a graceful end: no new streams please; those on their way are still served."""
        self.out.append(frames.goaway(frames.MAX_WINDOW, ErrorCode.NO_ERROR))
        self.out.append(frames.frame(frames.PING, 0, 0, _FINAL_PING))

    def finish_end(self) -> None:
        """The second half, once the peer has seen the first: streams beyond the last one are refused from now on."""
        if not self.final:
            self.final = True
            self.out.append(frames.goaway(self.last_stream, ErrorCode.NO_ERROR))

    def reset(self, stream_id: int, code: ErrorCode) -> None:
        """Ends a stream from our side at once; what the peer still sends on it is ignored."""
        self.forget(stream_id)
        self._reset[stream_id] = None
        if len(self._reset) > _REMEMBERED:
            del self._reset[next(iter(self._reset))]
        self.out.append(frames.rst_stream(stream_id, code))

    def forget(self, stream_id: int) -> Any:
        """Closes a stream on our books; returns what the receiver kept of it, or None."""
        self._windows.pop(stream_id, None)
        self.sending.forget(stream_id)
        return self.streams.pop(stream_id, None)

    @property
    def progress_made(self) -> tuple[int, int, int]:
        """Changes with every frame that has come in whole."""
        return self.progress, self.last_stream, self.answered

    @property
    def mid_frame(self) -> bool:
        """Whether a frame or a header block has begun and not ended."""
        return bool(self._rest) or self._block is not None

    def _take(self, data: bytes) -> None:
        raise NotImplementedError

    def _block_done(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """A whole header block of `stream_id`."""
        raise NotImplementedError

    def _data_came(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """Content of an open stream."""
        raise NotImplementedError

    def _stream_gone(self, stream_id: int, stream: Any) -> None:
        """The stream was reset, by the peer or for its fault."""
        raise NotImplementedError

    def _sent_whole(self, stream_id: int) -> None:
        """All that was queued of `stream_id` has left."""
        raise NotImplementedError

    def _frame(self, data: bytes, at: int, end: int) -> int:
        """Reads the one frame at `at`; returns where the next begins, or −1 when it has not come in whole."""
        word, flags, stream_id = frames.HEAD.unpack_from(data, at)
        size: int = word >> 8
        if size > frames.LEAST_MAX_FRAME_BYTES:
            raise ConnectionFault(
                ErrorCode.FRAME_SIZE_ERROR,
                f"frame: expected at most {frames.LEAST_MAX_FRAME_BYTES} bytes, found {size}",
            )
        start = at + frames.HEAD_BYTES
        if start + size > end:
            return -1
        try:
            self._handle(word & 0xFF, flags, stream_id & frames.MAX_WINDOW, data[start : start + size])
        except StreamFault as fault:
            self.stream_fault(fault)
        if self._block is None:
            self.progress += 1
        return start + size

    def stream_fault(self, fault: StreamFault) -> None:
        """Resets the stream at fault; a peer that keeps on being at fault passes the rate of resets.

        A stream that is idle cannot be reset (section 6.4): its fault is the connection's.
        """
        if self._is_idle(fault.stream_id):
            raise ConnectionFault(fault.code, str(fault))
        was_open = fault.stream_id in self.streams
        stream = self.streams.get(fault.stream_id)
        self.reset(fault.stream_id, fault.code)
        if was_open:
            self._stream_gone(fault.stream_id, stream)
        self._spend("resets")

    def _handle(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is not None and (kind != frames.CONTINUATION or stream_id != self._block.stream_id):
            raise _protocol(f"expected CONTINUATION of stream {self._block.stream_id}, found frame type {kind}")
        if self._first_settings:
            if kind != frames.SETTINGS or flags & frames.ACK:
                raise _protocol(f"expected SETTINGS as the first frame, found frame type {kind}")
            self._first_settings = False
        if kind < len(self._handlers):
            self._handlers[kind](flags, stream_id, payload)
        else:
            self._spend("empty_frames")  # unknown types are ignored (section 4.1)

    def _spend(self, name: str) -> None:
        """Takes one from a rate of the limits: ConnectionFault when nothing is left.

        Answers earn the peer more, where no window of its own had cut them short: else it could have them dribble out
        for ever (CVE-2019-9511).
        """
        self.guard.spend(name, self.now_ns, self.answered + self.sending.whole_frames)

    def _data(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise _protocol("DATA: expected a stream, found stream 0")
        size = len(payload)
        self._credit += size
        self._give_credit()
        content = _unpadded(payload) if flags & frames.PADDED else payload
        left = self._windows.get(stream_id)
        if left is None:
            self._late(stream_id, "DATA")
            return
        ended = bool(flags & frames.END_STREAM)
        if not content and not ended:
            self._spend("empty_frames")
        self._shrink_window(stream_id, left - size, ended=ended)
        self._data_came(stream_id, content, ended=ended)

    def _shrink_window(self, stream_id: int, left: int, *, ended: bool) -> None:
        if left < 0:
            raise StreamFault(stream_id, ErrorCode.FLOW_CONTROL_ERROR, "DATA: expected no more than the window allows")
        if ended:
            del self._windows[stream_id]
            return
        whole = self.limits.stream_window_bytes
        if 2 * left < whole:
            self.out.append(frames.window_update(stream_id, whole - left))
            left = whole
        self._windows[stream_id] = left

    def _give_credit(self) -> None:
        """Opens the connection's window again, half of it at a time. ConnectionFault for a peer that overran it."""
        whole = max(self.limits.connection_window_bytes, frames.FIRST_WINDOW)
        if self._credit > whole:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA: expected no more than the connection's window")
        if 2 * self._credit > whole:
            self.out.append(frames.window_update(0, self._credit))
            self._credit = 0

    def _late(self, stream_id: int, kind: str) -> None:
        """A frame on a stream that is not open: ignored where we reset it, else a fault (section 5.1)."""
        if self._is_idle(stream_id):
            raise _protocol(f"{kind}: expected an open stream, found stream {stream_id}, which never was")
        if stream_id in self._reset:
            return
        raise StreamFault(stream_id, ErrorCode.STREAM_CLOSED, f"{kind}: expected an open stream, found a closed one")

    def _is_idle(self, stream_id: int) -> bool:
        raise NotImplementedError

    def _headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise _protocol("HEADERS: expected a stream, found stream 0")
        if flags & frames.PADDED:
            payload = _unpadded(payload)
        if flags & frames.WITH_PRIORITY:
            if len(payload) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS: expected 5 bytes of priority")
            payload = payload[5:]  # priorities are ignored (section 5.3)
        ended = bool(flags & frames.END_STREAM)
        if flags & frames.END_HEADERS:
            self._block_done(stream_id, payload, ended=ended)
        else:
            self._block = _Block(stream_id, payload, ended=ended)

    def _continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        block = self._block
        if block is None:
            raise _protocol(f"CONTINUATION: expected after HEADERS alone, found on stream {stream_id}")
        if not payload:
            self._spend("empty_frames")
        block.add(payload, self.limits)
        if flags & frames.END_HEADERS:
            self._block = None
            self._block_done(stream_id, b"".join(block.parts), ended=block.ended)

    def _priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            raise _protocol("PRIORITY: expected a stream, found stream 0")
        self._spend("empty_frames")
        if len(payload) != 5:
            raise StreamFault(
                stream_id, ErrorCode.FRAME_SIZE_ERROR, f"PRIORITY: expected 5 bytes, found {len(payload)}"
            )

    def _rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"RST_STREAM: expected 4 bytes, found {len(payload)}")
        if not stream_id or self._is_idle(stream_id):
            raise _protocol(f"RST_STREAM: expected a stream that was opened, found stream {stream_id}")
        was_open = stream_id in self.streams
        stream = self.forget(stream_id)
        if was_open:
            self._stream_gone(stream_id, stream)
        self._spend("resets")

    def _settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise _protocol(f"SETTINGS: expected stream 0, found stream {stream_id}")
        self._spend("settings")
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS: expected an empty acknowledgement")
            return
        if len(payload) % 6:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS: expected 6 bytes each, found {len(payload)}")
        if len(payload) > _MOST_SETTINGS_BYTES:
            words = f"SETTINGS: expected at most {_MOST_SETTINGS_BYTES} bytes, found {len(payload)}"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, words, limit="settings")
        for key, value in frames.read_settings(payload):
            self._apply(key, value)
        self.greeted = True
        self.out.append(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self.sending.pump()

    def _apply(self, key: int, value: int) -> None:
        if key == Setting.ENABLE_PUSH and value > 1:
            raise _protocol(f"SETTINGS_ENABLE_PUSH: expected 0 or 1, found {value}")
        if key == Setting.INITIAL_WINDOW_SIZE:
            if value > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE: found {value}")
            self.sending.set_first_window(value)
        if key == Setting.HEADER_TABLE_SIZE and value < FIRST_TABLE_BYTES:
            self.sending.shrink_table()
        if key == Setting.MAX_FRAME_SIZE:
            if not frames.LEAST_MAX_FRAME_BYTES <= value <= frames.MOST_MAX_FRAME_BYTES:
                raise _protocol(f"SETTINGS_MAX_FRAME_SIZE: expected 16384 to 16777215, found {value}")
            self.sending.max_frame_bytes = value

    def _push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        raise _protocol("PUSH_PROMISE: expected none")

    def _ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise _protocol(f"PING: expected stream 0, found stream {stream_id}")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"PING: expected 8 bytes, found {len(payload)}")
        self._spend("pings")
        if not flags & frames.ACK:
            self.out.append(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _FINAL_PING:
            self.finish_end()

    def _goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise _protocol(f"GOAWAY: expected stream 0, found stream {stream_id}")
        if len(payload) < 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY: expected 8 bytes or more, found {len(payload)}")
        self._spend("empty_frames")
        self.peer_goes = True

    def _window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"WINDOW_UPDATE: expected 4 bytes, found {len(payload)}")
        if stream_id and self._is_idle(stream_id):
            raise _protocol(f"WINDOW_UPDATE: expected an open stream, found stream {stream_id}, which never was")
        self._spend("window_updates")
        increment = frames.WORD.unpack(payload)[0] & frames.MAX_WINDOW
        if not increment:
            words = "WINDOW_UPDATE: expected an increment of 1 or more, found 0"
            raise StreamFault(stream_id, ErrorCode.PROTOCOL_ERROR, words) if stream_id else _protocol(words)
        if not stream_id:
            self.sending.widen(increment)
        elif stream_id in self.streams:  # it may arrive after the stream's end (section 5.1)
            self.sending.widen_stream(stream_id, increment)


class _Block:
    """A header block that has begun with HEADERS and goes on in CONTINUATION frames."""

    __slots__ = ("bytes", "ended", "parts", "stream_id")

    def __init__(self, stream_id: int, first: bytes, *, ended: bool) -> None:
        self.stream_id = stream_id
        self.ended = ended
        self.parts = [first]
        self.bytes = len(first)

    def add(self, part: bytes, limits: Limits) -> None:
        """One more frame's part. ConnectionFault beyond the limits: what is left out cannot be decoded later."""
        self.parts.append(part)
        self.bytes += len(part)
        if len(self.parts) > limits.continuation_frames + 1:
            words = f"header block: expected at most {limits.continuation_frames} CONTINUATION frames, found one more"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, words, limit="continuation_frames")
        if self.bytes > limits.header_block_bytes:
            words = f"header block: expected at most {limits.header_block_bytes} bytes, found {self.bytes}"
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, words, limit="header_block_bytes")


def _protocol(why: str) -> ConnectionFault:
    return ConnectionFault(ErrorCode.PROTOCOL_ERROR, why)


def _unpadded(payload: bytes) -> bytes:
    """The content of a padded frame (section 6.1)."""
    if not payload:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "padding: expected its length, found an empty frame")
    if payload[0] >= len(payload):
        raise _protocol("padding: expected fewer bytes of it than the frame has, found more")
    return payload[1 : len(payload) - payload[0]]
