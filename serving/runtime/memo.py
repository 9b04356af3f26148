"""Scores that are still right: one per (row version, release).

A row that has not changed is not scored again, and is recorded once. This is exact: a score is a function of the row
and the release alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NEVER = np.iinfo(np.int64).min  # no row has this sequence
_FIRST_SIZE = 64


class Memo:
    """One release's scores of one feature table, by slot. Lives as long as the release is loaded."""

    def __init__(self) -> None:
        self._sequences = np.full(_FIRST_SIZE, NEVER, np.int64)
        self._scores = np.full(_FIRST_SIZE, np.nan, np.float32)

    def look_up(self, slots: Int64s, sequences: Int64s) -> tuple[Float32s, Bools]:
        """(scores, known) of the rows `sequences` at `slots`; where not known, the score is meaningless."""
        self._reach(slots)
        return self._scores[slots], self._sequences[slots] == sequences

    def keep(self, slots: Int64s, sequences: Int64s, scores: Float32s) -> Bools:
        """Keeps the scores of these rows; returns bool [n]: which of them had not been scored before."""
        self._reach(slots)
        new = self._sequences[slots] < sequences
        at = slots[new]
        self._sequences[at] = sequences[new]
        self._scores[at] = scores[new]
        return new

    def _reach(self, slots: Int64s) -> None:
        last = int(slots.max(initial=-1))
        size = len(self._sequences)
        if last < size:
            return
        more = max(last + 1, 2 * size) - size
        self._sequences = np.concatenate([self._sequences, np.full(more, NEVER, np.int64)])
        self._scores = np.concatenate([self._scores, np.full(more, np.nan, np.float32)])
