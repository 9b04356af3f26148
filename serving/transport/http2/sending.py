"""What is to leave on a connection's streams, held to the peer's flow control windows (RFC 9113, sections 5.2, 6.9)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from serving.transport.http2 import frames
from serving.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault
from serving.transport.http2.limits import Budget

_NO_TABLE = b"\x20"  # a table size update to 0 (RFC 7541, section 6.3)


class _Queue:
    """What one stream has to send: content, then perhaps the trailers that end it."""

    __slots__ = ("content", "sent", "trailers")

    def __init__(self) -> None:
        self.content: deque[bytes] = deque()
        self.sent = 0  # of the first piece
        self.trailers: bytes | None = None


class Sending:
    """The sending half of a connection. Frames go to the list `out`, in order.

    whole: called with a stream when all that was queued of it has left. budget: what all connections may hold unsent.
    most_window: how much of the peer's window is used until `refill` is called: what bounds the bytes in `out`. None:
    all of it, for an end that never calls it.

    window: what the connection may send now. first_window: what a stream may send that has sent nothing yet, at least;
    small: how much of that in one frame without asking here. unsent: bytes that wait for a window. used: stream →
    content sent, less the increments of its window. whole_frames: DATA frames that no window had cut short. sent: bytes
    of content that have left from here.
    """

    def __init__(
        self,
        out: list[bytes],
        whole: Callable[[int], None],
        *,
        budget: Budget | None = None,
        most_window: int | None = None,
    ) -> None:
        self.window = frames.FIRST_WINDOW if most_window is None else min(frames.FIRST_WINDOW, most_window)
        self.first_window = frames.FIRST_WINDOW
        self.max_frame_bytes = frames.LEAST_MAX_FRAME_BYTES
        self.small = min(frames.FIRST_WINDOW, frames.LEAST_MAX_FRAME_BYTES)
        self.unsent = 0
        self.used: dict[int, int] = {}
        self.whole_frames = 0
        self.sent = 0
        self.reserve = frames.FIRST_WINDOW - self.window  # of the peer's window, beyond `window`
        self._out = out
        self._whole = whole
        self._budget = budget or Budget(frames.MAX_WINDOW)
        self._most_window = most_window
        self._granted = self.window  # of the peer's window since `refill`
        self._queues: dict[int, _Queue] = {}
        self._ready: dict[int, None] = {}  # streams that wait for the connection's window alone, who is next first
        self._table_is_small = False
        self._update = b""

    def block(self, stream_id: int, block: bytes, *, ended: bool) -> None:
        """Sends a header block, which no window holds back."""
        if self._update:
            block, self._update = self._update + block, b""
            self.small = min(self.first_window, frames.LEAST_MAX_FRAME_BYTES)
        self._out.append(frames.header_block(stream_id, block, end_stream=ended, max_frame_bytes=self.max_frame_bytes))

    def shrink_table(self) -> None:
        """SETTINGS_HEADER_TABLE_SIZE below the first: the next block says that our table is empty, which it always is.

        Section 4.3.1; some decoders insist on it. Until that block has left, `small` is 0.
        """
        if not self._table_is_small:
            self._table_is_small = True
            self._update = _NO_TABLE
            self.small = 0

    def queue(self, stream_id: int, content: bytes, trailers: bytes | None = None) -> None:
        """Sends `content`, and `trailers` (a header block that ends the stream) behind it, as the windows allow."""
        queue = self._queues.get(stream_id)
        if queue is None:
            queue = self._queues[stream_id] = _Queue()
        queue.trailers = trailers
        if content:
            queue.content.append(content)
            self._count(len(content))
            self._ready[stream_id] = None
            self.pump()
        elif not queue.content:
            self._end(stream_id, queue)

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
            self._ready.pop(stream_id, None)
            self._count(queue.sent - sum(map(len, queue.content)))

    def set_first_window(self, size: int) -> None:
        """SETTINGS_INITIAL_WINDOW_SIZE: moves the windows of all streams (section 6.9.2)."""
        least = min(self.used.values(), default=0)
        if size - least > frames.MAX_WINDOW:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE: {size} makes a stream's window too large"
            )
        self.first_window = size
        self.small = 0 if self._update else min(size, frames.LEAST_MAX_FRAME_BYTES)
        self._ready = dict.fromkeys(self._queues)

    def widen(self, increment: int) -> None:
        """WINDOW_UPDATE of the connection."""
        if self.window + self.reserve + increment > frames.MAX_WINDOW:
            raise ConnectionFault(
                ErrorCode.FLOW_CONTROL_ERROR, f"WINDOW_UPDATE: expected a window below 2^31, found {increment} more"
            )
        self.reserve += increment
        self._grant()

    def refill(self) -> None:
        """What was in `out` has left: more of the peer's window may be used."""
        self._granted = self.window
        self._grant()

    def widen_stream(self, stream_id: int, increment: int) -> None:
        """WINDOW_UPDATE of an open stream."""
        used = self.used.get(stream_id, 0) - increment
        if self.first_window - used > frames.MAX_WINDOW:
            raise StreamFault(
                stream_id, ErrorCode.FLOW_CONTROL_ERROR, f"WINDOW_UPDATE: expected below 2^31, found {increment} more"
            )
        self.used[stream_id] = used
        if stream_id in self._queues:
            self._ready[stream_id] = None
            self.pump()

    def pump(self) -> None:
        """Sends what the windows allow now: a frame of each stream in turn."""
        ready = self._ready
        while ready and self.window > 0:
            stream_id = next(iter(ready))
            del ready[stream_id]
            if self._send_frame(stream_id):
                ready[stream_id] = None

    def _grant(self) -> None:
        more = self.reserve
        if self._most_window is not None:
            more = min(more, self._most_window - self._granted)
        self.window += more
        self.reserve -= more
        self._granted += more
        self.pump()

    def _send_frame(self, stream_id: int) -> bool:
        """One DATA frame of a stream; whether there may be more."""
        queue = self._queues[stream_id]
        used = self.used.get(stream_id, 0)
        room = min(self.window, self.first_window - used, self.max_frame_bytes)
        if room <= 0:
            return False
        piece = queue.content[0]
        part = piece[queue.sent : queue.sent + room] if queue.sent or len(piece) > room else piece
        self._out.append(frames.frame(frames.DATA, 0, stream_id, part))
        size = len(part)
        self.window -= size
        self.sent += size
        self._count(-size)
        self.used[stream_id] = used + size
        queue.sent += size
        if queue.sent == len(piece):
            queue.content.popleft()
            queue.sent = 0
        if not queue.sent or size == self.max_frame_bytes:
            self.whole_frames += 1
        if not queue.content:
            self._end(stream_id, queue)
            return False
        return True

    def _end(self, stream_id: int, queue: _Queue) -> None:
        del self._queues[stream_id]
        if queue.trailers is not None:
            self.block(stream_id, queue.trailers, ended=True)
        self._whole(stream_id)

    def _count(self, more: int) -> None:
        self.unsent += more
        self._budget.used += more
