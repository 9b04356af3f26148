"""Sharpe ratios whose frequency is part of their type, their error, and what they are worth.

    PerPeriodSharpe   measured on returns, per period (a day, a month), with the sample's size and shape
    SharpeLevel       a per-period level without a sample: a benchmark, a deflated threshold
    AnnualSharpe      for people's eyes and policies; carries its periods per year; no formula takes it

A formula that is given another type raises UnitsError. Kurtosis is Pearson's everywhere: 3 for a normal law.
Sources: Lo, FAJ 58(4) 2002 (standard error); Bailey and López de Prado, J. Risk 15(2) 2012 (PSR, MinTRL);
López de Prado, Lipton and Zoonekynd, SSRN 5520741, 2025 (variance under the null).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from promotion.evidence.arrays import Floats, varying
from promotion.evidence.errors import NotValidError, TooFewError, UnitsError

__all__ = [
    "ZERO",
    "AnnualSharpe",
    "PerPeriodSharpe",
    "SharpeLevel",
    "Variant",
    "lo_standard_error",
    "minimum_track_record_length",
    "null_standard_error",
    "probabilistic_sharpe",
    "sharpe",
    "standard_error",
]

Variant = Literal["2012", "2025"]


@dataclass(frozen=True, slots=True)
class AnnualSharpe:
    """A Sharpe ratio a year: per period × √(periods per year), so for returns without autocorrelation."""

    value: float
    periods_per_year: float

    def per_period(self) -> SharpeLevel:
        """The same level per period."""
        return SharpeLevel(self.value / math.sqrt(self.periods_per_year))


@dataclass(frozen=True, slots=True)
class SharpeLevel:
    """A per-period level that was not measured on a sample."""

    value: float

    def annualised(self, periods_per_year: float) -> AnnualSharpe:
        """The same level a year."""
        return AnnualSharpe(self.value * math.sqrt(periods_per_year), periods_per_year)


@dataclass(frozen=True, slots=True)
class PerPeriodSharpe:
    """mean / standard deviation per period, and what the sample says about its error.

    observations: number of returns; skewness γ3; kurtosis γ4, Pearson's (normal: 3), never excess.
    """

    value: float
    observations: float
    skewness: float = 0.0
    kurtosis: float = 3.0

    def annualised(self, periods_per_year: float) -> AnnualSharpe:
        """The ratio a year, × √(periods per year)."""
        return AnnualSharpe(self.value * math.sqrt(periods_per_year), periods_per_year)


ZERO = SharpeLevel(0.0)


def sharpe(returns: Floats) -> PerPeriodSharpe:
    """The Sharpe ratio of excess `returns` [time]: mean over standard deviation (n − 1), moments of the sample.

    γ3 and γ4 are m3/m2^{3/2} and m4/m2² of the central moments (divisor n). Returns must be finite, at least three,
    and vary: GapError, TooFewError, ConstantError otherwise. A risk-free rate, if any, is subtracted by the caller.
    """
    returns = varying(returns, least=3)
    centred = returns - returns.mean()
    second = float(np.mean(centred**2))
    return PerPeriodSharpe(
        value=float(returns.mean() / returns.std(ddof=1)),
        observations=returns.size,
        skewness=float(np.mean(centred**3)) / second**1.5,
        kurtosis=float(np.mean(centred**4)) / second**2,
    )


def lo_standard_error(ratio: PerPeriodSharpe) -> float:
    """Lo's standard error for independent normal returns, per period: √((1 + SR²/2) / T)."""
    _per_period(ratio)
    return math.sqrt((1 + ratio.value**2 / 2) / ratio.observations)


def standard_error(ratio: PerPeriodSharpe) -> float:
    """PSR's standard error, per period, at the measured ratio: √((1 − γ3·SR + (γ4−1)/4·SR²) / (T−1)).

    NotValidError when the radicand is not positive (moments that no sample has), TooFewError below two returns.
    """
    return math.sqrt(_shape_factor(ratio, _per_period(ratio)) / (_observations(ratio) - 1))


