"""What the best of many trials is worth: expected maxima, deflated Sharpe ratios, thresholds of a stated size.

Sources: Bailey and López de Prado, JPM 40(5) 2014 (DSR and the published E[max]); López de Prado, Lipton and
Zoonekynd 2025 (variance under the null); Roy and Vetterli 2007 (effective rank).
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import numpy as np
from scipy.integrate import quad
from scipy.special import ndtr, ndtri

from promotion.evidence.arrays import Floats, finite
from promotion.evidence.errors import NotValidError, TooFewError
from promotion.evidence.sharpe import ZERO, PerPeriodSharpe, SharpeLevel, Variant, null_standard_error
from promotion.evidence.sharpe import probabilistic_sharpe as _psr

__all__ = [
    "calibrated_confidence",
    "calibrated_threshold_z",
    "calibrated_z",
    "deflated_sharpe",
    "deflated_threshold",
    "effective_rank",
    "effective_trials",
    "expected_maximum",
    "minimum_backtest_length",
    "power_of_threshold",
    "published_threshold_z",
    "size_of_threshold",
]

Maximum = Literal["exact", "published"]


@functools.lru_cache(maxsize=256)
def expected_maximum(trials: float, *, variant: Maximum = "exact") -> float:
    """E[max] of so many independent standard normals; 0 for one.

    exact: ∫ x d(Φ(x)^N) by quadrature. published: (1−γ)·Z⁻¹(1−1/N) + γ·Z⁻¹(1−1/(N·e)), Euler's γ: 8 % low at N = 2,
    2.5 % high at 5, 0.9 % at 100; and, unlike the paper's −∞, 0 at N = 1. N need not be whole (effective trials).
    """
    if not trials >= 1:
        raise TooFewError(f"trials: expected at least 1, found {trials}; every trial counts, crashed ones too")
    if trials == 1:
        return 0.0
    if variant == "published":
        low, high = ndtri(1 - 1 / trials), ndtri(1 - 1 / (trials * math.e))
        return float((1 - np.euler_gamma) * low + np.euler_gamma * high)
    above, _ = quad(lambda x: 1 - ndtr(x) ** trials, 0, 40, epsabs=1e-13, epsrel=1e-13, limit=200)
    below, _ = quad(lambda x: ndtr(x) ** trials, -40, 0, epsabs=1e-13, epsrel=1e-13, limit=200)
    return float(above - below)


def deflated_threshold(*, trial_sharpe_variance: float, trials: float, variant: Maximum = "published") -> SharpeLevel:
    """SR0 = √V · E[max_N], per period: what the best of N worthless trials is expected to show.

    trial_sharpe_variance: variance across the trials of their per-period ratios (n − 1), from the trial ledger.
    """
    if not (math.isfinite(trial_sharpe_variance) and trial_sharpe_variance >= 0):
        raise NotValidError(f"variance across trials: expected a number ≥ 0, found {trial_sharpe_variance}")
    return SharpeLevel(math.sqrt(trial_sharpe_variance) * expected_maximum(trials, variant=variant))


def deflated_sharpe(
    ratio: PerPeriodSharpe,
    *,
    trial_sharpe_variance: float,
    trials: float,
    maximum: Maximum = "published",
    variant: Variant = "2012",
) -> float:
    """DSR: the PSR of the selected trial against `deflated_threshold`. "> 0.95" is far stricter than a 5 % test."""
    level = deflated_threshold(trial_sharpe_variance=trial_sharpe_variance, trials=trials, variant=maximum)
    return _psr(ratio, level, variant=variant)


def calibrated_z(ratio: PerPeriodSharpe) -> float:
    """The ratio in standard errors under "no skill" (2025 variance at zero: √T · SR)."""
    return ratio.value / null_standard_error(ratio, ZERO)


def calibrated_confidence(ratio: PerPeriodSharpe, trials: float) -> float:
    """Φ(z)^N: the chance that the best of N independent worthless trials shows less than this one (Šidák).

    ≥ 1 − α is a test of size α, exact for independent trials and conservative for positively dependent ones.
    """
    expected_maximum(trials)  # refuses N < 1
    return float(ndtr(calibrated_z(ratio)) ** trials)


def calibrated_threshold_z(trials: float, size: float = 0.05) -> float:
    """The z that the best of N independent worthless trials exceeds with probability `size`: Z⁻¹((1−α)^{1/N})."""
    if not 0 < size < 1:
        raise NotValidError(f"size: expected a probability inside (0, 1), found {size}; 0.05 is usual")
    expected_maximum(trials)
    return float(ndtri((1 - size) ** (1 / trials)))


def published_threshold_z(trials: float, confidence: float = 0.95) -> float:
    """The z that DSR > `confidence` asks for when the trials' ratios scatter as if worthless (V = 1/T)."""
    return expected_maximum(trials, variant="published") + float(ndtri(confidence))


def size_of_threshold(threshold_z: float, trials: float) -> float:
    """The chance that the best of N independent worthless trials passes `threshold_z`: 1 − Φ(z)^N."""
    return float(-np.expm1(trials * np.log(ndtr(threshold_z))))


def power_of_threshold(threshold_z: float, true: SharpeLevel, observations: float) -> float:
    """The chance that one strategy of that true ratio passes: Φ(√T·SR − z), normal returns, error of the null."""
    return float(ndtr(true.value * math.sqrt(observations) - threshold_z))


def minimum_backtest_length(trials: float, annual_sharpe: float, *, variant: Maximum = "published") -> float:
    """Years below which the best of N worthless trials is expected to show `annual_sharpe`: (E[max]/SR)².

    Bailey, Borwein, López de Prado and Zhu, Notices AMS 61(5) 2014.
    """
    if not annual_sharpe > 0:
        raise NotValidError(f"backtest length: expected an annual Sharpe above 0, found {annual_sharpe}")
    return (expected_maximum(trials, variant=variant) / annual_sharpe) ** 2


def effective_trials(correlation: Floats, trials: float | None = None) -> float:
    """N̂ = ρ̄ + (1 − ρ̄)·M: independent trials among M with mean correlation ρ̄ (the DSR paper), between 1 and M.

    correlation: [trial, trial]; trials: M when more were opened than have returns.
    """
    matrix = _correlation(correlation)
    count = len(matrix) if trials is None else trials
    if len(matrix) == 1:
        return float(count)
    mean = (matrix.sum() - np.trace(matrix)) / (len(matrix) * (len(matrix) - 1))
    return float(min(max(mean + (1 - mean) * count, 1.0), count))


def effective_rank(correlation: Floats) -> float:
    """exp of the entropy of the normalised eigenvalues (Roy and Vetterli 2007): 1 for copies, M for strangers."""
    values = np.linalg.eigvalsh(_correlation(correlation))
    share = values[values > 1e-12 * values.max()]
    share = share / share.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def _correlation(correlation: Floats) -> Floats:
    matrix = finite(correlation, dimensions=2, what="correlation")
    if matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise NotValidError(f"correlation: expected a square matrix, found shape {matrix.shape}")
    return matrix
