"""How a book did in the markets' named bad times, where its record covers them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np

from promotion.evidence.arrays import Floats, Ints, observed
from promotion.evidence.drawdown import max_drawdown
from promotion.evidence.errors import ShapeError

__all__ = ["WINDOWS", "StressResult", "Window", "stress"]

Coverage = Literal["covered", "partly covered", "not covered"]
_DAY_NS = 86_400_000_000_000
_SLACK_DAYS = 4  # a record that begins on the Tuesday after a holiday covers a window that begins on the Saturday


@dataclass(frozen=True, slots=True)
class Window:
    """A named period, first and last day (UTC) included."""

    name: str
    first: date
    last: date


WINDOWS = (
    Window("2008 credit crisis", date(2008, 9, 1), date(2009, 3, 31)),
    Window("August 2015", date(2015, 8, 1), date(2016, 2, 29)),
    Window("February 2018", date(2018, 2, 1), date(2018, 2, 28)),
    Window("fourth quarter 2018", date(2018, 10, 1), date(2018, 12, 31)),
    Window("2020 pandemic", date(2020, 2, 19), date(2020, 3, 23)),
    Window("2022 rates", date(2022, 1, 1), date(2022, 10, 14)),
)


@dataclass(frozen=True, slots=True)
class StressResult:
    """One window; NaN where it is not covered.

    sessions: closes inside it; total_return, max_drawdown: compounded from its first close to its last;
    annual_volatility: of its sessions' returns, × √252.
    """

    window: Window
    coverage: Coverage
    sessions: int
    total_return: float
    annual_volatility: float
    max_drawdown: float


def stress(sessions_ns: Ints, returns: Floats, windows: tuple[Window, ...] = WINDOWS) -> tuple[StressResult, ...]:
    """Each window's result on `returns` [time] at session closes `sessions_ns` (int64 UTC ns, rising).

    A window is covered when the record reaches over both its ends, partly when it reaches over some of it. A window
    that is not covered is told so, never filled in.
    """
    returns = observed(returns, least=1)
    if sessions_ns.shape != returns.shape or (np.diff(sessions_ns) <= 0).any():
        raise ShapeError(
            f"stress: expected one rising time for each of {returns.shape} returns, found {sessions_ns.shape}; "
            "sort and align them"
        )
    return tuple(_inside(window, sessions_ns, returns) for window in windows)


def _inside(window: Window, sessions_ns: Ints, returns: Floats) -> StressResult:
    first, end = _day_ns(window.first), _day_ns(window.last) + _DAY_NS
    inside = returns[(sessions_ns >= first) & (sessions_ns < end)]
    if inside.size < 3:
        return StressResult(window, "not covered", inside.size, np.nan, np.nan, np.nan)
    held = inside[1:]  # the return into the first close was earned before the window
    slack = _SLACK_DAYS * _DAY_NS
    whole = sessions_ns[0] < first + slack and sessions_ns[-1] >= end - slack
    return StressResult(
        window,
        "covered" if whole else "partly covered",
        inside.size,
        float(np.prod(1 + held) - 1),
        float(inside.std(ddof=1) * np.sqrt(252)),
        max_drawdown(held),
    )


def _day_ns(day: date) -> int:
    return int(np.datetime64(day, "ns").astype(np.int64))