def null_standard_error(ratio: PerPeriodSharpe, level: SharpeLevel = ZERO, *, autocorrelation: float = 0.0) -> float:
    """The 2025 standard error, per period, if the true ratio were `level`; returns follow an AR(1) of that ρ.

    √([a − b·γ3·SR0 + c·(γ4−1)/4·SR0²]/T), a = 1+2ρ/(1−ρ), b = 1+ρ/(1−ρ)+ρ²/(1−ρ²), c = 1+2ρ²/(1−ρ²).
    """
    rho, zero = autocorrelation, _per_period(level)
    if not -1 < rho < 1:
        raise NotValidError(f"autocorrelation: expected a value inside (−1, 1), found {rho}; is the series stationary?")
    linear = 1 + rho / (1 - rho) + rho**2 / (1 - rho**2)
    quadratic = 1 + 2 * rho**2 / (1 - rho**2)
    constant = 1 + 2 * rho / (1 - rho)
    radicand = constant - linear * ratio.skewness * zero + quadratic * (ratio.kurtosis - 1) / 4 * zero**2
    return math.sqrt(_positive(radicand, ratio) / _observations(ratio))


def probabilistic_sharpe(
    ratio: PerPeriodSharpe,
    benchmark: SharpeLevel = ZERO,
    *,
    variant: Variant = "2012",
    autocorrelation: float = 0.0,
) -> float:
    """PSR: Φ[(SR − SR*) / standard error], the confidence that the true ratio exceeds `benchmark` (a 1 − p value).

    2012: the error at the measured ratio, T − 1 (`standard_error`). 2025: the error under the null, T
    (`null_standard_error`), which alone knows autocorrelation. They differ: 0.913 and 0.987 on one example.
    """
    distance = _per_period(ratio) - _per_period(benchmark)
    if variant == "2025":
        return float(ndtr(distance / null_standard_error(ratio, benchmark, autocorrelation=autocorrelation)))
    if autocorrelation:
        raise NotValidError("PSR 2012: expected no autocorrelation, found some; use variant='2025', which allows it")
    return float(ndtr(distance / standard_error(ratio)))


def minimum_track_record_length(
    ratio: PerPeriodSharpe,
    benchmark: SharpeLevel = ZERO,
    *,
    confidence: float = 0.95,
    variant: Variant = "2012",
) -> float:
    """How many observations the measured ratio needs for PSR ≥ `confidence`; a real number, not rounded.

    2012: 1 + [1 − γ3·SR + (γ4−1)/4·SR²]·(Z⁻¹(c)/(SR−SR*))². 2025: the radicand at SR*, without the 1.
    NotValidError when the ratio is not above the benchmark: no length would do.
    """
    distance = _per_period(ratio) - _per_period(benchmark)
    if distance <= 0:
        raise NotValidError(
            f"track record: expected a ratio above the benchmark {benchmark.value:.6g}, found {ratio.value:.6g}; "
            "no length would be enough"
        )
    needed = (float(ndtri(confidence)) / distance) ** 2
    if variant == "2025":
        return null_standard_error(ratio, benchmark) ** 2 * ratio.observations * needed
    return 1 + _shape_factor(ratio, ratio.value) * needed


def _shape_factor(ratio: PerPeriodSharpe, level: float) -> float:
    return _positive(1 - ratio.skewness * level + (ratio.kurtosis - 1) / 4 * level**2, ratio)


def _positive(radicand: float, ratio: PerPeriodSharpe) -> float:
    if not radicand > 0:
        raise NotValidError(
            f"Sharpe error: expected a positive variance, found {radicand:.6g} (skewness {ratio.skewness:.6g}, "
            f"Pearson kurtosis {ratio.kurtosis:.6g}); is the kurtosis excess, or the skewness in its place?"
        )
    return radicand


def _observations(ratio: PerPeriodSharpe) -> float:
    if not ratio.observations > 1:
        raise TooFewError(f"Sharpe error: expected at least 2 observations, found {ratio.observations}")
    return ratio.observations


def _per_period(ratio: PerPeriodSharpe | SharpeLevel) -> float:
    if not isinstance(ratio, (PerPeriodSharpe, SharpeLevel)):
        raise UnitsError(
            f"Sharpe ratio: expected a per-period one, found {type(ratio).__name__}; "
            "take AnnualSharpe(...).per_period(), or measure it with sharpe(returns)"
        )
    return ratio.value
