"""Requests made before they are sent: whole frames with only the stream's number to fill in.

A load generator in Python keeps up with a fast server only if a request costs it next to nothing while the clock runs.
So header blocks and messages are made beforehand, as a cycle of requests that differ from one another, and sending any
number of them is one slice of bytes. The first block of a cycle empties the server's dynamic table (two size updates,
RFC 7541, section 6.3), so that a cycle may be sent again and again on one connection and stay true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from loadtests.harness.questions import framed
from serving.transport.http2 import frames
from serving.transport.http2.hpack import FIRST_TABLE_BYTES, IndexingEncoder

Bytes = npt.NDArray[np.uint8]
Int64s = npt.NDArray[np.int64]

LEAST_TIMEOUT_US, MOST_TIMEOUT_US = 1_000_000, 1_200_000
_KEPT_TIMEOUTS = 5  # that gRPC's C core would send again
_CLOSE = 0.03  # how much shorter a timeout may be than one sent before, for that one to be sent again


class Headers(Enum):
    """How header blocks differ from call to call. The rest of a block is indexed after the first call, in all of them.

    SAME: not at all, as a C client sends them that sets neither. LITERAL: a timeout and a trace header of their own,
    as literals without indexing. INDEXED: the same, each put into the dynamic table, as Go's encoder does. ROUNDED: as
    gRPC's C core does: a timeout within 3 % of one in the table is sent as that one, any other is put into the table;
    the trace header is a literal.
    """

    SAME = "no timeout and no trace header"
    LITERAL = "a timeout and trace header of its own on every call, literals without indexing"
    INDEXED = "a timeout and trace header of its own on every call, all with incremental indexing as Go does"
    ROUNDED = "a timeout and trace header of its own on every call, rounded timeouts in the table as grpcio does"


_TIMEOUT, _TRACE = b"grpc-timeout", b"traceparent"
_UNINDEXED: Mapping[Headers, tuple[bytes, ...]] = {
    Headers.SAME: (),
    Headers.LITERAL: (_TIMEOUT, _TRACE),
    Headers.INDEXED: (),
    Headers.ROUNDED: (_TRACE,),
}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A cycle of requests, HEADERS and DATA each. Lives as long as one connection, which fills in its stream numbers.

    made: uint8, all of their frames. starts: int64 [n + 1], where each begins. places: int64 [n, 8], the bytes of its
    two stream numbers. contents: int64 [n + 1], how many content bytes all requests before it have.
    """

    made: Bytes
    starts: Int64s
    places: Int64s
    contents: Int64s

    def __len__(self) -> int:
        return len(self.places)

    @property
    def largest(self) -> int:
        """Content bytes of the largest request."""
        return int(np.diff(self.contents).max())

    def number(self, first: int, count: int, stream: int) -> None:
        """Gives requests `first` to `first + count` the stream numbers from `stream` on."""
        numbers = np.arange(stream, stream + 2 * count, 2, dtype=">u4").view(np.uint8).reshape(count, 4)
        self.made[self.places[first : first + count]] = np.concatenate((numbers, numbers), axis=1)


def prepare(
    path: str, messages: Sequence[bytes], *, headers: Headers = Headers.SAME, scheme: str = "http", seed: int = 0
) -> Prepared:
    """A cycle of one call of `path` for each message. seed: of timeouts and trace identities."""
    blocks = Blocks(path, headers, scheme=scheme, seed=seed)
    parts: list[bytes] = []
    lengths: list[tuple[int, int]] = []
    for message in messages:
        block, content = blocks.next(), framed(message)
        if len(content) > frames.LEAST_MAX_FRAME_BYTES:
            raise ValueError(f"prepared: expected messages that fit one frame, found {len(message)} bytes")
        parts.append(frames.frame(frames.HEADERS, frames.END_HEADERS, 0, block))
        parts.append(frames.frame(frames.DATA, frames.END_STREAM, 0, content))
        lengths.append((len(block), len(content)))
    sizes = np.array(lengths, np.int64)
    starts = _before(sizes.sum(axis=1) + 2 * frames.HEAD_BYTES)
    heads = starts[:-1] + 5
    places = np.stack((heads, heads + frames.HEAD_BYTES + sizes[:, 0]), axis=1)
    every = (places[:, :, None] + np.arange(4)).reshape(len(messages), 8)
    return Prepared(np.frombuffer(b"".join(parts), np.uint8).copy(), starts, every, _before(sizes[:, 1]))


class Blocks:
    """The header blocks of one cycle of calls, in their order. Lives until the last of them is made."""

    def __init__(self, path: str, headers: Headers, *, scheme: str = "http", seed: int = 0) -> None:
        self._headers = headers
        self._random = np.random.default_rng(seed)
        self._encoder = IndexingEncoder(huffman=headers is Headers.INDEXED, unindexed=_UNINDEXED[headers])
        self._encoder.allow(0)  # both are said at the front of the first block
        self._encoder.allow(FIRST_TABLE_BYTES)
        self._same = (
            (b":method", b"POST"),
            (b":scheme", scheme.encode()),
            (b":path", path.encode()),
            (b":authority", b"localhost"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
            (b"user-agent", b"signalbox-loadtest"),
        )
        self._sent_timeouts: list[int] = []  # milliseconds, newest last

    def next(self) -> bytes:
        """The next call's block."""
        if self._headers is Headers.SAME:
            return self._encoder.encode(self._same)
        return self._encoder.encode((*self._same, self._timeout(), self._trace()))

    def _timeout(self) -> tuple[bytes, bytes]:
        timeout_us = int(self._random.integers(LEAST_TIMEOUT_US, MOST_TIMEOUT_US))
        if self._headers is Headers.ROUNDED:
            return _TIMEOUT, b"%dm" % self._rounded(timeout_us)
        return _TIMEOUT, b"%du" % timeout_us

    def _trace(self) -> tuple[bytes, bytes]:
        identity = self._random.bytes(24).hex().encode()
        return _TRACE, b"00-%b-%b-01" % (identity[:32], identity[32:])

    def _rounded(self, timeout_us: int) -> int:
        """Milliseconds: up to the next ten; or one of the last few that were sent, where it is less than 3 % longer.

        As in gRPC's C core (src/core/ext/transport/chttp2/transport/hpack_encoder.cc, TimeoutCompressorImpl).
        """
        rounded = -(-timeout_us // 10_000) * 10
        for sent in self._sent_timeouts:
            if sent * (1 - _CLOSE) < rounded <= sent:
                return sent
        self._sent_timeouts = [*self._sent_timeouts[1 - _KEPT_TIMEOUTS :], rounded]
        return rounded


def _before(sizes: Int64s) -> Int64s:
    """int64 [n + 1]: the sum of all sizes before each, and of all of them."""
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
