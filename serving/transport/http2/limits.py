"""What one peer may ask of a connection: a frozen value, and the guard that holds a peer to its rates."""

from __future__ import annotations

import msgspec

from serving.transport.http2.errors import ConnectionFault, ErrorCode

_NS = 1_000_000_000


class Rate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bucket of `burst` that refills by `per_second`, and by `per_answer` for every frame of answers sent.

    ValueError for a burst below 1 and for less than nothing of the other two.
    """

    burst: int
    per_second: int
    per_answer: float = 0.0

    def __post_init__(self) -> None:
        """See the class."""
        if self.burst < 1 or self.per_second < 0 or self.per_answer < 0:
            raise ValueError(f"a rate: expected a burst from 1 and no number below 0, found {self}; correct the limits")


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every limit of the transport. What passes one ends its own stream or connection, and nobody else's.

    The rates are what an honest client never reaches: Go's sends a PING and a WINDOW_UPDATE behind every answer that
    finds none under way (its bandwidth estimate), grpcio a few; most give back half a window at a time, some a frame;
    one that gives up resets all streams it has. ValueError for a limit that RFC 9113 does not allow or that excludes
    every request.
    """

    connections: int = 1024
    handshakes: int = 256  # of TLS under way
    concurrent_streams: int = 1024
    header_list_bytes: int = 16_384  # names, values and 32 bytes each
    header_block_bytes: int = 65_536  # as it comes over the wire
    continuation_frames: int = 16
    message_bytes: int = 16 * 2**20
    unfinished_bytes: int = 48 * 2**20  # of requests that have not come in whole, over all connections
    unsent_bytes: int = 8 * 2**20  # of replies that one peer's windows hold back
    unread_bytes: int = 32 * 2**20  # of replies that peers do not read, over all connections
    stream_window_bytes: int = 2**20
    connection_window_bytes: int = 2**30
    resets: Rate = Rate(2048, 200, 1.0)  # RST_STREAM received, and sent for faults of the peer
    pings: Rate = Rate(200, 20, 2.0)
    settings: Rate = Rate(50, 5)
    empty_frames: Rate = Rate(200, 100, 2.0)  # DATA and CONTINUATION without content, PRIORITY, unknown types
    window_updates: Rate = Rate(2048, 1000, 4.0)
    large_heads: Rate = Rate(20, 1)  # header lists beyond `header_list_bytes`
    refused_streams: Rate = Rate(2048, 500, 1.0)  # streams opened beyond `concurrent_streams`, or after GOAWAY
    handshake_seconds: float = 5.0  # from the connection to the peer's SETTINGS, TLS included
    frame_seconds: float = 5.0  # for a frame or header block that has begun
    request_seconds: float = 30.0  # for a request that has begun
    stalled_seconds: float = 20.0  # how long a peer may leave a reply unread
    idle_seconds: float = 600.0  # without a call

    def __post_init__(self) -> None:
        """See the class."""
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: expected {least} to {most}, found {getattr(self, name)}; correct the limits")


_ANY = 2**31 - 1
_FRAME = 16_384  # the largest that a peer may always send (RFC 9113, section 4.2)
_RANGES: dict[str, tuple[float, float]] = {
    "connections": (1, _ANY),
    "handshakes": (1, _ANY),
    "concurrent_streams": (1, _ANY),
    "header_list_bytes": (1024, _ANY),
    "header_block_bytes": (_FRAME, _ANY),
    "continuation_frames": (0, _ANY),
    "message_bytes": (1, _ANY),
    "unfinished_bytes": (_FRAME, 2**63),
    "unsent_bytes": (_FRAME, 2**63),
    "unread_bytes": (_FRAME, 2**63),
    "stream_window_bytes": (_FRAME, _ANY),
    "connection_window_bytes": (65_535, _ANY),
    "handshake_seconds": (0.001, 86_400),
    "frame_seconds": (0.001, 86_400),
    "request_seconds": (0.001, 86_400),
    "stalled_seconds": (0.001, 86_400),
    "idle_seconds": (0.001, 86_400 * 365),
}


DEFAULT_LIMITS = Limits()


class Budget:
    """Bytes that the connections of a server hold together, and what they may hold."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    @property
    def is_over(self) -> bool:
        """Whether they hold too much."""
        return self.used > self.limit


class Guard:
    """Holds one connection's peer to the rates. Lives as long as the connection."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._buckets: dict[str, tuple[float, int, int]] = {}  # name → left, at_ns, answers sent by then

    def spend(self, name: str, now_ns: int, answers: int) -> None:
        """Takes one from the rate `name`. ConnectionFault ENHANCE_YOUR_CALM when nothing is left.

        now_ns: monotonic. answers: how many the connection has sent, frame by frame.
        """
        rate: Rate = getattr(self._limits, name)
        left, at_ns, then = self._buckets.get(name, (float(rate.burst), now_ns, answers))
        earned = (now_ns - at_ns) / _NS * rate.per_second + (answers - then) * rate.per_answer
        left = min(float(rate.burst), left + earned) - 1.0
        self._buckets[name] = left, now_ns, answers
        if left < 0:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"{name}: expected at most {rate.per_second} a second beyond a burst of {rate.burst}, found more",
                limit=name,
            )
