"""What is to leave on a connection's streams, held to the peer's flow control windows (RFC 9113, sections 5.2, 6.9)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from serving.transport.http2 import frames
from serving.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault


class _Queue:
    """What one stream has to send: content, then perhaps the trailers that end it."""

    __slots__ = ("content", "sent", "trailers")

    def __init__(self) -> None:
        self.content: deque[bytes] = deque()
        self.sent = 0  # of the first piece
        self.trailers: bytes | None = None


class Sending:
    """The sending half of a connection. Frames go to the list `out`, in order.

    whole: called with a stream when all that was queued of it has left. window: what the connection may still send.
    first_window: what a stream may send that has sent nothing yet, at least; small: how much of that in one frame.
    unsent: bytes that wait for a window. used: stream → content sent, less the increments of its window.
    """

    def __init__(self, out: list[bytes], whole: Callable[[int], None]) -> None:
        self.window = frames.FIRST_WINDOW
        self.first_window = frames.FIRST_WINDOW
        self.max_frame_bytes = frames.LEAST_MAX_FRAME_BYTES
        self.small = min(frames.FIRST_WINDOW, frames.LEAST_MAX_FRAME_BYTES)
        self.unsent = 0
        self.used: dict[int, int] = {}
        self._out = out
        self._whole = whole
        self._queues: dict[int, _Queue] = {}

    def queue(self, stream_id: int, content: bytes, trailers: bytes | None = None) -> None:
        """Sends `content`, and `trailers` (a header block that ends the stream) behind it, as the windows allow."""
        queue = self._queues.get(stream_id)
        if queue is None:
            queue = self._queues[stream_id] = _Queue()
        if content:
            queue.content.append(content)
            self.unsent += len(content)
        queue.trailers = trailers
        self._pump(stream_id, queue)

    @property
    def is_bare(self) -> bool:
        """Whether no stream has anything here: nothing queued, nothing sent in part."""
        return not self.used and not self._queues

    def waits(self, stream_id: int) -> bool:
        """Whether something of `stream_id` waits for a window."""
        return stream_id in self._queues

    def forget(self, stream_id: int) -> None:
        """Drops what is queued of a stream that has ended."""
        self.used.pop(stream_id, None)
        queue = self._queues.pop(stream_id, None)
        if queue is not None:
            self.unsent -= sum(map(len, queue.content)) - queue.sent

    def set_first_window(self, size: int) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE: moves the windows of all streams (section 6.9.2)."""
        least = min(self.used.values(), default=0)
        if size - least > frames.MAX_WINDOW:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE: {size} makes a stream's window too large"
            )
        self.first_window = size
        self.small = min(size, frames.LEAST_MAX_FRAME_BYTES)

    def widen(self, increment: int) -> None:
        """WINDOW_UPDATE of the connection."""
        if self.window + increment > frames.MAX_WINDOW:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, f"WINDOW_UPDATE: expected a window below 2^31, found {increment} more"
            )
        self.window += increment
        self.pump()

    def widen_stream(self, stream_id: int, increment: int) -> None:
        """WINDOW_UPDATE of an open stream."""
        used = self.used.get(stream_id, 0) - increment
        if self.first_window - used > frames.MAX_WINDOW:
            raise StreamFault(
                stream_id, ErrorCode.FLOW_CONTROL_ERROR, f"WINDOW_UPDATE: expected below 2^31, found {increment} more"
            )
        self.used[stream_id] = used
        queue = self._queues.get(stream_id)
        if queue is not None:
            self._pump(stream_id, queue)

    def pump(self) -> None:
        """Sends what the windows allow now: a frame of each stream in turn."""
        while self._queues and self.window > 0:
            moved = False
            for stream_id, queue in list(self._queues.items()):
                moved |= self._send_frame(stream_id, queue)
            if not moved:
                return

    def _pump(self, stream_id: int, queue: _Queue) -> None:
        while self._send_frame(stream_id, queue):
            pass

    def _send_frame(self, stream_id: int, queue: _Queue) -> bool:
        """One DATA frame of a stream, or its end; whether there may be more."""
        if not queue.content:
            self._end(stream_id, queue)
            return False
        room = min(self.window, self.first_window - self.used.get(stream_id, 0), self.max_frame_bytes)
        if room <= 0:
            return False
        piece = queue.content[0]
        part = piece[queue.sent : queue.sent + room] if queue.sent or len(piece) > room else piece
        self._out.append(frames.frame(frames.DATA, 0, stream_id, part))
        size = len(part)
        self.window -= size
        self.unsent -= size
        self.used[stream_id] = self.used.get(stream_id, 0) + size
        queue.sent += size
        if queue.sent == len(piece):
            queue.content.popleft()
            queue.sent = 0
        if not queue.content:
            self._end(stream_id, queue)
            return False
        return True

    def _end(self, stream_id: int, queue: _Queue) -> None:
        if self._queues.pop(stream_id, None) is None:
            return
        if queue.trailers is not None:
            self._out.append(
                frames.header_block(stream_id, queue.trailers, end_stream=True, max_frame_bytes=self.max_frame_bytes)
            )
        self._whole(stream_id)
