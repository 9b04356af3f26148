"""A histogram of times with the same relative error from nanoseconds to days (HdrHistogram's log-linear buckets).

Each power of two is cut into 128 equal buckets, so a bucket is at most 1/128 (0.8 %) of its values wide, and values
below 256 have a bucket each. Counts of two histograms add up to the histogram of both, so runs and processes merge
without keeping a single time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]

_BITS = 7
_HALF = 1 << _BITS
_MOST = 1 << 53  # beyond that, bit lengths by float64 are not exact; as nanoseconds 104 days
RELATIVE_ERROR = 1 / _HALF


class Histogram:
    """Counts of int64 values from 0 to 2^53, nanoseconds by convention."""

    def __init__(self) -> None:
        self._counts = np.zeros(_index(np.array([_MOST - 1]))[0] + 1, np.int64)
        self._max = 0

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Self:
        """The histogram of `values`."""
        made = cls()
        made.record(np.asarray(values, np.int64))
        return made

    @classmethod
    def from_counts(cls, counts: Mapping[int, int], largest: int) -> Self:
        """What `counts` and `max` of another histogram say, as after a journey between processes."""
        made = cls()
        made._counts[list(counts)] = list(counts.values())
        made._max = largest
        return made

    @classmethod
    def merged(cls, histograms: Iterable[Self]) -> Self:
        """The histogram of all values of `histograms`."""
        made = cls()
        for each in histograms:
            made._counts += each._counts
            made._max = max(made._max, each._max)
        return made

    def record(self, values: Int64s) -> None:
        """Counts `values`, int64 [n]. ValueError for one below 0 or from 2^53 on; then none is counted."""
        if not len(values):
            return
        least, largest = int(values.min()), int(values.max())
        if least < 0 or largest >= _MOST:
            raise ValueError(f"histogram: expected values from 0 to 2^53, found {least} to {largest}")
        self._counts += np.bincount(_index(values), minlength=len(self._counts))
        self._max = max(self._max, largest)

    @property
    def counts(self) -> dict[int, int]:
        """Bucket → count, of buckets that are not empty."""
        filled = np.flatnonzero(self._counts)
        return dict(zip(filled.tolist(), self._counts[filled].tolist(), strict=True))

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self._counts.sum())

    @property
    def max(self) -> int:
        """The largest value, exactly; 0 for none."""
        return self._max

    @property
    def mean(self) -> float:
        """The mean of the buckets' middles. NaN for none."""
        filled = np.flatnonzero(self._counts)
        middles = (_lowest(filled) + _highest(filled)) / 2
        return float(np.average(middles, weights=self._counts[filled])) if len(filled) else float("nan")

    def percentile(self, percent: float) -> int:
        """A value that at least `percent` % of all do not exceed (nearest rank), never below the exact one.

        It is at most 0.8 % above it: the highest value of its bucket, or the maximum. ValueError when nothing was
        counted.
        """
        total = self.total
        if not total:
            raise ValueError("histogram: expected values before a percentile is asked for, found none")
        rank = max(int(np.ceil(percent / 100 * total)), 1)
        bucket = np.searchsorted(np.cumsum(self._counts), rank)
        return min(int(_highest(np.array([bucket]))[0]), self._max)


def _index(values: Int64s) -> Int64s:
    """The bucket of each value: bits above the leading eight are counted, the eight themselves kept."""
    _, length = np.frexp(values.astype(np.float64))
    shift = np.maximum(length - (_BITS + 1), 0).astype(np.int64)
    index: Int64s = shift * _HALF + (values >> shift)
    return index


def _lowest(index: Int64s) -> Int64s:
    shift = np.maximum(index // _HALF - 1, 0)
    lowest: Int64s = (index - shift * _HALF) << shift
    return lowest


def _highest(index: Int64s) -> Int64s:
    return _lowest(index + 1) - 1
