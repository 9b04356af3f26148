"""Simulated futures of a record of returns, and the rolling Sharpe ratio a desk would read off them."""

from __future__ import annotations

import math

import numpy as np

from promotion.evidence.arrays import Floats, Ints
from promotion.evidence.bootstrap import stationary_indices
from promotion.evidence.budget import SESSIONS_PER_YEAR

__all__ = ["autoregressive", "predicted_rows", "prewhitened", "rolling_sharpe"]


def prewhitened(centred: Floats) -> tuple[float, Floats]:
    """First autocorrelation (0 unless beyond two standard errors) and what is left of the series without it."""
    memory = float(centred[1:] @ centred[:-1] / (centred @ centred))
    if abs(memory) < 2 / math.sqrt(centred.size):
        return 0.0, centred
    left = centred[1:] - memory * centred[:-1]
    return memory, left - left.mean()


def autoregressive(innovations: Floats, memory: float) -> Floats:
    """x[t] = memory · x[t−1] + innovation[t] along the last axis, begun in its stationary state."""
    if not memory:
        return innovations
    path = np.empty_like(innovations)
    path[:, 0] = innovations[:, 0] / math.sqrt(1 - memory**2)
    for session in range(1, innovations.shape[1]):
        path[:, session] = memory * path[:, session - 1] + innovations[:, session]
    return path


def predicted_rows(length: int, horizon: int, block: float, draws: int, generator: np.random.Generator) -> Ints:
    """Rows [draw, horizon] of futures, each drawn from its own redrawn record: what one record does not know of itself
    (its mean, its tails) widens the law, as it should for the years to come."""
    record = stationary_indices(length, block_length=block, horizon=length, paths=draws, generator=generator)
    future = stationary_indices(length, block_length=block, horizon=horizon, paths=draws, generator=generator)
    rows: Ints = np.take_along_axis(record, future, axis=1)
    return rows


def rolling_sharpe(returns: Floats, window: int) -> Floats:
    """Annualised mean over standard deviation (n − 1) of every window of [path, session]; 0 for a flat window."""
    scale = returns.std()
    unit = returns / scale
    sums, squares = _rolling_sum(unit, window), _rolling_sum(unit**2, window)
    variance = np.maximum(squares - sums**2 / window, 0) / (window - 1)
    ratio = np.divide(sums / window, np.sqrt(variance), out=np.zeros_like(sums), where=variance > 1e-12)
    rolled: Floats = ratio * math.sqrt(SESSIONS_PER_YEAR)
    return rolled


def _rolling_sum(values: Floats, window: int) -> Floats:
    total = np.cumsum(values, axis=1)
    rolled = total[:, window - 1 :].copy()
    rolled[:, 1:] -= total[:, :-window]
    return rolled
