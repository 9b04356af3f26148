"""Answers that differ in stream number and content alone, read many at a time.

A server that answers the same method over and over sends HEADERS, DATA and trailers with the same blocks and sizes.
Once one such answer has been read frame by frame, its layout says where every byte of the next one must be, and a run
of them is checked in one comparison. Whatever differs is left to the reader of frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from serving.transport.http2 import frames
from serving.transport.http2.hpack import Head

Bytes = npt.NDArray[np.uint8]

LEAST_RUN = 8  # below this, one by one is quicker
_MOST_RUN = 256  # answers compared at once


@dataclass(frozen=True, eq=False)
class Layout:
    """How one answer lay on the wire. block, end_block: the header blocks; size: bytes of content between them."""

    block: bytes
    head: Head
    size: int
    end_block: bytes
    trailers: Head

    @cached_property
    def whole(self) -> int:
        """Bytes of a whole answer, its three frame heads included."""
        return 3 * frames.HEAD_BYTES + len(self.block) + self.size + len(self.end_block)

    def stands(self, known: dict[bytes, Head]) -> bool:
        """Whether the blocks still mean what they did: a peer's table that moved gives them another meaning."""
        return known.get(self.block) is self.head and known.get(self.end_block) is self.trailers

    def run(self, data: bytes, at: int, end: int) -> tuple[list[int], Bytes]:
        """How many answers in a row lie at `at`, just so: their stream numbers, and contents uint8 [n, size]."""
        count = min((end - at) // self.whole, _MOST_RUN)
        if count < LEAST_RUN:
            return [], _NONE
        row = np.frombuffer(data, np.uint8, count * self.whole, at)
        answers = row.reshape(count, self.whole)
        mask, expected = self._tiled
        if (row & mask[: len(row)]).tobytes() != expected[: len(row)]:
            count = self._alike(answers)
            answers = answers[:count]
        streams, *others = (answers[:, place : place + 4].view(">u4")[:, 0] for place in self._places)
        alike = (streams == others[0]) & (streams == others[1])
        if not alike.all():
            count = int(np.argmin(alike))
        start = self._content
        return streams[:count].tolist(), answers[:count, start : start + self.size]

    def _alike(self, answers: Bytes) -> int:
        """How many of `answers`, from the first, have every fixed byte where it belongs."""
        mask, expected = self._tiled
        pattern = np.frombuffer(expected, np.uint8, self.whole)
        wrong = ((answers & mask[: self.whole]) != pattern).any(axis=1)
        return int(np.argmax(wrong)) if wrong.any() else len(answers)

    @cached_property
    def _content(self) -> int:
        return 2 * frames.HEAD_BYTES + len(self.block)

    @cached_property
    def _places(self) -> tuple[int, int, int]:
        """Where the three stream numbers are."""
        data = frames.HEAD_BYTES + len(self.block)
        return 5, data + 5, self._content + self.size + 5

    @cached_property
    def _tiled(self) -> tuple[Bytes, bytes]:
        """The bits that are fixed, and what they are, of `_MOST_RUN` answers in a row."""
        flags = frames.END_HEADERS | frames.END_STREAM
        parts = (
            frames.frame(frames.HEADERS, frames.END_HEADERS, 0, self.block),
            frames.frame(frames.DATA, 0, 0, bytes(self.size)),
            frames.frame(frames.HEADERS, flags, 0, self.end_block),
        )
        mask = np.full(self.whole, 0xFF, np.uint8)
        mask[self._content : self._content + self.size] = 0
        for place in self._places:
            mask[place : place + 4] = 0
        return np.tile(mask, _MOST_RUN), b"".join(parts) * _MOST_RUN


_NONE: Bytes = np.empty((0, 0), np.uint8)
