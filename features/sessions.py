"""Sessions of an exchange as plain arrays: which trading day an instant belongs to, and how many lie between two.

Freshness, silence, the next bar and 21/63/252-day windows are counted in sessions, so that a night or a holiday is
no outage. `features.calendars` fills these arrays; nothing here needs to know where they come from.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import CalendarError


@dataclass(frozen=True, eq=False)
class Calendar:
    """The sessions of one exchange between two stated dates.

    name: the exchange calendar's name, such as XNYS.
    sessions: datetime64[D] [session], rising: the trading days.
    closes_ns: int64 [session], rising: each day's close, UTC nanoseconds, early closes included.
    """

    name: str
    sessions: npt.NDArray[np.datetime64]
    closes_ns: npt.NDArray[np.int64]

    def close_ns(self, date: dt.date | np.datetime64) -> int:
        """The close of session `date`, UTC nanoseconds. CalendarError when `date` is no session."""
        return int(self.closes_ns[self.session_index(date)])

    def session_index(self, date: dt.date | np.datetime64) -> int:
        """The position of session `date` in `sessions`. CalendarError names the sessions around a missing one."""
        day = np.datetime64(str(date), "D")
        index = int(np.searchsorted(self.sessions, day))
        if index < len(self.sessions) and self.sessions[index] == day:
            return index
        raise CalendarError(f"{self.name}: expected a session, found {day}; {self._around(index)}")

    def index_at(self, instant_ns: int) -> int:
        """The index of the last session whose close is at or before `instant_ns`; −1 before the first close."""
        return int(np.searchsorted(self.closes_ns, instant_ns, side="right")) - 1

    def sessions_between(self, after_ns: int, until_ns: int) -> int:
        """How many closes lie in (after_ns, until_ns]; negative when the two are the wrong way round."""
        return self.index_at(until_ns) - self.index_at(after_ns)

    def next_close_ns(self, instant_ns: int) -> int:
        """The first close strictly after `instant_ns`, UTC nanoseconds."""
        return self.close_at(self.index_at(instant_ns) + 1)

    def close_at(self, index: int) -> int:
        """The close of session number `index`, UTC nanoseconds. CalendarError outside the calendar."""
        if not 0 <= index < len(self.closes_ns):
            raise CalendarError(
                f"{self.name}: expected a session number from 0 to {len(self.closes_ns) - 1}, found {index}; "
                f"the calendar was opened from {self.sessions[0]} to {self.sessions[-1]}"
            )
        return int(self.closes_ns[index])

    def session_of(self, instant_ns: int) -> np.datetime64:
        """The trading day whose close is the last one at or before `instant_ns`."""
        index = self.index_at(instant_ns)
        self.close_at(index)
        return np.datetime64(self.sessions[index], "D")

    def _around(self, index: int) -> str:
        before = str(self.sessions[index - 1]) if index > 0 else "none (the calendar starts later)"
        after = str(self.sessions[index]) if index < len(self.sessions) else "none (the calendar ends earlier)"
        return f"the session before it is {before}, the one after it {after}"
