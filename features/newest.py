"""The newest row's values of every instrument's own features, evaluated together as far as they can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from features.definition import Feature, FeatureSet
from features.evaluate import canonical, evaluate, window_values

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Rows = slice | Integers
Cut = tuple[int, int]  # which panel, how many rows


class Newest:
    """A table [instrument, feature] of the newest row; NaN for an instrument that has none. It lives as long as a feed.

    Kernels are called one by one. What surrounds them, cutting windows and the missing rule, is done for all of them at
    once: it is what takes time when the windows are those of one instrument.

    features: windows, accumulations and scans. panels: the names of the rings' panels, in order.
    """

    def __init__(self, features: Sequence[Feature], panels: Sequence[str], instruments: int) -> None:
        self._column = {each: at for at, each in enumerate(features)}
        self._values = np.full((instruments, len(features)), np.nan)
        place = {name: at for at, name in enumerate(panels)}
        self._strict = [each for each in features if each.kind == "window" and each.missing == "strict"]
        self._apart = [each for each in features if each not in self._strict and each.kind != "scan"]
        self._cuts = {each: [(place[name], each.reach) for name in each.panels] for each in features}
        self._distinct = {cut for each in (*self._strict, *self._apart) for cut in self._cuts[each]}
        self._columns = np.array([self._column[each] for each in self._strict], np.int64)
        self._windows = np.array([each.window for each in self._strict], np.int64)
        most = max((len(each.panels) for each in self._strict), default=0)
        read = [[place[name] for name in each.panels] for each in self._strict]
        padded = [each + each[:1] * (most - len(each)) for each in read]
        self._panels = np.array(padded, np.int64).reshape(len(read), most)

    def forget(self) -> None:
        """A new row begins: no instrument has values."""
        self._values.fill(np.nan)

    def columns(self) -> Iterator[tuple[Feature, Floats]]:
        """Each feature and its values [instrument]."""
        return ((each, self._values[:, at]) for each, at in self._column.items())

    def of(self, feature_set: FeatureSet, instrument: int) -> Floats:
        """The set's columns of one instrument, float64 [feature]; NaN for cross-sections."""
        values = self._values[instrument].tolist()
        columns = [self._column.get(each) for each in feature_set.features]
        return np.array([np.nan if at is None else values[at] for at in columns])

    def put(self, feature: Feature, rows: Rows, values: Floats) -> None:
        """Sets a feature's values [instrument] that were computed elsewhere."""
        self._values[rows, self._column[feature]] = values

    def evaluate(self, rows: Rows, rings: Floats, times_ns: Integers) -> None:
        """Evaluates windows and accumulations of some instruments from rings [panel, instrument, row], newest last.

        rings: not written to, and marked so. times_ns: int64 [row], event times; the smallest int64 where there is no
        row yet.
        """
        windows = {cut: _window(rings, cut) for cut in self._distinct}
        for feature in self._apart:
            first = None
            if feature.span_ns is not None:
                inside = int((times_ns[-feature.window :] > times_ns[-1] - feature.span_ns).sum())
                first = np.full(rings.shape[1], feature.window - inside)
            self.put(feature, rows, evaluate(feature, [windows[cut] for cut in self._cuts[feature]], first))
        if self._strict:
            raw = np.empty((rings.shape[1], len(self._strict)))
            for at, feature in enumerate(self._strict):
                raw[:, at] = window_values(feature, [windows[cut] for cut in self._cuts[feature]])
            whole = _rows_without_gap(rings)[self._panels].min(1) >= self._windows[:, None]
            self._values[rows if isinstance(rows, slice) else rows[:, None], self._columns] = canonical(raw, whole.T)


def _window(rings: Floats, cut: Cut) -> Floats:
    panel, length = cut
    window = rings[panel, :, rings.shape[2] - length :]
    if rings.shape[1] > 1:
        window = np.ascontiguousarray(window)
        window.flags.writeable = False
    return window


def _rows_without_gap(rings: Floats) -> Integers:
    """int64 [panel, instrument]: how many rows back from the newest one on are all there."""
    missing = ~np.isfinite(rings)[..., ::-1]
    back = missing.argmax(-1)
    back[(back == 0) & ~missing[..., 0]] = rings.shape[2]
    return np.asarray(back)
