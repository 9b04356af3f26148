"""Purging by label intervals: no overlap, no row lost; and the mistakes of others as named cases.

Oracle: the definition itself, pair by pair (López de Prado 2018, section 7.4).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from purgedcv import PurgedKFold, WalkForwardSplit

from training.errors import FoldError
from training.folds import purge, walk_forward


def overlaps(starts: np.ndarray, ends: np.ndarray, others: np.ndarray) -> np.ndarray:
    """bool [n]: whether each closed interval meets any of `others`, by comparing every pair."""
    return ((starts[:, None] <= ends[others][None, :]) & (ends[:, None] >= starts[others][None, :])).any(axis=1)


@st.composite
def intervals(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Unsorted, with duplicates and labels of any length: a panel whose horizons differ."""
    count = draw(st.integers(2, 40))
    starts = draw(hnp.arrays(np.int64, count, elements=st.integers(0, 60)))
    lengths = draw(hnp.arrays(np.int64, count, elements=st.integers(0, 15)))
    return starts, starts + lengths


@settings(max_examples=300, deadline=None)
@given(intervals(), st.data(), st.integers(0, 8))
def test_purging_drops_exactly_what_meets_a_test_label_or_is_embargoed(
    labels: tuple[np.ndarray, np.ndarray], data: st.DataObject, embargo: int
) -> None:
    starts, ends = labels
    test = data.draw(hnp.arrays(np.bool_, len(starts)))
    train = purge(starts, ends, test, embargo=embargo)
    held = np.flatnonzero(test)
    after = starts[:, None] - ends[held][None, :]
    embargoed = ((after > 0) & (after <= embargo)).any(axis=1)
    expected = ~test & ~overlaps(starts, ends, held) & ~embargoed
    np.testing.assert_array_equal(train, expected)


@settings(max_examples=300, deadline=None)
@given(intervals(), st.integers(0, 60), st.integers(1, 12), st.integers(0, 8), st.none() | st.integers(1, 20))
def test_walk_forward_only_looks_back_and_tests_every_later_sample_once(
    labels: tuple[np.ndarray, np.ndarray], first_test: int, step: int, embargo: int, window: int | None
) -> None:
    starts, ends = labels
    try:
        folds = list(walk_forward(starts, ends, first_test=first_test, step=step, embargo=embargo, train_window=window))
    except FoldError:
        reachable = np.unique(starts[starts >= first_test])
        assert not len(reachable) or not (ends < reachable[0] - embargo).any()
        return
    tested = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(np.sort(tested), np.flatnonzero(starts >= first_test))
    for fold in folds:
        assert len(fold.train)
        assert ends[fold.train].max() < starts[fold.test].min() - embargo
        assert not overlaps(starts, ends, fold.test)[fold.train].any()
        if window is None:  # no row is lost: all that was known is trained on
            known = ends < starts[fold.test].min() - embargo
            np.testing.assert_array_equal(fold.train, np.flatnonzero(known))
        else:
            assert len(np.unique(starts[fold.train])) <= window


def test_a_label_that_ends_on_the_first_test_day_is_purged() -> None:
    """mlfinlab #295: train events whose label ends inside the test were kept."""
    starts, ends = np.arange(10), np.arange(10) + 2
    test = starts >= 6
    np.testing.assert_array_equal(np.flatnonzero(purge(starts, ends, test)), [0, 1, 2, 3])


def test_a_label_that_envelops_the_test_is_purged() -> None:
    starts, ends = np.array([0, 3, 9]), np.array([8, 4, 9])
    np.testing.assert_array_equal(purge(starts, ends, np.array([False, True, False])), [False, False, True])


def test_the_window_ends_with_the_longest_test_label_not_the_first() -> None:
    """openquant #65: the window was closed at the first test label's end."""
    starts, ends = np.array([5, 6, 8, 12]), np.array([6, 10, 9, 13])
    test = np.array([True, True, False, False])
    np.testing.assert_array_equal(purge(starts, ends, test), [False, False, False, True])


