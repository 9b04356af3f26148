"""Where a recursion starts: at the first row of a calendar period, never at the first row there happens to be.

A recursive indicator (RSI, MACD, any EWMA) that starts wherever its history starts gives another value for every
length of history, and after a restart another than before it. One that starts at an anchor does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from features.errors import DefinitionError, PanelError

Times = npt.NDArray[np.int64]
Period = Literal["day", "week", "month", "quarter", "year"]

UNKNOWN = -1  # no anchor can be told from these rows
_DAY_NS = 86_400_000_000_000
_FIRST_MONDAY = 4  # 1970-01-05, in days


@dataclass(frozen=True)
class Anchor:
    """The first row of a period of the event time's UTC date, `before` periods before the row's own.

    `Anchor("day")`: the row's own day. `Anchor("year", before=1)`: the year before, so that a recursion has run for
    at least a year wherever it is read. DefinitionError for another period or a negative `before`.
    """

    period: Period
    before: int = 0

    def __post_init__(self) -> None:
        if self.period not in get_args(Period) or self.before < 0:
            raise DefinitionError(
                f"anchor: expected a period of {', '.join(get_args(Period))} and before >= 0, found {self.period!r} "
                f"and {self.before}; correct the declaration"
            )

    def __str__(self) -> str:
        return f"first row of the {self.period}" + (f", {self.before} before" if self.before else "")

    def periods(self, event_times_ns: Times) -> Times:
        """int64 [time]: the number of the period that each event time, UTC nanoseconds, lies in."""
        days = event_times_ns // _DAY_NS
        if self.period == "day":
            return days
        if self.period == "week":
            return (days - _FIRST_MONDAY) // 7
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        return np.asarray(months // {"month": 1, "quarter": 3, "year": 12}[self.period])

    def period_of(self, event_time_ns: int) -> int:
        """The number of the period that one event time lies in."""
        return int(self.periods(np.array([event_time_ns], np.int64))[0])

    def firsts(self, event_times_ns: Times) -> Times:
        """int64 [period]: the rows that begin a period, rising. The first row of all never counts: what came before
        it is not known, and it may lie in the middle of its period."""
        return np.flatnonzero(np.diff(self.periods(event_times_ns)) > 0) + 1

    def starts(self, event_times_ns: Times, most_rows: int) -> Times:
        """int64 [time]: the row at which the recursion that each row reads started; UNKNOWN where none is known.

        event_times_ns: rising. PanelError when more than `most_rows` rows lie between a row and its anchor, the two
        included: a feature may not read further back than it declared.
        """
        rows = np.arange(len(event_times_ns))
        firsts = self.firsts(event_times_ns)
        at = np.searchsorted(firsts, rows, side="right") - 1 - self.before
        starts = np.full(len(rows), UNKNOWN)
        starts[at >= 0] = firsts[at[at >= 0]]
        longest = int((rows - starts + 1)[starts != UNKNOWN].max(initial=0))
        if longest > most_rows:
            raise PanelError(
                f"scan: expected at most {most_rows} rows since its anchor ({self}), found {longest}; "
                "declare a longer window or a nearer anchor"
            )
        return starts
