"""Volatility and spread from each session's open, high, low and close: several times more said than by the close alone.

Per session, not annualised; roots of mean variances over 21 sessions. Logarithms are `kernels.logarithm`, the same on
every CPU. They take prices as a continuous path: gaps between a close and the next open are left out but by Yang-Zhang,
and a coarse price grid makes all of them too low.
"""

from __future__ import annotations

import numpy as np

from features.definition import Floats
from features.kernels import deviation, half_tanh, logarithm, mean, mean_product
from features.library.inputs import CLOSE, HIGH, LOW, OPEN, of_bars

_BARS = (OPEN, HIGH, LOW, CLOSE)
_FOUR_LN2 = 2.772588722239781
_CENTRE = 0.3862943611198906  # 2 ln 2 − 1
_ROOT_2 = 1.4142135623730951
_THREE_LESS = 0.1715728752538099  # 3 − 2√2


@of_bars(
    inputs=(HIGH, LOW),
    window=21,
    unit="share a session",
    formula="√(mean of ln(H/L)² / (4 ln 2)) over 21 sessions",
    source="Parkinson (1980)",
)
def parkinson_volatility_21(high: Floats, low: Floats) -> Floats:
    """Volatility from the range: high over low."""
    reach = logarithm(high / low)
    return np.sqrt(mean(reach * reach) / _FOUR_LN2)


@of_bars(
    inputs=_BARS,
    window=21,
    unit="share a session",
    formula="√(mean of ln(H/L)²/2 − (2 ln 2 − 1) ln(C/O)²) over 21 sessions",
    source="Garman and Klass (1980)",
)
def garman_klass_volatility_21(opening: Floats, high: Floats, low: Floats, close: Floats) -> Floats:
    """Volatility from the range and the way from open to close."""
    logs = logarithm(np.concatenate([high / low, close / opening], axis=-1))
    reach, drift = logs[:, :21], logs[:, 21:]
    return np.sqrt(0.5 * mean_product(reach, reach) - _CENTRE * mean_product(drift, drift))


@of_bars(
    inputs=_BARS,
    window=21,
    unit="share a session",
    formula="√(mean of ln(H/O) ln(H/C) + ln(L/O) ln(L/C)) over 21 sessions",
    source="Rogers and Satchell (1991)",
)
def rogers_satchell_volatility_21(opening: Floats, high: Floats, low: Floats, close: Floats) -> Floats:
    """Volatility from the range, whatever the drift."""
    logs = logarithm(np.concatenate([high / opening, low / opening, close / opening], axis=-1))
    return np.sqrt(_rogers_satchell(logs[:, :21], logs[:, 21:42], logs[:, 42:]))


@of_bars(
    inputs=_BARS,
    window=22,
    unit="share a session",
    formula="√(V(ln O/C₋₁) + k V(ln C/O) + (1 − k) RS), V with divisor n − 1, k = 0.34 / (1.34 + 22/20), n = 21",
    source="Yang and Zhang (2000)",
)
def yang_zhang_volatility_21(opening: Floats, high: Floats, low: Floats, close: Floats) -> Floats:
    """Volatility from the range, drift and overnight jumps accounted for."""
    start = opening[:, 1:]
    ratios = [high[:, 1:] / start, low[:, 1:] / start, close[:, 1:] / start, start / close[:, :-1]]
    logs = logarithm(np.concatenate(ratios, axis=-1))
    day, night = deviation(logs[:, 42:63]), deviation(logs[:, 63:])
    share = 0.34 / (1.34 + 22.0 / 20.0)
    within = _rogers_satchell(logs[:, :21], logs[:, 21:42], logs[:, 42:63])
    return np.sqrt(night * night + share * (day * day) + (1.0 - share) * within)


def _rogers_satchell(high: Floats, low: Floats, close: Floats) -> Floats:
    """The mean variance of logs [..., session] of high, low and close over open."""
    return mean(high * (high - close) + low * (low - close))


@of_bars(
    inputs=(HIGH, LOW),
    window=22,
    unit="share of the price",
    formula="mean over 21 pairs of max(0, 2 (e^α − 1) / (1 + e^α)), "
    "α = (√(2β) − √β) / (3 − 2√2) − √(γ / (3 − 2√2)), β = Σ ln(H/L)² of both, γ = ln(H₂/L₂)² of the pair's range",
    source="Corwin and Schultz (2012), without their overnight adjustment",
)
def corwin_schultz_spread_21(high: Floats, low: Floats) -> Floats:
    """The bid-ask spread that ranges of single sessions and of pairs imply; pairs that imply less than 0 count 0."""
    pair = np.maximum(high[:, 1:], high[:, :-1]) / np.minimum(low[:, 1:], low[:, :-1])
    logs = logarithm(np.concatenate([high / low, pair], axis=-1))
    squares = logs * logs
    beta = np.sqrt(squares[:, 1:22] + squares[:, :21])
    alpha = (_ROOT_2 * beta - beta) / _THREE_LESS - np.sqrt(squares[:, 22:] / _THREE_LESS)
    return mean(np.maximum(2.0 * half_tanh(alpha), 0.0))


@of_bars(
    inputs=(HIGH, LOW, CLOSE),
    window=21,
    unit="−1 to 1",
    formula="mean of ((C − L) − (H − C)) / (H − L) over 21 sessions",
    source="Chaikin, close location value (in Murphy, 1999)",
)
def close_location_21(high: Floats, low: Floats, close: Floats) -> Floats:
    """Where in the day's range sessions have closed: 1 at the high, −1 at the low. NaN where a session had no range."""
    return mean(((close - low) - (high - close)) / (high - low))
