"""What one peer may ask of a connection: a frozen value, and the guard that holds a peer to its rates."""

from __future__ import annotations

import msgspec

from serving.transport.http2.errors import ConnectionFault, ErrorCode

_NS = 1_000_000_000


class Rate(msgspec.Struct, frozen=True):
    """A bucket of `burst` that refills by `per_second`, and by `per_call` for every call that was answered."""

    burst: int
    per_second: int
    per_call: float = 0.0


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every limit of the transport. What passes one ends its own stream or connection, and nobody else's."""

    connections: int = 1024
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
    resets: Rate = Rate(400, 100, 0.5)  # RST_STREAM received, and sent for faults of the peer
    pings: Rate = Rate(200, 20, 0.5)
    settings: Rate = Rate(50, 5)
    empty_frames: Rate = Rate(200, 100, 2.0)  # DATA and CONTINUATION without content, PRIORITY, unknown types
    window_updates: Rate = Rate(2000, 1000, 4.0)
    refused_streams: Rate = Rate(2048, 500, 1.0)  # streams opened beyond `concurrent_streams`
    handshake_seconds: float = 5.0  # from the connection to the peer's SETTINGS, TLS included
    frame_seconds: float = 5.0  # for a frame or header block that has begun
    request_seconds: float = 30.0  # for a request that has begun
    stalled_seconds: float = 20.0  # how long a peer may leave a reply unread
    idle_seconds: float = 600.0  # without a call


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
        self._buckets: dict[str, tuple[float, int, int]] = {}  # name → left, at_ns, calls answered then

    def spend(self, name: str, now_ns: int, calls: int) -> None:
        """Takes one from the rate `name`. ConnectionFault ENHANCE_YOUR_CALM when nothing is left.

        now_ns: monotonic. calls: how many the connection has answered.
        """
        rate: Rate = getattr(self._limits, name)
        left, at_ns, then = self._buckets.get(name, (float(rate.burst), now_ns, calls))
        earned = (now_ns - at_ns) / _NS * rate.per_second + (calls - then) * rate.per_call
        left = min(float(rate.burst), left + earned) - 1.0
        self._buckets[name] = left, now_ns, calls
        if left < 0:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"{name}: expected at most {rate.per_second} a second beyond a burst of {rate.burst}, found more",
                limit=name,
            )
