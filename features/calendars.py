"""Exchange calendars by name, opened with an explicit start and end so that the same name means the same sessions."""

from __future__ import annotations

import functools

import exchange_calendars
import numpy as np
from exchange_calendars.errors import CalendarError as ForeignCalendarError

from features.errors import CalendarError
from features.sessions import Calendar

__all__ = ["FIRST_DATE", "LAST_DATE", "Calendar", "open_calendar"]

FIRST_DATE = "1985-01-01"  # exchange_calendars' own default is the last twenty years, which moves with the day
LAST_DATE = "2030-12-31"


@functools.cache
def open_calendar(name: str) -> Calendar:
    """The calendar of exchange `name` (XNYS, XLON, ...) from 1985 to the end of 2030; cached for the process.

    Source: the exchange_calendars package. CalendarError when it has no calendar of that name, or none that reaches
    over these years.
    """
    try:
        calendar = exchange_calendars.get_calendar(name, start=FIRST_DATE, end=LAST_DATE)
    except (ForeignCalendarError, ValueError) as error:
        raise CalendarError(
            f"calendar: expected an exchange calendar from {FIRST_DATE} to {LAST_DATE}, found {name!r} ({error}); "
            "use a market identifier such as XNYS"
        ) from error
    closes = calendar.closes
    return Calendar(
        name=name,
        sessions=_frozen(closes.index.values.astype("datetime64[D]")),
        closes_ns=_frozen(closes.values.astype("datetime64[ns]").astype(np.int64)),
    )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array
