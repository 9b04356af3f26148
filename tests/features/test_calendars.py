import datetime as dt

import numpy as np
import pytest

from features.calendars import open_calendar
from features.errors import CalendarError
from features.sessions import Calendar


def ns(text: str) -> int:
    return int(np.datetime64(text, "ns").astype(np.int64))


def test_reaches_back_beyond_the_demo_and_ahead_of_now(calendar: Calendar) -> None:
    assert str(calendar.sessions[0]) == "1985-01-02"
    assert str(calendar.sessions[-1]) == "2030-12-31"


# Source: NYSE holidays and early closings.
@pytest.mark.parametrize(
    ("date", "close"),
    [
        ("2022-12-28", "2022-12-28T21:00:00"),
        ("2022-07-01", "2022-07-01T20:00:00"),  # daylight saving
        ("2022-11-25", "2022-11-25T18:00:00"),  # the day after Thanksgiving closes at 13:00
    ],
)
def test_closes(calendar: Calendar, date: str, close: str) -> None:
    assert calendar.close_ns(dt.date.fromisoformat(date)) == ns(close)
    assert calendar.close_ns(np.datetime64(date)) == ns(close)


def test_a_holiday_is_no_session_and_its_neighbours_are_named(calendar: Calendar) -> None:
    with pytest.raises(
        CalendarError, match=r"found 2001-09-12; .* before it is 2001-09-10, the one after it 2001-09-17"
    ):
        calendar.close_ns(dt.date(2001, 9, 12))


def test_dates_outside_the_calendar(calendar: Calendar) -> None:
    with pytest.raises(CalendarError, match="starts later"):
        calendar.close_ns(dt.date(1970, 1, 1))
    with pytest.raises(CalendarError, match="ends earlier"):
        calendar.close_ns(dt.date(2040, 1, 3))


def test_a_weekend_counts_no_sessions(calendar: Calendar) -> None:
    friday, monday = calendar.close_ns(dt.date(2022, 7, 8)), calendar.close_ns(dt.date(2022, 7, 11))
    assert calendar.sessions_between(friday, monday - 1) == 0
    assert calendar.sessions_between(friday, monday) == 1
    assert calendar.sessions_between(monday, friday) == -1
    assert calendar.next_close_ns(friday) == monday
    assert calendar.next_close_ns(friday - 1) == friday
    assert str(calendar.session_of(monday - 1)) == "2022-07-08"


def test_the_ends(calendar: Calendar) -> None:
    assert calendar.index_at(0) == -1
    assert calendar.next_close_ns(0) == calendar.closes_ns[0]
    with pytest.raises(CalendarError, match="opened from 1985-01-02"):
        calendar.session_of(0)
    with pytest.raises(CalendarError, match="expected a session number from 0"):
        calendar.next_close_ns(int(calendar.closes_ns[-1]))


def test_unknown_name() -> None:
    with pytest.raises(CalendarError, match="found 'NYSE of old'"):
        open_calendar("NYSE of old")


def test_is_opened_once_and_cannot_be_written_to(calendar: Calendar) -> None:
    assert open_calendar("XNYS") is calendar
    with pytest.raises(ValueError, match="read-only"):
        calendar.closes_ns[0] = 0
