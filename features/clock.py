"""Time as a value: whoever needs to know what time it is gets a `Clock` passed in (design D13)."""

from __future__ import annotations

import time
from typing import Protocol

from features.errors import ClockError


class Clock(Protocol):
    """Says what time it is, in UTC nanoseconds since 1970."""

    def now_ns(self) -> int:
        """The present instant, UTC nanoseconds."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_ns(self) -> int:
        """The machine's UTC time in nanoseconds; it may step when the machine's clock is set."""
        return time.time_ns()


class ReplayClock:
    """A clock that stands where the last pushed row put it; it exists in environment `replay` alone.

    It starts at 0 (1970), so that nothing is fresh before the first row came.

    >>> clock = ReplayClock("replay")
    >>> clock.advance_to(5)
    >>> clock.now_ns()
    5
    """

    def __init__(self, environment: str) -> None:
        if environment != "replay":
            raise ClockError(
                f"a replay clock: expected environment 'replay', found {environment!r}; use SystemClock there"
            )
        self._now_ns = 0

    def now_ns(self) -> int:
        """The instant of the last advance, UTC nanoseconds."""
        return self._now_ns

    def advance_to(self, instant_ns: int) -> None:
        """Moves the clock to `instant_ns`. Standing still is allowed; going back raises ClockError."""
        if instant_ns < self._now_ns:
            raise ClockError(
                f"replay clock: expected an instant of at least {self._now_ns}, found {instant_ns}; "
                "push rows in the order of their knowledge time"
            )
        self._now_ns = instant_ns
