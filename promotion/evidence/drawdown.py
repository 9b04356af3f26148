"""How deep a book went under water, and how deep it may go.

Politis and Romano's stationary bootstrap keeps the clustering of volatility; the mean block length comes from
|returns|, for daily returns themselves look white. A permutation of returns, as tear sheets do it, ends every path at
the same wealth and has too thin a tail.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from promotion.evidence.arrays import Floats, finite, observed, varying
from promotion.evidence.bootstrap import optimal_block_length, stationary_indices
from promotion.evidence.errors import NotValidError, RuinError

__all__ = ["DrawdownDistribution", "max_drawdown", "max_drawdown_distribution", "underwater"]


@dataclass(frozen=True, slots=True)
class DrawdownDistribution:
    """Maximum drawdowns ≤ 0 of bootstrapped futures of `horizon` periods, float64 [path] in ascending order."""

    drawdowns: Floats
    horizon: int
    block_length: float

    def quantile(self, share: float) -> float:
        """The drawdown that a share of the paths exceed in depth: 0.05 is the one-in-twenty bad one."""
        return float(np.quantile(self.drawdowns, share))


def underwater(returns: Floats) -> Floats:
    """Distance from the last high at each period, ≤ 0, of wealth Π(1 + r) that begins at its high, 1.

    returns: [..., time], each above −1 (RuinError).
    """
    if (returns <= -1).any():
        raise RuinError("drawdown: expected returns above −1, found a total loss; lower the leverage")
    wealth = np.cumprod(1 + returns, axis=-1)
    depth: Floats = wealth / np.maximum(np.maximum.accumulate(wealth, axis=-1), 1.0) - 1
    return depth


def max_drawdown(returns: Floats) -> float:
    """The deepest loss from a high, ≤ 0, of wealth compounded from `returns` [time]."""
    return float(underwater(observed(returns, least=1)).min())


def max_drawdown_distribution(
    returns: Floats,
    *,
    horizon: int = 252,
    paths: int = 1000,
    seed: int = 0,
    block_length: float | None = None,
    drift_uncertainty: bool = True,
) -> DrawdownDistribution:
    """Maximum drawdowns of `paths` futures of `horizon` periods drawn from `returns` [time].

    block_length: mean block of the stationary bootstrap; default: the optimal one of |returns|.
    drift_uncertainty: each path's mean is moved by a draw of its standard error (σ/√n), because the future does not
    know the sample's mean. Same seed, same result.
    """
    returns = varying(returns, least=30)
    if horizon < 1 or paths < 1:
        raise NotValidError(f"drawdown: expected horizon and paths of at least 1, found {horizon} and {paths}")
    length = optimal_block_length(np.abs(returns)) if block_length is None else block_length
    generator = np.random.default_rng(seed)
    rows = stationary_indices(returns.size, block_length=length, horizon=horizon, paths=paths, generator=generator)
    future = returns[rows]
    if drift_uncertainty:
        error = returns.std(ddof=1) / np.sqrt(returns.size)
        future = future + error * generator.standard_normal((paths, 1))
    depths = underwater(finite(future, dimensions=2, what="paths")).min(axis=1)
    return DrawdownDistribution(np.sort(depths), horizon, length)
