"""The counts of the last sessions and their sum, kept as sessions come and go."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monitoring.reference import MISSING, Counts, Reference

_MIN_PRESENT = 0.5  # of the reference's own share of present values: below it there is nothing left to compare


class CountWindow:
    """Cell counts of at most `sessions` sessions, and their sum. One observation costs O(columns)."""

    def __init__(self, reference: Reference, sessions: int) -> None:
        self.reference = reference
        self._least_present = _MIN_PRESENT * _present_share(reference.counts)
        self._kept = np.zeros((sessions, *reference.counts.shape), dtype=np.int64)
        self.rearm()

    def rearm(self) -> None:
        """Forgets every session."""
        self._kept[:] = 0
        self._seen = 0
        self.sum: Counts = np.zeros_like(self.reference.counts)

    def add(self, counts: Counts) -> None:
        """Takes one session in; the oldest leaves a full window."""
        slot = self._seen % len(self._kept)
        self.sum += counts - self._kept[slot]
        self._kept[slot] = counts
        self._seen += 1

    @property
    def filled(self) -> int:
        """How many sessions the window holds."""
        return min(self._seen, len(self._kept))

    @property
    def rows(self) -> int:
        """How many rows the window holds, missing values included."""
        return int(self.sum[0].sum()) if len(self.sum) else 0

    @property
    def unmeasurable(self) -> npt.NDArray[np.bool_]:
        """bool [column]: too few values are present, against the reference's own share, to compare anything."""
        present = _present_share(self.sum)
        too_few: npt.NDArray[np.bool_] = (present == 0) | (present < self._least_present)
        return too_few


def _present_share(counts: Counts) -> npt.NDArray[np.float64]:
    total = counts.sum(axis=1)
    present: npt.NDArray[np.float64] = (total - counts[:, MISSING]) / np.maximum(total, 1)
    return present
