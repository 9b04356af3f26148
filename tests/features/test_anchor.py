from __future__ import annotations

import datetime as dt

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.anchor import UNKNOWN, Anchor
from features.errors import PanelError

DAY = 86_400 * 10**9


def closes(first: dt.date, days: int, *, without: tuple[dt.date, ...] = ()) -> npt.NDArray[np.int64]:
    """21:00 UTC of every day but those left out."""
    dates = [first + dt.timedelta(days=at) for at in range(days)]
    kept = [each for each in dates if each not in without]
    return np.array([(each - dt.date(1970, 1, 1)).days * DAY + 75_600 * 10**9 for each in kept], np.int64)


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        (Anchor("month"), [UNKNOWN] * 2 + [2] * 29 + [31] * 4),
        (Anchor("month", before=1), [UNKNOWN] * 31 + [2] * 4),
        (Anchor("day"), [UNKNOWN, *range(1, 35)]),
        (Anchor("quarter"), [UNKNOWN] * 35),
        (Anchor("year"), [UNKNOWN] * 35),
    ],
)
def test_the_row_at_which_a_recursion_starts(anchor: Anchor, expected: list[int]) -> None:
    times = closes(dt.date(2020, 1, 30), 35)  # to 4 March of a leap year
    assert anchor.starts(times, 100).tolist() == expected


def test_weeks_begin_on_monday_and_years_in_january() -> None:
    times = closes(dt.date(2023, 12, 29), 14)  # a Friday
    assert Anchor("week").firsts(times).tolist() == [3, 10]
    assert Anchor("year").firsts(times).tolist() == Anchor("quarter").firsts(times).tolist() == [3]


def test_a_holiday_moves_the_anchor_to_the_first_row_there_is() -> None:
    times = closes(dt.date(2023, 12, 30), 5, without=(dt.date(2024, 1, 1),))
    assert Anchor("year").firsts(times).tolist() == [2]


def test_more_rows_than_declared_are_refused() -> None:
    times = closes(dt.date(2020, 1, 31), 20)
    assert Anchor("month").starts(times, 19)[-1] == 1
    with pytest.raises(PanelError, match=r"at most 18 rows since its anchor \(first row of the month\), found 19"):
        Anchor("month").starts(times, 18)


@given(start=st.integers(0, 400), days=st.integers(1, 900), before=st.integers(0, 2))
def test_the_start_is_the_same_however_much_came_before(start: int, days: int, before: int) -> None:
    """Where both know it; a shorter history may only not know."""
    times = closes(dt.date(2001, 3, 1), 1300)
    anchor = Anchor("quarter", before)
    whole, part = anchor.starts(times, 10**6), anchor.starts(times[start : start + days], 10**6)
    shifted = np.where(part == UNKNOWN, UNKNOWN, part + start)
    known = shifted != UNKNOWN
    np.testing.assert_array_equal(shifted[known], whole[start : start + days][known])
    reach = np.arange(start, start + len(part)) - whole[start : start + days] + 1
    enough = (whole[start : start + days] != UNKNOWN) & (np.arange(len(part)) >= reach)
    assert known[enough].all()
