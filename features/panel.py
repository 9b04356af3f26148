"""One input as a matrix of sessions and instruments, and what was revised in it when.

A panel holds the newest values known at one instant. What was known earlier is kept beside it as revisions: each says
which cell changed, when, and what stood there before. So the panel as known at any earlier instant can be had again
exactly, and no feature of an old session ever sees a value that came later.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from features.errors import PanelError

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]


def _no_times() -> Times:
    return np.empty(0, np.int64)


def _no_floats() -> Floats:
    return np.empty(0, np.float64)


@dataclass(frozen=True, eq=False)
class Revisions:
    """Changes to cells after their session's decision instant, in the order in which they became known.

    known_ns: int64 [revision], not falling: when the change became known, UTC nanoseconds.
    time, instrument: int64 [revision]: the cell.
    before: float64 [revision]: what stood there until then; NaN where nothing did (a late row).
    after: float64 [revision]: what stands there from then on.
    """

    known_ns: Times = field(default_factory=_no_times)
    time: Times = field(default_factory=_no_times)
    instrument: Times = field(default_factory=_no_times)
    before: Floats = field(default_factory=_no_floats)
    after: Floats = field(default_factory=_no_floats)

    def __len__(self) -> int:
        return len(self.known_ns)

    def take(self, chosen: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Revisions:
        """The chosen revisions, in their order."""
        return Revisions(
            self.known_ns[chosen], self.time[chosen], self.instrument[chosen], self.before[chosen], self.after[chosen]
        )

    def undo(self, values: Floats, *, first_row: int = 0) -> None:
        """Puts back into `values` [time, instrument], in place, what stood there before these revisions.

        first_row: the panel row that `values[0]` is; revisions of rows outside `values` are passed over.
        """
        row = self.time - first_row
        inside = np.flatnonzero((row >= 0) & (row < len(values)))
        # Of several changes to a cell the earliest `before` counts. Found explicitly: NumPy's order of assignment to
        # repeated indices depends on the strides.
        _, earliest = np.unique(row[inside] * values.shape[1] + self.instrument[inside], return_index=True)
        at = inside[earliest]
        values[row[at], self.instrument[at]] = self.before[at]


@dataclass(frozen=True, eq=False)
class Panel:
    """One input over time and instruments, as known at one instant.

    input: its name.
    values: float64 [time, instrument]; NaN where nothing is known.
    event_times_ns: int64 [time], rising, UTC: when it happened (a session's close).
    knowledge_times_ns: int64 [time], not falling, UTC: the decision instant of each row: its event time and the
        source's delay. A feature of row t uses only what was known then.
    instruments: the columns' names.
    revisions: cells that changed after their row's decision instant (late and restated values).
    """

    input: str
    values: Floats
    event_times_ns: Times
    knowledge_times_ns: Times
    instruments: tuple[str, ...]
    revisions: Revisions = field(default_factory=Revisions)

    def __post_init__(self) -> None:
        shape = (len(self.event_times_ns), len(self.instruments))
        if self.values.shape != shape or self.values.dtype != np.float64:
            raise PanelError(
                f"panel {self.input}: expected float64 values of shape {shape}, "
                f"found {self.values.dtype} {self.values.shape}; rows are times, columns instruments"
            )
        if len(self.knowledge_times_ns) != shape[0]:
            raise PanelError(
                f"panel {self.input}: expected {shape[0]} knowledge times, found {len(self.knowledge_times_ns)}"
            )
        if len(set(self.instruments)) != shape[1]:
            raise PanelError(f"panel {self.input}: expected distinct instruments, found a duplicate; name each once")
        if (np.diff(self.event_times_ns) <= 0).any() or (np.diff(self.knowledge_times_ns) < 0).any():
            raise PanelError(f"panel {self.input}: expected rising event and knowledge times; sort the rows by time")
        if (self.knowledge_times_ns < self.event_times_ns).any():
            raise PanelError(f"panel {self.input}: a knowledge time lies before its event time; correct the times")

    def until(self, known_at_ns: int) -> Panel:
        """The panel as it was known at `known_at_ns`: later rows are gone, later revisions undone."""
        rows = int(np.searchsorted(self.knowledge_times_ns, known_at_ns, side="right"))
        later = self.revisions.known_ns > known_at_ns
        values = self.values[:rows].copy()
        self.revisions.take(later).undo(values)
        return replace(
            self,
            values=values,
            event_times_ns=self.event_times_ns[:rows],
            knowledge_times_ns=self.knowledge_times_ns[:rows],
            revisions=self.revisions.take(~later),
        )

    def window_as_known(self, row: int, length: int, known_at_ns: int) -> Floats:
        """Values [length, instrument] of the rows up to and including `row` as known at `known_at_ns`.

        Rows before the panel's first are NaN. A copy.
        """
        first = row - length + 1
        window = np.full((length, len(self.instruments)), np.nan)
        window[max(0, -first) :] = self.values[max(0, first) : row + 1]
        self.revisions.take(self.revisions.known_ns > known_at_ns).undo(window, first_row=first)
        return window
