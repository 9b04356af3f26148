"""The newest row's values of every instrument's own features, evaluated together as far as they can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from features import evaluate as kernels
from features.definition import Feature, FeatureSet
from features.evaluate import all_present, canonical, evaluate

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Rows = slice | Integers


class Newest:
    """A table [instrument, feature] of the newest row; NaN for an instrument that has none. It lives as long as a feed.

    Kernels are called one by one; the missing rule is applied to all of them at once, which is what takes time when
    the windows are those of one instrument.
    """

    def __init__(self, features: Sequence[Feature], instruments: int) -> None:
        self._column = {each: at for at, each in enumerate(features)}
        self._values = np.full((instruments, len(features)), np.nan)
        plain = [each for each in features if each.kind == "window" and each.span_ns is None]
        self._apart = [each for each in features if each not in plain and each.kind != "scan"]
        self._plain = sorted(plain, key=lambda each: each.panels)
        self._columns = np.array([self._column[each] for each in self._plain], np.int64)
        self._min_rows = np.array([each.min_rows for each in self._plain], np.int64)
        names = dict.fromkeys(each.panels for each in self._plain)
        self._same_panels = {name: [at for at, each in enumerate(self._plain) if each.panels == name] for name in names}
        self._last = {
            name: (slice(at[0], at[-1] + 1), np.array([self._plain[each].window for each in at]) - 1)
            for name, at in self._same_panels.items()
        }

    def forget(self) -> None:
        """A new row begins: no instrument has values."""
        self._values.fill(np.nan)

    def columns(self) -> Iterator[tuple[Feature, Floats]]:
        """Each feature and its values [instrument]."""
        return ((each, self._values[:, at]) for each, at in self._column.items())

    def of(self, feature_set: FeatureSet, rows: Rows) -> Floats:
        """The set's columns of some instruments, float64 [instrument, feature]; NaN for cross-sections."""
        blank = np.full((self._values[rows].shape[0], len(feature_set)), np.nan)
        for at, each in enumerate(feature_set.features):
            if each in self._column:
                blank[:, at] = self._values[rows, self._column[each]]
        return blank

    def put(self, feature: Feature, rows: Rows, values: Floats) -> None:
        """Sets a feature's values [instrument] that were computed elsewhere."""
        self._values[rows, self._column[feature]] = values

    def evaluate(self, rows: Rows, rings: Mapping[str, Floats], times_ns: Integers) -> None:
        """Evaluates windows and accumulations of some instruments from rings [instrument, row], newest last.

        times_ns: int64 [row], event times; the smallest int64 where there is no row yet.
        """
        windows = _Windows(rings)
        for feature in self._apart:
            first = None
            if feature.span_ns is not None:
                inside = int((times_ns[-feature.window :] > times_ns[-1] - feature.span_ns).sum())
                first = np.full(windows.count, feature.window - inside)
            self.put(feature, rows, evaluate(feature, windows.of(feature), first))
        if self._plain:
            self._evaluate_plain(rows, windows)

    def _evaluate_plain(self, rows: Rows, windows: _Windows) -> None:
        raw = np.empty((windows.count, len(self._plain)))
        newest = np.empty(raw.shape, np.bool_)
        present = np.empty(raw.shape, np.int64)
        for names, (where, last) in self._last.items():
            there = all_present([windows.rings[name] for name in names])[:, ::-1]
            newest[:, where] = there[:, :1]
            present[:, where] = there[:, : int(last.max()) + 1].cumsum(1)[:, last]
        for at, feature in enumerate(self._plain):
            raw[:, at] = kernels.window_values(feature, windows.of(feature))
        values = canonical(raw, newest & (present >= self._min_rows))
        self._values[rows if isinstance(rows, slice) else rows[:, None], self._columns] = values


class _Windows:
    """The newest windows by input and length, each cut once."""

    def __init__(self, rings: Mapping[str, Floats]) -> None:
        self.rings = rings
        self.count = next(iter(rings.values())).shape[0]
        self._cut: dict[tuple[str, int], Floats] = {}

    def of(self, feature: Feature) -> list[Floats]:
        return [self._window(name, feature.reach) for name in feature.panels]

    def _window(self, name: str, length: int) -> Floats:
        window = self._cut.get((name, length))
        if window is None:
            window = self._cut[name, length] = np.ascontiguousarray(self.rings[name][:, -length:])
        return window
