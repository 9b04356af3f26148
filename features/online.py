"""Features event by event: mirrored ring buffers, the same kernels, the same bits as batch."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from features.definition import Feature, FeatureSet
from features.errors import PanelError
from features.evaluate import across, quiet
from features.follow import Follower
from features.newest import Newest

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NO_ROW_NS = np.iinfo(np.int64).min  # the event time where a ring holds no row yet


class OnlineFeatures:
    """The features of one set for one universe. It lives as long as its feed; not thread-safe.

    A row is what all instruments have at one event time. Each input has a ring of its last `max_window` rows, written
    twice side by side so that the newest window is always one contiguous slice. An instrument's own features are
    evaluated when something of it changed, cross-sections when they are asked for (`latest`): that is the cut-off.
    """

    def __init__(self, feature_set: FeatureSet, instruments: Sequence[str]) -> None:
        self.feature_set = feature_set
        self.instruments = tuple(instruments)
        self._place = {name: at for at, name in enumerate(self.instruments)}
        self._length = feature_set.max_window
        count = len(self.instruments)
        self._panel = {name: at for at, name in enumerate(feature_set.inputs)}
        self._rings = np.full((len(self._panel), count, 2 * self._length), np.nan)
        self._seen = self._rings.view()  # what kernels get to see
        self._seen.flags.writeable = False
        self._times_ns = np.full(2 * self._length, NO_ROW_NS)
        self._next = 0  # where the next row is written
        self._newest_ns: int | None = None
        own = [each for each in feature_set.computed if not each.across]
        self._own = Newest(own, feature_set.inputs, count)
        self._stale = np.zeros(count, np.bool_)
        self._followers = [Follower(each, count) for each in own if each.kind == "scan"]

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
        rows = {name: self._checked(name, values) for name in self._panel}
        self._begin_row(event_time_ns)
        for name, row in rows.items():
            self._write(name, self._newest, slice(None), row)
        self._changed(slice(None), older=False)

    def update(self, instrument: str, event_time_ns: int, values: Mapping[str, float]) -> Floats:
        """Takes what one instrument had at one event time; returns its newest row's features, float64 [feature].

        An event time after the newest row's begins a row, in which the others are missing until they come. An older
        one is late or a correction: it is taken as known from now on. values: the inputs that change; NaN leaves one
        as it is. A cross-sectional feature is NaN here: it is taken at the cut-off, by `latest`. PanelError for an
        unknown instrument or input, or an event time between rows or before them all; nothing is taken then.
        """
        at = self._place.get(instrument)
        if at is None:
            near = ", ".join(difflib.get_close_matches(instrument, self.instruments, n=3)) or "none"
            raise PanelError(f"instrument {instrument!r}: expected one of the universe, found none; near are {near}")
        unknown = [name for name in values if name not in self._panel]
        if unknown:
            raise PanelError(f"row: expected inputs {', '.join(self._panel)}, found {', '.join(unknown)}; leave it out")
        place = slice(at, at + 1)
        if self._newest_ns is None or event_time_ns > self._newest_ns:
            self._begin_row(event_time_ns)
        column = self._column(event_time_ns)
        for name, value in values.items():
            if column is not None and value == value:
                self._write(name, column, place, value)
        if column is not None:
            self._changed(place, older=column != self._newest)
        self._refresh()
        return self._own.of(self.feature_set, at)

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
        column = self._column(event_time_ns)
        if column is None:
            return
        for name, row in rows.items():
            at = np.flatnonzero(~np.isnan(row))
            self._write(name, column, at, row[at])
            self._changed(at, older=column != self._newest)

    def latest(self) -> Floats:
        """The newest row's features, float64 [instrument, feature]; all NaN before the first row."""
        self._refresh()
        columns = {each: np.ascontiguousarray(own) for each, own in self._own.columns()}
        with quiet():
            for feature in self.feature_set.cross_sections:
                columns[feature] = self._across(feature, columns)
        return np.stack([columns[each] for each in self.feature_set.features], axis=1)

    @property
    def _newest(self) -> int:
        return (self._next - 1) % self._length

    def _across(self, feature: Feature, columns: Mapping[Feature, Floats]) -> Floats:
        read = [columns[each] if isinstance(each, Feature) else self._newest_of(each) for each in feature.read]
        return np.asarray(across(feature, [each[None] for each in read])[0])

    def _begin_row(self, event_time_ns: int) -> None:
        with quiet():
            for follower in self._followers:
                self._rewrite(follower)
                newest = [self._newest_of(name) for name in follower.feature.panels]
                follower.begin_row(newest, event_time_ns, self._newest_ns)
        for column in (self._next, self._next + self._length):
            self._times_ns[column] = event_time_ns
            self._rings[:, :, column] = np.nan
        self._next = (self._next + 1) % self._length
        self._newest_ns = event_time_ns
        self._own.forget()
        self._stale[:] = False

    def _changed(self, at: slice | Integers, *, older: bool) -> None:
        self._stale[at] = True
        for follower in self._followers:
            follower.mark(at, older=older)

    def _refresh(self) -> None:
        """Evaluates anew the own features of instruments of which something changed."""
        at = np.flatnonzero(self._stale)
        if not len(at):
            return
        rows: slice | Integers = at
        if len(at) in (1, len(self._stale)):
            rows = slice(int(at[0]), int(at[-1]) + 1)
        newest = slice(self._next, self._next + self._length)
        rings = self._seen[:, rows, newest]
        rings.flags.writeable = False
        with quiet():
            for follower in self._followers:
                self._rewrite(follower)
                row = [self._newest_of(name)[rows] for name in follower.feature.panels]
                self._own.put(follower.feature, rows, follower.values(rows, row))
            self._own.evaluate(rows, rings, self._times_ns[newest])
        self._stale[rows] = False

    def _rewrite(self, follower: Follower) -> None:
        at = follower.rewritten
        if len(at):
            before = slice(self._next, self._next + self._length - 1)  # all but the newest row
            follower.rewrite([self._rings[self._panel[name], at, before] for name in follower.feature.panels], at)

    def _newest_of(self, name: str) -> Floats:
        """The newest row [instrument] of an input; a copy."""
        return self._rings[self._panel[name], :, self._newest].copy()

    def _column(self, event_time_ns: int) -> int | None:
        """Where the ring holds the row of this event time; None for one older than the ring."""
        times = self._times_ns[self._next : self._next + self._length]
        at = int(np.searchsorted(times, event_time_ns))
        if times[at] == event_time_ns:
            return (self._next + at) % self._length
        if at == 0 or times[at - 1] == NO_ROW_NS:
            return None
        raise PanelError(
            f"row at {event_time_ns}: expected the event time of a row, found one between {times[at - 1]} and "
            f"{times[at]}; begin every row in its turn, with NaN for what is not known yet"
        )

    def _write(self, name: str, column: int, at: slice | Integers, row: Floats | float) -> None:
        ring = self._rings[self._panel[name]]
        ring[at, column] = row
        ring[at, column + self._length] = row

    def _checked(self, name: str, values: Mapping[str, Floats]) -> Floats:
        if name not in self._panel or name not in values:
            raise PanelError(
                f"row: expected inputs {', '.join(self._panel)}, found {', '.join(values)}; give {name!r} its values"
            )
        row = np.asarray(values[name], np.float64)
        if row.shape != (len(self.instruments),):
            raise PanelError(
                f"row of {name}: expected {len(self.instruments)} values, one per instrument, found shape {row.shape}"
            )
        return row
