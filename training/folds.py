"""Purged and embargoed folds by label intervals, never by row counts.

A sample carries a closed interval [start, end]: feature time to the time its label is known. Samples of one session
share it, so folds are cut on sessions and a session is never on both sides. Source: López de Prado, Advances in
Financial Machine Learning (2018), chapter 7; walk-forward needs purging too, because labels overhang the test's start.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import FoldError

Int = NDArray[np.int64]


@dataclass(frozen=True)
class Fold:
    """Sample positions, ascending: int64 [n_train] and int64 [n_test]; their label intervals never meet."""

    train: Int
    test: Int


def purge(starts: Int, ends: Int, test: NDArray[np.bool_], *, embargo: int = 0) -> NDArray[np.bool_]:
    """bool [n]: which samples may be trained on when `test` is held out.

    starts, ends, embargo: one unit, any integer clock (ns, sessions); intervals are closed. `test`: bool [n], need not
    be contiguous: each test interval purges only what it meets itself. Left out are the test samples, every sample
    whose interval intersects a test interval (start inside, end inside, or enveloping), and every sample that starts
    within (end, end + embargo] of a test interval. Duplicates and unsorted samples are fine. O(n log n).
    """
    _check_intervals(starts, ends)
    if embargo < 0:
        raise FoldError(f"expected an embargo of 0 or more, found {embargo}")
    if not test.any():
        return np.ones(len(starts), dtype=np.bool_)
    meets = _intersects(starts, ends, starts[test], ends[test])
    test_ends = np.sort(ends[test])
    # a test end in [start - embargo, start) embargoes the sample
    first = np.searchsorted(test_ends, starts - embargo, side="left")
    embargoed = np.searchsorted(test_ends, starts, side="left") > first
    return ~(test | meets | embargoed)


def walk_forward(
    starts: Int, ends: Int, *, first_test: int, step: int, embargo: int = 0, train_window: int | None = None
) -> Iterator[Fold]:
    """Folds that only ever look back: test blocks of `step` distinct starts from `first_test` on, in order.

    Every sample whose start is at or after `first_test` is tested exactly once. It is trained on every sample that is
    purged of the block and ends before the block's first start less `embargo` (a gap in the clock's unit); with
    `train_window`, on those of the last so many distinct starts. FoldError for a block with nothing to train on.
    """
    _check_intervals(starts, ends)
    if step < 1 or embargo < 0:
        raise FoldError(f"expected step >= 1 and embargo >= 0, found step {step} and embargo {embargo}")
    times = np.unique(starts)
    blocks = times[times >= first_test]
    if not len(blocks):
        raise FoldError(f"expected samples at or after the first test time {first_test}, found none; test earlier")
    for at in range(0, len(blocks), step):
        block = blocks[at : at + step]
        test = (starts >= block[0]) & (starts <= block[-1])
        train = purge(starts, ends, test) & (ends < block[0] - embargo)
        if not train.any():
            raise FoldError(
                f"expected samples whose labels are known {embargo} before {int(block[0])}, found none; "
                "give more history or a later first test"
            )
        yield Fold(np.flatnonzero(_newest(starts, train, train_window)), np.flatnonzero(test))


def _newest(starts: Int, train: NDArray[np.bool_], window: int | None) -> NDArray[np.bool_]:
    if window is None:
        return train
    first = np.unique(starts[train])[-window:][0]
    return np.asarray(train & (starts >= first))


def _intersects(starts: Int, ends: Int, other_starts: Int, other_ends: Int) -> NDArray[np.bool_]:
    """bool [n]: whether [start, end] meets any of the other closed intervals."""
    order = np.argsort(other_starts, kind="stable")
    furthest = np.maximum.accumulate(other_ends[order])  # the latest end among intervals that start so early
    position = np.searchsorted(other_starts[order], ends, side="right") - 1
    return (position >= 0) & (furthest[np.maximum(position, 0)] >= starts)


def _check_intervals(starts: Int, ends: Int) -> None:
    if starts.shape != ends.shape or starts.ndim != 1 or not len(starts):
        raise FoldError(f"expected one start and one end a sample, found shapes {starts.shape} and {ends.shape}")
    backward = np.flatnonzero(ends < starts)
    if len(backward):
        raise FoldError(
            f"expected label intervals that end after they start, found {len(backward)} that do not "
            f"(first at sample {int(backward[0])})"
        )
