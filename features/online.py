"""Features one row at a time: mirrored ring buffers, the same kernels, the same bits as batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from features.batch import evaluate_row
from features.definition import FeatureSet
from features.errors import PanelError

Floats = npt.NDArray[np.float64]


class OnlineFeatures:
    """The features of one set for one universe, fed row by row. It lives as long as its feed; not thread-safe.

    Each input has a ring of its last `max_window` rows, written twice side by side so that the newest window is
    always one contiguous slice.
    """

    def __init__(self, feature_set: FeatureSet, instruments: Sequence[str]) -> None:
        self.feature_set = feature_set
        self.instruments = tuple(instruments)
        self._length = feature_set.max_window
        self._rings = {name: np.full((len(self.instruments), 2 * self._length), np.nan) for name in feature_set.inputs}
        self._event_times_ns = np.full(self._length, np.iinfo(np.int64).min)
        self._next = 0  # where the next row is written
        self._newest_ns: int | None = None

    def push(self, event_time_ns: int, values: Mapping[str, Floats]) -> Floats:
        """Takes one row and returns its features, float64 [instrument, feature].

        event_time_ns: UTC; later than every row before. values: per input, float64 [instrument], NaN where absent.
        PanelError for a row that goes back in time, a missing input or a wrong shape; nothing is taken then.
        """
        self.take(event_time_ns, values)
        return self.latest()

    def take(self, event_time_ns: int, values: Mapping[str, Floats]) -> None:
        """Takes one row without computing anything: for warming up. As `push` otherwise."""
        if self._newest_ns is not None and event_time_ns <= self._newest_ns:
            raise PanelError(
                f"row at {event_time_ns}: expected an event time after {self._newest_ns}, found an older one; "
                "push rows in order, and correct old ones with restate()"
            )
        rows = {name: self._checked(name, values) for name in self._rings}
        for name, row in rows.items():
            self._write(name, self._next, row)
        self._event_times_ns[self._next] = event_time_ns
        self._next = (self._next + 1) % self._length
        self._newest_ns = event_time_ns

    def restate(self, event_time_ns: int, values: Mapping[str, Floats]) -> Floats:
        """Takes a correction of an earlier row at the moment it is known; returns the newest row's features again.

        values: per input that changes, float64 [instrument]; NaN leaves a cell as it is. A row older than the longest
        window touches nothing. PanelError when no row of that event time was ever pushed.
        """
        self.correct(event_time_ns, values)
        return self.latest()

    def correct(self, event_time_ns: int, values: Mapping[str, Floats]) -> None:
        """As `restate`, without computing anything."""
        if self._newest_ns is None or event_time_ns > self._newest_ns:
            raise PanelError(f"row at {event_time_ns}: expected a row that was pushed, found none; push it first")
        rows = {name: self._checked(name, values) for name in values}
        for at in np.flatnonzero(self._event_times_ns == event_time_ns):
            for name, row in rows.items():
                self._write(name, int(at), np.where(np.isnan(row), self._rings[name][:, at], row))

    def latest(self) -> Floats:
        """The newest row's features, float64 [instrument, feature]; all NaN before the first row."""
        newest = slice(self._next, self._next + self._length)
        return evaluate_row(self.feature_set, {name: ring[:, newest] for name, ring in self._rings.items()})

    def _write(self, name: str, at: int, row: Floats) -> None:
        self._rings[name][:, at] = row
        self._rings[name][:, at + self._length] = row

    def _checked(self, name: str, values: Mapping[str, Floats]) -> Floats:
        if name not in self._rings or name not in values:
            raise PanelError(
                f"row: expected inputs {', '.join(self._rings)}, found {', '.join(values)}; give {name!r} its values"
            )
        row = np.asarray(values[name], np.float64)
        if row.shape != (len(self.instruments),):
            raise PanelError(
                f"row of {name}: expected {len(self.instruments)} values, one per instrument, found shape {row.shape}"
            )
        return row
