"""Resampling that keeps dependence: the stationary bootstrap and the block length it needs.

Sources: Politis and Romano, JASA 89, 1994; Politis and White 2004 with the correction of Patton, Politis and White
2009. The random generator is passed in, seeded: the same seed gives the same paths.
"""

from __future__ import annotations

import math

import numpy as np

from promotion.evidence.arrays import Floats, Ints, varying
from promotion.evidence.errors import NotValidError, TooFewError

__all__ = ["optimal_block_length", "stationary_indices"]


def stationary_indices(
    length: int, *, block_length: float, horizon: int, paths: int, generator: np.random.Generator
) -> Ints:
    """Row numbers int64 [path, horizon] into a series of `length` rows, for paths of the same dependence.

    Blocks of geometric length (mean `block_length`) start anywhere and wrap around the end; 1 is the plain bootstrap.
    """
    if length < 2:
        raise TooFewError(f"bootstrap: expected at least 2 rows to draw from, found {length}")
    if not block_length >= 1:
        raise NotValidError(f"bootstrap: expected a mean block length of at least 1, found {block_length}")
    starts = generator.random((paths, horizon)) < 1 / block_length
    starts[:, 0] = True
    fresh = generator.integers(0, length, size=(paths, horizon))
    since = np.arange(horizon)
    begun = np.maximum.accumulate(np.where(starts, since, 0), axis=1)
    rows: Ints = (np.take_along_axis(fresh, begun, axis=1) + since - begun) % length
    return rows


def optimal_block_length(series: Floats) -> float:
    """The mean block length for the stationary bootstrap of the mean of `series` [time]; at least 1.

    b = (2·g²/d · n)^{1/3} with a flat-top window and the automatic bandwidth of Politis and White (2004) as
    corrected in 2009. For a drawdown pass |returns|, not returns: volatility clusters where returns look white.
    """
    series = varying(series, least=16, what="series")
    n = series.size
    covariance, lags = _autocovariance(series - series.mean()), _bandwidth(series, n)
    weight = np.minimum(1.0, 2 * (1 - np.arange(1, lags + 1) / lags))
    spectral = 2 * float(np.sum(weight * np.arange(1, lags + 1) * covariance[1 : lags + 1]))
    long_run = covariance[0] + 2 * float(np.sum(weight * covariance[1 : lags + 1]))
    length = (spectral**2 / long_run**2) ** (1 / 3) * n ** (1 / 3)
    return float(min(max(length, 1.0), math.ceil(min(3 * math.sqrt(n), n / 3))))


def _autocovariance(centred: Floats) -> Floats:
    """Autocovariances (divisor n) at lags 0 .. ⌈√n⌉ + kn."""
    n = centred.size
    return np.array([centred[lag:] @ centred[: n - lag] for lag in range(_most_lags(n) + 1)]) / n


def _bandwidth(series: Floats, n: int) -> int:
    """Twice the first lag from which `_quiet_lags` autocorrelations in a row are below 2·√(log10 n / n)."""
    covariance = _autocovariance(series - series.mean())
    quiet = np.abs(covariance / covariance[0]) < 2 * math.sqrt(math.log10(n) / n)
    run, most = _quiet_lags(n), _most_lags(n)
    for lag in range(1, most - run + 1):
        if quiet[lag : lag + run].all():
            return min(2 * lag, most)
    return most


def _quiet_lags(n: int) -> int:
    return max(5, int(math.log10(n)))


def _most_lags(n: int) -> int:
    return math.ceil(math.sqrt(n)) + _quiet_lags(n)
