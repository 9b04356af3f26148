"""A stretch of rows with the history before it, laid out for kernels: one contiguous line of time per instrument.

A window is a slice of its instrument's line, so that windows of any length are views of one array, copied block by
block into what fits the cache. How many of a window's values are missing is a difference of two whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from features.evaluate import all_present
from features.panel import Panel

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_INSTRUMENTS = 16  # of a block at the least: two cache lines of a column of results


@dataclass(frozen=True)
class Block:
    """Some instruments at some rows of a stretch."""

    instruments: slice
    rows: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Instruments, rows."""
        return self.instruments.stop - self.instruments.start, self.rows.stop - self.rows.start


class Stretch:
    """Rows `first` to `last` (exclusive) of aligned panels, and `reach` − 1 rows before them, NaN where none are.

    It lives as long as one computation.
    """

    def __init__(self, panels: Mapping[str, Panel], first: int, last: int, reach: int) -> None:
        self.panels, self.first, self.last, self.reach = panels, first, last, reach
        self.lead = next(iter(panels.values()))
        self._lines = {name: self._line(each.values) for name, each in panels.items()}
        self._missing: dict[tuple[str, ...], npt.NDArray[np.int32]] = {}

    @property
    def rows(self) -> int:
        """How many rows it has, its history aside."""
        return self.last - self.first

    @property
    def instruments(self) -> int:
        """How many instruments it has."""
        return len(self.lead.instruments)

    @cached_property
    def row_numbers(self) -> Integers:
        """int64 [row]: the panel's row that each row is."""
        return np.arange(self.first, self.last)

    def windows(self, name: str, length: int, *, before: int = 0) -> Floats:
        """A view [instrument, row, length]: the windows that end at each row, and at `before` rows before the first."""
        line = self._lines[name][:, self.reach - length - before :]
        return np.lib.stride_tricks.sliding_window_view(line, length, axis=1)

    def missing(self, names: Sequence[str], block: Block, length: int | Integers) -> npt.NDArray[np.int32]:
        """int32 [instrument, row]: in how many of the last `length` rows one of the inputs is missing.

        length: one for all rows, or int64 [row of the block].
        """
        counted = self._counted(tuple(names))
        ends = np.arange(block.rows.start, block.rows.stop) + self.reach
        lines = counted[block.instruments]
        return np.asarray(lines[:, ends] - lines[:, ends - length])

    def blocks(self, length: int, size: int) -> Iterator[Block]:
        """Every instrument and row once, in blocks of about `size` bytes of windows of `length` rows."""
        values = max(1, size // (8 * length))
        wide = min(self.instruments, max(_INSTRUMENTS, values // max(1, self.rows)))
        long = max(1, values // wide)
        for left in range(0, self.instruments, wide):
            for top in range(0, self.rows, long):
                yield Block(slice(left, min(left + wide, self.instruments)), slice(top, min(top + long, self.rows)))

    def _line(self, values: Floats) -> Floats:
        line = np.full((values.shape[1], self.rows + self.reach - 1), np.nan)
        start = self.first - self.reach + 1
        line[:, max(0, -start) :] = values[max(0, start) : self.last].T
        return line

    def _counted(self, names: tuple[str, ...]) -> npt.NDArray[np.int32]:
        if names not in self._missing:
            gaps = ~all_present([self._lines[name] for name in names])
            counted = np.zeros((gaps.shape[0], gaps.shape[1] + 1), np.int32)
            np.cumsum(gaps, axis=1, out=counted[:, 1:])
            self._missing[names] = counted
        return self._missing[names]


def entities(view: npt.NDArray[Any], block: Block) -> npt.NDArray[Any]:
    """The block of a view [instrument, row, ...] as a C-contiguous array [entity, ...], instrument by instrument."""
    return np.ascontiguousarray(view[block.instruments, block.rows]).reshape(-1, *view.shape[2:])
