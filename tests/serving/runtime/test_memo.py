"""Scores that are kept: exact per (row version, release), whatever grows and whatever goes back."""

from __future__ import annotations

import numpy as np

from serving.runtime.memo import Memo


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_only_the_very_row_that_was_scored_is_known() -> None:
    memo = Memo()
    assert memo.keep(ints(3, 500), ints(7, 8), np.array([1.5, 2.5], np.float32)).tolist() == [True, True]
    scores, known = memo.look_up(ints(500, 3, 3, 4), ints(8, 7, 6, 7))
    assert known.tolist() == [True, True, False, False]
    assert scores[:2].tolist() == [2.5, 1.5]


def test_a_row_is_new_once_and_an_older_one_never_replaces_it() -> None:
    memo = Memo()
    assert memo.keep(ints(1), ints(5), np.array([1], np.float32)).tolist() == [True]
    assert memo.keep(ints(1), ints(5), np.array([9], np.float32)).tolist() == [False]
    assert memo.keep(ints(1), ints(4), np.array([9], np.float32)).tolist() == [False]
    assert memo.look_up(ints(1), ints(5))[0].tolist() == [1]


def test_an_empty_question_is_answered() -> None:
    scores, known = Memo().look_up(ints(), ints())
    assert (len(scores), len(known)) == (0, 0)
