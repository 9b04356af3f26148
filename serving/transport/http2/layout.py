"""Messages that differ in stream number and content alone, read and written many at a time.

A peer that asks, or answers, the same thing over and over sends frames with the same blocks and sizes. Once one such
message has been read frame by frame, its layout says where every byte of the next one must be, and a run of them is
checked in one comparison. Whatever differs is left to the reader of frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from serving.transport.http2 import frames

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.uint32]

LEAST_RUN = 8  # below this, one by one is quicker
MOST_WHOLE = 1024  # bytes of a message: longer ones gain little
_MOST_RUN = 128  # messages compared at once
_STREAM_AT = 5  # of a frame


@dataclass(frozen=True)
class Fixed:
    """A frame whose payload is always the same."""

    kind: int
    flags: int
    payload: bytes


@dataclass(frozen=True)
class Open:
    """A frame of `size` bytes, which may be any between `prefix` and `suffix`."""

    kind: int
    flags: int
    size: int
    prefix: bytes = b""
    suffix: bytes = b""


@dataclass(frozen=True)
class Layout:
    """How a message of one stream lies on the wire: frames one behind the other, one of them open at most."""

    frames: tuple[Fixed | Open, ...]

    @cached_property
    def whole(self) -> int:
        """Bytes of a message, heads of frames included."""
        return len(self._pattern)

    def run(self, data: bytes, at: int, end: int) -> tuple[Numbers, Bytes]:
        """How many messages in a row lie at `at`, just so: their stream numbers, and contents uint8 [n, size].

        None where there are fewer than `LEAST_RUN`. Stream numbers are uint32, with whatever the reserved bit holds.
        """
        count = min((end - at) // self.whole, _MOST_RUN)
        if count < LEAST_RUN:
            return _NONE
        row = np.frombuffer(data, np.uint8, count * self.whole, at)
        messages = row.reshape(count, self.whole)
        mask, expected = self._tiled
        if (row & mask[: len(row)]).tobytes() != expected[: len(row)]:
            messages = messages[: self._alike(messages)]
        numbers, *others = (messages[:, place : place + 4].view(">u4")[:, 0] for place in self._streams)
        for other in others:
            if (alike := numbers == other).all():
                continue
            messages = messages[: int(np.argmin(alike))]
        count = len(messages)
        if count < LEAST_RUN:
            return _NONE
        return numbers[:count].astype(np.uint32), messages[:, self._content]

    def written(self, numbers: Bytes, contents: Bytes) -> bytes:
        """`n` messages in a row. numbers: uint8 [n, 4], the streams', big-endian. contents: uint8 [n, bytes]."""
        out = np.empty((len(numbers), self.whole), np.uint8)
        out[:] = self._pattern_array
        for place in self._streams:
            out[:, place : place + 4] = numbers
        out[:, self._content] = contents
        return out.tobytes()

    def _alike(self, messages: Bytes) -> int:
        """How many of `messages`, from the first, have every fixed byte where it belongs."""
        mask, _ = self._tiled
        wrong = ((messages & mask[: self.whole]) != self._pattern_array).any(axis=1)
        return int(np.argmax(wrong)) if wrong.any() else len(messages)

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """Where each frame begins."""
        starts, at = [], 0
        for each in self.frames:
            starts.append(at)
            at += frames.HEAD_BYTES + (each.size if isinstance(each, Open) else len(each.payload))
        return tuple(starts)

    @cached_property
    def _streams(self) -> tuple[int, ...]:
        """Where the stream numbers are."""
        return tuple(start + _STREAM_AT for start in self._starts)

    @cached_property
    def _content(self) -> slice:
        """Where any bytes may be."""
        for start, each in zip(self._starts, self.frames, strict=True):
            if isinstance(each, Open):
                start += frames.HEAD_BYTES
                return slice(start + len(each.prefix), start + each.size - len(each.suffix))
        return slice(0, 0)

    @cached_property
    def _pattern(self) -> bytes:
        """A message of stream 0 whose content is nothing but zeros."""
        payloads = (
            each.payload
            if isinstance(each, Fixed)
            else each.prefix.ljust(each.size - len(each.suffix), b"\0") + each.suffix
            for each in self.frames
        )
        return b"".join(
            frames.frame(each.kind, each.flags, 0, payload) for each, payload in zip(self.frames, payloads, strict=True)
        )

    @cached_property
    def _pattern_array(self) -> Bytes:
        return np.frombuffer(self._pattern, np.uint8)

    @cached_property
    def _tiled(self) -> tuple[Bytes, bytes]:
        """The bits that are fixed, and what they are, of `_MOST_RUN` messages in a row."""
        mask = np.full(self.whole, 0xFF, np.uint8)
        mask[self._content] = 0
        for place in self._streams:
            mask[place : place + 4] = 0
        return np.tile(mask, _MOST_RUN), self._pattern * _MOST_RUN


_NONE: tuple[Numbers, Bytes] = np.empty(0, np.uint32), np.empty((0, 0), np.uint8)
