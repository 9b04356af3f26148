"""A scan that follows a feed: its state behind the newest row, so that one more row is one more step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.definition import Feature
from features.errors import PanelError
from features.scan import Progress, advance, fresh, run

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Rows = slice | Integers


class Follower:
    """One scan over all instruments of a feed. It lives as long as the feed.

    A scan whose anchor lies some periods back is read while others, begun since, run along beside it: slot j holds the
    one begun j periods ago, and the last slot is the one that is read. Entities are instrument × slots + slot.
    """

    def __init__(self, feature: Feature, instruments: int) -> None:
        assert feature.anchor is not None  # declared so
        self.feature, self._anchor = feature, feature.anchor
        self._slots = feature.anchor.before + 1
        self._behind = fresh(feature, instruments * self._slots)  # before the newest row
        self._ahead = fresh(feature, instruments * self._slots)  # after it, where it has been taken
        self._taken = np.zeros(instruments, np.bool_)
        self._rewritten = np.zeros(instruments, np.bool_)  # an older row changed: the state behind is to be made anew
        self._ages: list[int] = []  # rows since each slot's anchor, both included

    def begin_row(self, newest: Sequence[Floats], event_time_ns: int, before_ns: int | None) -> None:
        """Leaves the newest row [instrument], of `before_ns` (None where there is none), behind; a row at
        `event_time_ns` begins. PanelError when it lies further from its anchor than the scan declared."""
        new_period = before_ns is not None and self._anchor.period_of(before_ns) < self._anchor.period_of(event_time_ns)
        ages = [0, *self._ages][: self._slots] if new_period else self._ages
        ages = [age + 1 for age in ages]
        if len(ages) == self._slots and ages[-1] > self.feature.window:
            raise PanelError(
                f"feature {self.feature.name}: expected at most {self.feature.window} rows since its anchor "
                f"({self._anchor}), found one more; declare a longer window or a nearer anchor"
            )
        if before_ns is not None and self._ages:
            left = np.flatnonzero(~self._taken)
            if len(left):
                self._take(left, [each[left] for each in newest])
            self._behind, self._ahead = self._ahead, self._behind
        self._taken[:] = False
        self._ages = ages
        if new_period:
            self._rotate()

    def mark(self, instruments: Rows, *, older: bool) -> None:
        """Cells of these instruments changed: in the newest row, or in an older one."""
        self._taken[instruments] = False
        if older:
            self._rewritten[instruments] = True

    @property
    def rewritten(self) -> Integers:
        """The instruments whose state has to be made anew from the rows."""
        return np.flatnonzero(self._rewritten)

    def rewrite(self, windows: Sequence[Floats], instruments: Integers) -> None:
        """Makes the state behind the newest row anew from windows [instrument, rows] that end before it."""
        count, rows = windows[0].shape
        spread = [np.repeat(each, self._slots, axis=0) for each in windows]
        # A slot's anchor lies `age` rows back, the newest row counted, which the windows do not hold.
        first = [rows + 1 - self._ages[slot] if slot < len(self._ages) else rows for slot in range(self._slots)]
        self._behind.put(self._entities(instruments), run(self.feature, spread, np.tile(np.array(first), count)))
        self._rewritten[instruments] = False

    def values(self, instruments: Rows, newest: Sequence[Floats]) -> Floats:
        """The values [instrument of these] at their newest row [instrument of these]."""
        if len(self._ages) < self._slots:
            return np.full(len(newest[0]), np.nan)
        return self._take(instruments, newest).at(slice(self._slots - 1, None, self._slots)).values(self.feature)

    def _take(self, instruments: Rows, newest: Sequence[Floats]) -> Progress:
        """Takes these instruments' newest row [instrument of these]; the progress of their slots."""
        at = self._entities(instruments)
        row = [each.repeat(self._slots) for each in newest]
        begun = None
        if len(self._ages) < self._slots:
            begun = np.tile(np.arange(self._slots) < len(self._ages), len(newest[0]))
        progress = advance(self.feature, self._behind.at(at), row, begun)
        self._ahead.put(at, progress)
        self._taken[instruments] = True
        return progress

    def _entities(self, instruments: Rows) -> Rows:
        if isinstance(instruments, slice):
            return slice(instruments.start * self._slots, instruments.stop * self._slots)
        return np.asarray((instruments[:, None] * self._slots + np.arange(self._slots)).ravel())

    def _rotate(self) -> None:
        instruments = len(self._taken)
        state = self._behind.state.reshape(-1, instruments, self._slots)
        state[..., 1:] = state[..., :-1].copy()
        state[..., 0] = np.nan
        seen = self._behind.seen.reshape(instruments, self._slots)
        seen[:, 1:] = seen[:, :-1].copy()
        seen[:, 0] = 0