def test_embargo_counts_from_each_test_label_s_end() -> None:
    """timeseriescv #8: the embargo was counted from the wrong index."""
    starts = np.arange(10)
    test = starts == 3
    np.testing.assert_array_equal(np.flatnonzero(purge(starts, starts, test, embargo=2)), [0, 1, 2, 6, 7, 8, 9])


def test_what_lies_between_two_test_blocks_stays() -> None:
    """Vibe-Trading #1204: with blocks apart from each other, everything between them was purged."""
    starts, ends = np.arange(30), np.arange(30) + 1
    test = (starts < 5) | (starts >= 25)
    np.testing.assert_array_equal(np.flatnonzero(purge(starts, ends, test)), np.arange(6, 24))


def test_rows_past_the_last_full_step_are_tested_too() -> None:
    """skfolio, n = 69 in 10 folds: the rows past the last fold were in no test set."""
    starts = np.arange(69)
    folds = list(walk_forward(starts, starts, first_test=9, step=7))
    assert len(folds) == 9
    assert folds[-1].test[-1] == 68


LENGTHS = np.random.default_rng(8).integers(1, 9, 100)  # label lengths in days, all different


def days(counts: np.ndarray) -> pd.Series:
    return pd.Series(pd.Timestamp("2001-01-01") + pd.to_timedelta(counts, unit="D"))


def test_purgedcv_walks_forward_over_the_same_rows() -> None:
    """Its intervals are half-open, ours closed: [start, end] in whole days is [start, end + 1)."""
    starts = np.arange(100)
    theirs = WalkForwardSplit(
        n_splits=5, test_size=10, prediction_times=days(starts), evaluation_times=days(starts + LENGTHS + 1)
    )
    ours = walk_forward(starts, starts + LENGTHS, first_test=50, step=10)
    for fold, (train, test) in zip(ours, theirs.split(np.zeros((100, 1))), strict=True):
        np.testing.assert_array_equal(fold.test, test)
        np.testing.assert_array_equal(fold.train, train)


def test_purgedcv_purges_the_same_rows_around_a_fold() -> None:
    starts = np.arange(100)
    theirs = PurgedKFold(n_splits=5, prediction_times=days(starts), evaluation_times=days(starts + LENGTHS + 1))
    for train, test in theirs.split(np.zeros((100, 1))):
        held = np.isin(starts, test)
        np.testing.assert_array_equal(np.flatnonzero(purge(starts, starts + LENGTHS, held)), train)


@pytest.mark.parametrize(
    ("starts", "ends", "message"),
    [
        ([3], [2], "end after they start, found 1"),
        ([1, 2], [2], "one start and one end"),
        ([], [], "one start and one end"),
    ],
)
def test_intervals_that_are_none_are_refused(starts: list[int], ends: list[int], message: str) -> None:
    with pytest.raises(FoldError, match=message):
        purge(np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), np.zeros(len(starts), dtype=bool))


@pytest.mark.parametrize(
    ("first_test", "step", "embargo", "message"),
    [
        (20, 5, 0, "at or after the first test time 20"),
        (0, 5, 0, "expected samples whose labels are known"),
        (5, 0, 0, "step >= 1"),
        (5, 5, -1, "embargo >= 0"),
    ],
)
def test_a_walk_forward_that_cannot_be_cut_is_refused(first_test: int, step: int, embargo: int, message: str) -> None:
    starts = np.arange(10)
    with pytest.raises(FoldError, match=message):
        list(walk_forward(starts, starts + 1, first_test=first_test, step=step, embargo=embargo))


def test_a_negative_embargo_is_refused() -> None:
    with pytest.raises(FoldError, match="embargo of 0 or more"):
        purge(np.arange(3), np.arange(3), np.ones(3, dtype=bool), embargo=-1)
