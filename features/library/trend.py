"""Where the price stands within its own past: drawdown, distance from high, low and mean, oscillators.

All ratios of prices. Recursive ones start at a declared anchor, so that they are the same after any restart.
"""

from __future__ import annotations

import numpy as np

from features.anchor import Anchor
from features.definition import Floats
from features.kernels import centred, follow, highest, lowest, mean, running_mean, total
from features.library.inputs import CLOSE, HIGH, INDICES, LOW, of_closes

_YEARS = Anchor("year", before=1)
_TWO_YEARS = 530  # sessions, at the most


@of_closes(
    window=126,
    unit="share",
    formula="min over i ≤ j of P(j) / P(i) − 1 within 126 sessions",
    source="textbook, maximum drawdown",
)
def drawdown_126(close: Floats) -> Floats:
    """The deepest fall from an earlier high within 126 sessions; 0 at best, −0.4 is a fall by 40 %."""
    return lowest(close / np.maximum.accumulate(close, axis=-1)) - 1.0


@of_closes(window=252, unit="share", formula="P(t) / max P − 1 over 252 sessions", source="George and Hwang (2004)")
def distance_from_high_252(close: Floats) -> Floats:
    """The close over the highest of 252 sessions, less one; 0 at the high."""
    return close[:, -1] / highest(close) - 1.0


@of_closes(
    window=252, unit="share", formula="P(t) / min P − 1 over 252 sessions", source="after George and Hwang (2004)"
)
def distance_from_low_252(close: Floats) -> Floats:
    """The close over the lowest of 252 sessions, less one; 0 at the low."""
    return close[:, -1] / lowest(close) - 1.0


@of_closes(
    window=50, unit="share", formula="P(t) / P̄ − 1 over 50 sessions", source="Brock, Lakonishok and LeBaron (1992)"
)
def distance_from_mean_50(close: Floats) -> Floats:
    """The close over the mean of the last 50, less one."""
    return close[:, -1] / mean(close) - 1.0


@of_closes(
    window=200,
    unit="share",
    formula="mean of the last 50 P / mean of the last 200 − 1",
    source="Brock, Lakonishok and LeBaron (1992)",
)
def mean_cross_50_200(close: Floats) -> Floats:
    """The mean of 50 closes over that of 200, less one: it crosses 0 where the averages cross."""
    return mean(close[:, -50:]) / mean(close) - 1.0


@of_closes(
    window=64,
    unit="ratio",
    formula="(P(t) − P(t−63)) / Σ |P(i) − P(i−1)|",
    source="Kaufman (1995), efficiency ratio with its sign",
)
def straightness_63(close: Floats) -> Floats:
    """The net change of 63 sessions over the way travelled (efficiency ratio, signed): −1 to 1.

    NaN where nothing moved.
    """
    return (close[:, -1] - close[:, 0]) / total(np.abs(close[:, 1:] - close[:, :-1]))


@of_closes(
    window=63,
    unit="share a session",
    formula="slope of P on time over 63 sessions / P̄",
    source="textbook, least squares",
)
def slope_63(close: Floats) -> Floats:
    """The slope of the straight line through 63 closes, as a share of their mean."""
    steps = np.arange(close.shape[1]) - 0.5 * (close.shape[1] - 1)
    return total(close * steps) / total(steps * steps) / mean(close)


@of_closes(
    window=20,
    unit="share of the band",
    formula="%b = (P(t) − (m − 2s)) / 4s, m and s mean and deviation (divisor n) of 20 closes",
    source="Bollinger (2001)",
)
def bollinger_20(close: Floats) -> Floats:
    """Where the close stands in its Bollinger band: 0 at the lower edge, 1 at the upper. NaN where nothing moved."""
    apart = centred(close)
    return 0.5 + apart[:, -1] / (4.0 * np.sqrt(mean(apart * apart)))


@of_closes(
    inputs=(HIGH, LOW, CLOSE),
    window=14,
    unit="share of the range",
    formula="(C(t) − min L) / (max H − min L) over 14 sessions",
    source="Lane (1984), %K",
    tested_on=INDICES,
)
def stochastic_14(high: Floats, low: Floats, close: Floats) -> Floats:
    """Where the close stands in the range of 14 sessions: 0 at its bottom, 1 at its top."""
    bottom = lowest(low)
    return (close[:, -1] - bottom) / (highest(high) - bottom)


@of_closes(
    window=_TWO_YEARS,
    min_rows=15,
    kind="scan",
    missing="latest",
    anchor=_YEARS,
    states=5,
    unit="0 to 100",
    formula="100 G / (G + L); G, L: means of the first 14 gains and losses, then (13 · before + new) / 14",
    source="Wilder (1978)",
)
def rsi_14(state: Floats, close: Floats) -> Floats:
    """Wilder's relative strength index, from the first session of the year before on; NaN where nothing moved."""
    change = close - state[1]
    seen = np.where(np.isnan(state[1]), 0.0, state[2] + 1.0)
    gain = running_mean(state[3], np.maximum(change, 0.0), seen, 14.0)
    loss = running_mean(state[4], np.maximum(-change, 0.0), seen, 14.0)
    return np.array([100.0 * gain / (gain + loss), close, seen, gain, loss])


@of_closes(
    window=_TWO_YEARS,
    min_rows=35,
    kind="scan",
    missing="latest",
    anchor=_YEARS,
    states=4,
    unit="share",
    formula="(M − S) / P; M = E₁₂ − E₂₆, S = E₉ of M; Eₙ += 2/(n+1) · (new − Eₙ), the first value to begin with",
    source="Appel (2005)",
)
def macd_12_26_9(state: Floats, close: Floats) -> Floats:
    """The MACD histogram as a share of the close, from the first session of the year before on."""
    fast = follow(state[1], close, 2.0 / 13.0)
    slow = follow(state[2], close, 2.0 / 27.0)
    signal = follow(state[3], fast - slow, 0.2)
    return np.array([(fast - slow - signal) / close, fast, slow, signal])


@of_closes(
    inputs=(HIGH, LOW, CLOSE),
    window=_TWO_YEARS,
    min_rows=15,
    kind="scan",
    missing="latest",
    anchor=_YEARS,
    states=4,
    unit="share",
    formula="A / C(t); A: mean of the first 14 ranges max(H, C(t−1)) − min(L, C(t−1)), then (13 · before + new) / 14",
    source="Wilder (1978), average true range",
    tested_on=INDICES,
)
def true_range_14(state: Floats, high: Floats, low: Floats, close: Floats) -> Floats:
    """Wilder's average true range as a share of the close, from the first session of the year before on."""
    seen = np.where(np.isnan(state[1]), 0.0, state[2] + 1.0)
    reached = np.maximum(high, state[1]) - np.minimum(low, state[1])
    average = running_mean(state[3], reached, seen, 14.0)
    return np.array([average / close, close, seen, average])
