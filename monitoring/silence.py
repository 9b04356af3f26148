"""How long each thing the monitor needs has been missing, in sessions of the signal's calendar."""

from __future__ import annotations

MONITOR = "monitor"


class Silence:
    """Counts sessions without data. A night or a holiday is no silence; the monitor's own is the sessions it skipped.

    >>> silence = Silence("decisions", "outcomes")
    >>> silence.observe(100, {"decisions", "outcomes"})
    >>> silence.observe(103, {"outcomes"})
    >>> silence.lengths()
    {'monitor': 2, 'decisions': 3, 'outcomes': 0}
    """

    def __init__(self, *things: str) -> None:
        self._things = things
        self._last: dict[str, int] = {}
        self._session: int | None = None
        self._skipped = 0

    def observe(self, session: int, present: set[str] | frozenset[str]) -> None:
        """Takes in session number `session` of the calendar: which things were there."""
        self._skipped = 0 if self._session is None else session - self._session - 1
        self._session = session
        for thing in self._things:
            if thing in present:
                self._last[thing] = session
            self._last.setdefault(thing, session - 1)  # never there yet: missing since the watch began

    def lengths(self) -> dict[str, int]:
        """Sessions since each thing was there, 0 for now; `monitor`: the sessions skipped before this one."""
        session = self._session or 0
        return {MONITOR: self._skipped, **{thing: session - last for thing, last in self._last.items()}}
