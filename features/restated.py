"""What was known when: the values that depend on a cell which changed after they were due, and their windows then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.panel import Panel
from features.stretch import Stretch

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells of a panel, sorted by instrument, then row. instrument, row: int64 [cell]."""

    instrument: Integers
    row: Integers

    def __len__(self) -> int:
        return len(self.row)

    def blocks(self, size: int) -> Iterator[Cells]:
        """All of them, `size` at a time."""
        for start in range(0, len(self), size):
            yield Cells(self.instrument[start : start + size], self.row[start : start + size])

    def keys(self, rows: int) -> Integers:
        """int64 [cell], rising: instrument × rows + row."""
        return self.instrument * rows + self.row


def touched(stretch: Stretch, names: Sequence[str], reach: int) -> Cells:
    """The cells of the stretch that a change became known to only after their own knowledge time.

    Such a value was computed without the change: it depends on `reach` rows of the panels `names`.
    """
    marks = np.zeros((stretch.instruments, stretch.rows + 1), np.int32)
    for name in names:
        revisions = stretch.panels[name].revisions
        begin, end = _runs(stretch.panels[name], reach)
        inside = [np.clip(each - stretch.first, 0, stretch.rows) for each in (begin, end)]
        np.add.at(marks, (revisions.instrument, inside[0]), 1)
        np.add.at(marks, (revisions.instrument, inside[1]), -1)
    instrument, row = np.nonzero(marks.cumsum(1)[:, :-1] > 0)
    return Cells(instrument, row + stretch.first)


def windows_as_known(stretch: Stretch, name: str, cells: Cells, reach: int) -> Floats:
    """float64 [cell, reach]: the cells' windows in panel `name`, each as known at its row's knowledge time."""
    panel = stretch.panels[name]
    windows = stretch.windows(name, reach)[cells.instrument, cells.row - stretch.first]
    rows = len(panel.event_times_ns)
    begin, end = _runs(panel, reach)
    keys, line = cells.keys(rows), panel.revisions.instrument * rows
    low, high = np.searchsorted(keys, line + begin), np.searchsorted(keys, line + end)
    # From the newest change back to the oldest: of several changes to a cell the oldest `before` counts.
    for at in np.flatnonzero(low < high)[::-1]:
        which = np.arange(low[at], high[at])
        windows[which, reach - 1 - (cells.row[which] - begin[at])] = panel.revisions.before[at]
    return windows


def first_known(panel: Panel, first: int, last: int) -> Floats:
    """float64 [row, instrument]: rows `first` to `last` of the panel, each as known at its own knowledge time."""
    values = panel.values[first:last].copy()
    later = panel.revisions.known_ns > panel.knowledge_times_ns[panel.revisions.time]
    panel.revisions.take(later).undo(values, first_row=first)
    return values


def _runs(panel: Panel, reach: int) -> tuple[Integers, Integers]:
    """Per revision the rows, first and last (exclusive), that read its cell before they could know of the change."""
    revisions = panel.revisions
    known_from = np.searchsorted(panel.knowledge_times_ns, revisions.known_ns, side="left")
    return revisions.time, np.maximum(revisions.time, np.minimum(revisions.time + reach, known_from))
