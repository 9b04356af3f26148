"""Recursions: one step after the other from an anchor on, the same step whoever asks.

A step works element by element, so that it gives the same bits for one instrument and for a thousand. A row with a
missing input is passed over: the state stays, and the row itself has no value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.definition import Feature
from features.evaluate import all_present, canonical, step, usable

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Progress:
    """How far a scan has come, for many entities at once.

    state: float64 [states, entity]. seen: int64 [entity], rows taken since the anchor. newest: bool [entity], whether
    the last row was one of them.
    """

    state: Floats
    seen: Integers
    newest: Mask

    def values(self, feature: Feature) -> Floats:
        """The feature's values [entity] at the last row."""
        return canonical(self.state[0], usable(feature, self.newest, self.seen))

    def at(self, entities: slice | Integers) -> Progress:
        """That of some entities alone."""
        return Progress(self.state[:, entities], self.seen[entities], self.newest[entities])

    def put(self, at: slice | Integers, other: Progress) -> None:
        """Overwrites the entities `at` with those of `other`, in place."""
        self.state[:, at] = other.state
        self.seen[at] = other.seen
        self.newest[at] = other.newest


def fresh(feature: Feature, entities: int) -> Progress:
    """At the anchor, before its row."""
    return Progress(
        np.full((feature.states, entities), np.nan), np.zeros(entities, np.int64), np.zeros(entities, np.bool_)
    )


def advance(feature: Feature, progress: Progress, row: Sequence[Floats], begun: Mask | None = None) -> Progress:
    """One row [entity] per input further. begun: bool [entity], where the anchor lies at or before the row."""
    present = all_present(row)
    if begun is not None:
        present &= begun
    state = np.where(present, step(feature, progress.state, row), progress.state)
    return Progress(state, progress.seen + present, present)


def run(feature: Feature, windows: Sequence[Floats], first: Integers) -> Progress:
    """From the anchors to the newest row. windows: float64 [entity, rows] per input, newest last.

    first: int64 [entity], the column of each entity's anchor; the number of columns where it has none.
    """
    entities, rows = windows[0].shape
    progress = fresh(feature, entities)
    for column in range(int(first.min(initial=rows)), rows):
        row = [np.ascontiguousarray(each[:, column]) for each in windows]
        progress = advance(feature, progress, row, first <= column)
    return progress
