"""Scores to a daily record: positions, costs and P&L of one walk-forward."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promotion.config import Signal
from promotion.evidence.performance import Performance, performance, positions
from training.samples import Samples

Floats = NDArray[np.float64]
SESSIONS_PER_YEAR = 252


@dataclass(frozen=True)
class Backtest:
    """One walk-forward, accounted. Rows are the T sessions from the first one scored to the last one known.

    sessions_ns: int64 [T], the close, UTC. scores: float32 [T, N], made at that close; NaN = none. weights: float64
    [T, N], decided at that close. asset_returns: float64 [T, N], from the close before to that close. history:
    float64 [H, N], the asset returns of the sessions before, for the impact's volatility. record: what the book of
    these weights earned and paid, row by row, executed with the signal's lag (`promotion.evidence.performance`).
    """

    sessions_ns: NDArray[np.int64]
    scores: NDArray[np.float32]
    weights: Floats
    asset_returns: Floats
    history: Floats
    record: Performance

    @property
    def net(self) -> Floats:
        """float64 [T]: daily net returns, shares of capital."""
        return self.record.net

    @property
    def sharpe_annual(self) -> float:
        """Mean over sd (ddof 1) of the net returns, times √252; NaN when they do not move. For choosing only."""
        deviation = float(self.net.std(ddof=1)) if len(self.net) > 1 else 0.0
        return float(self.net.mean()) / deviation * SESSIONS_PER_YEAR**0.5 if deviation > 0 else float("nan")


def account(samples: Samples, scores: NDArray[np.float32], signal: Signal, *, first: int) -> Backtest:
    """The record of `scores` (float32 [all sessions, N]) from session `first` on, under the signal's own rules.

    A weight decided at a session's close is executed `execution_lag_sessions` closes later: never in the same bar.
    """
    costs = signal.costs
    history = samples.asset_returns[max(0, first - costs.impact_volatility_sessions) : first]
    scored = scores[first:]
    weights = positions(scored.astype(np.float64), signal.construction)
    record = performance(
        weights,
        samples.asset_returns[first:],
        costs=costs,
        execution_lag_sessions=signal.execution_lag_sessions,
        history=history,
    )
    return Backtest(
        sessions_ns=samples.event_times_ns[first:],
        scores=scored,
        weights=weights,
        asset_returns=samples.asset_returns[first:],
        history=history,
        record=record,
    )
