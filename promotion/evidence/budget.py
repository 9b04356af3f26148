"""Thresholds that keep a budget: at most so many false alarms a year, counted as a desk would live them.

An alarm is an episode: a session in alarm after one that was not. A session's look is one of many at overlapping
windows, so no p value of a single look says how many episodes a year holds; they are counted on simulated healthy
paths instead. The threshold is the lowest (most sensitive) at which it, and every stricter one, keeps the budget.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from promotion.evidence.arrays import Floats, Ints
from promotion.evidence.errors import NotValidError

__all__ = ["SESSIONS_PER_YEAR", "budget_row", "episodes_per_year", "joint_thresholds", "thresholds_of"]

SESSIONS_PER_YEAR = 252
_CANDIDATES = 400  # levels tried, denser towards the tail
_LEAST = 1e-9  # a statistic below is this


def episodes_per_year(alarms: NDArray[np.bool_]) -> float:
    """Beginnings of alarm episodes a year over bool [path, session]; an alarm on a path's first look began before."""
    begun = alarms[:, 1:] & ~alarms[:, :-1]
    return float(begun.mean() * SESSIONS_PER_YEAR)


def thresholds_of(statistic: Floats, budgets: tuple[float, ...]) -> Floats:
    """Thresholds [budget]: "above it" keeps each budget of episodes a year on paths [path, session], large = bad."""
    ordered = np.sort(statistic, axis=None)
    levels = ordered[_ranks(ordered.size)]
    rates = np.array([episodes_per_year(statistic > level) for level in levels])
    return np.array([levels[_first_within(rates, budget)] for budget in budgets])


def joint_thresholds(statistics: Floats, budgets: tuple[float, ...], *, tolerance: Floats | float = 0.0) -> Floats:
    """Thresholds float64 [budget, statistic]: "any statistic above its own" keeps each budget of episodes a year.

    statistics: [path, session, statistic] of healthy paths, positive, large = bad, NaN = not measured. Each is taken
    on its own scale, the distance of its logarithm from the median in units of that of its 95 % quantile; one number
    on that scale, found for the largest of all statistics, is where dependence and multiplicity are paid for. (A rank
    as the scale would ask every statistic for a quantile beyond anything its record holds.) tolerance: what is too
    small to matter, however rare; no threshold is below it.
    """
    logs = np.log(np.maximum(statistics, _LEAST))
    middle, upper = np.nanquantile(logs, (0.5, 0.95), axis=(0, 1))
    scale = np.maximum(upper - middle, _LEAST)
    excess = np.where(statistics > tolerance, (logs - middle) / scale, -np.inf)
    common = thresholds_of(excess.max(axis=2), budgets)[:, None]
    thresholds: Floats = np.maximum(np.exp(middle + scale * common), tolerance)
    return thresholds


def budget_row(budgets: Floats, asked: float) -> int:
    """The row of the largest tabulated budget that is no larger than `asked`; NotValidError when there is none."""
    within = np.flatnonzero(budgets <= asked * (1 + 1e-12))
    if not within.size:
        raise NotValidError(
            f"false alarms a year: expected at least {budgets.min():g}, found {asked:g}; "
            "a rarer alarm cannot be calibrated on the simulated years"
        )
    return int(within[np.argmax(budgets[within])])


def _ranks(looks: int) -> Ints:
    """Order statistics to try, ascending to the largest: as many a decade of tail probability."""
    tails = np.geomspace(1, looks, _CANDIDATES)
    return np.unique(np.asarray(looks - np.round(tails), dtype=np.int64))


def _first_within(rates: NDArray[Any], budget: float) -> int:
    """The lowest level from which all rates keep the budget (the highest level has no alarm at all)."""
    over = np.flatnonzero(rates > budget)
    return int(over[-1]) + 1 if over.size else 0
