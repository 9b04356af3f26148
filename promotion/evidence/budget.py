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

__all__ = ["SESSIONS_PER_YEAR", "budget_row", "episodes_per_year", "joint_thresholds"]

SESSIONS_PER_YEAR = 252
_CANDIDATES = 400  # levels tried, denser towards the tail


def episodes_per_year(alarms: NDArray[np.bool_]) -> float:
    """Beginnings of alarm episodes a year over bool [path, session]; an alarm on a path's first look began before."""
    begun = alarms[:, 1:] & ~alarms[:, :-1]
    return float(begun.mean() * SESSIONS_PER_YEAR)


def joint_thresholds(statistics: Floats, budgets: tuple[float, ...], *, tolerance: Floats | float = 0.0) -> Floats:
    """Thresholds float64 [budget, statistic]: "any statistic above its own" keeps each budget of episodes a year.

    statistics: [path, session, statistic] of healthy paths, large = bad. Every statistic gets the same tail
    probability of its own law, which is where multiplicity and dependence are paid for. tolerance: what is too small
    to matter, however rare; no threshold is below it.
    """
    looks = statistics.reshape(-1, statistics.shape[-1])
    ordered = np.sort(looks, axis=0)
    ranks = np.stack([np.searchsorted(ordered[:, k], looks[:, k]) for k in range(looks.shape[1])], axis=1)
    ranks[looks <= tolerance] = 0  # within tolerance: never an alarm
    worst: Ints = ranks.max(axis=1).reshape(statistics.shape[:2])
    levels = _levels(len(looks))
    rates = np.array([episodes_per_year(worst > level) for level in levels])
    chosen = [levels[_first_within(rates, budget)] for budget in budgets]
    thresholds: Floats = np.maximum(ordered[chosen], tolerance)
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


def _levels(looks: int) -> Ints:
    """Order statistics to try, ascending to the largest: as many a decade of tail probability."""
    tails = np.geomspace(1, looks, _CANDIDATES)
    return np.unique(np.asarray(looks - np.round(tails), dtype=np.int64))


def _first_within(rates: NDArray[Any], budget: float) -> int:
    """The lowest level from which all rates keep the budget (the highest level has no alarm at all)."""
    over = np.flatnonzero(rates > budget)
    return int(over[-1]) + 1 if over.size else 0
