"""How much the price moves: volatility, its downside part, its shape, its memory. Per session, not annualised.

Made of one-session simple returns of the window's closes; shares, unless said otherwise.
"""

from __future__ import annotations

import numpy as np

from features.anchor import Anchor
from features.definition import Floats
from features.kernels import centred, deviation, follow, mean, mean_product, simple_returns, total
from features.library.inputs import of_closes


@of_closes(
    window=22, unit="share a session", formula="√(Σ (r − r̄)² / 20) over 21 returns", source="textbook, close to close"
)
def volatility_21(close: Floats) -> Floats:
    """The standard deviation of 21 one-session returns (divisor n − 1)."""
    return deviation(simple_returns(close))


@of_closes(
    window=64, unit="share a session", formula="√(Σ (r − r̄)² / 62) over 63 returns", source="textbook, close to close"
)
def volatility_63(close: Floats) -> Floats:
    """The standard deviation of 63 one-session returns (divisor n − 1)."""
    return deviation(simple_returns(close))


@of_closes(
    window=253,
    unit="share a session",
    formula="√(Σ (r − r̄)² / 251) over 252 returns",
    source="textbook, close to close",
)
def volatility_252(close: Floats) -> Floats:
    """The standard deviation of 252 one-session returns (divisor n − 1)."""
    return deviation(simple_returns(close))


@of_closes(
    window=530,
    min_rows=22,
    kind="scan",
    missing="latest",
    anchor=Anchor("year", before=1),
    states=3,
    unit="share a session",
    formula="√v(t), v(t) = 0.94 v(t−1) + 0.06 r(t)², v = r² in the second row of the year before",
    source="J.P. Morgan and Reuters, RiskMetrics (1996)",
)
def ewma_volatility(state: Floats, close: Floats) -> Floats:
    """Exponentially weighted volatility, from the first session of the year before on."""
    change = close / state[1] - 1.0
    variance = follow(state[2], change * change, 0.06)
    return np.array([np.sqrt(variance), close, variance])


@of_closes(window=127, unit="ratio", formula="volatility of 21 returns / volatility of 126", source="textbook")
def volatility_ratio_21_126(close: Floats) -> Floats:
    """Volatility of the last 21 sessions over that of the last 126: above 1, the market has woken up.

    NaN where nothing moved in 126 sessions.
    """
    returns = simple_returns(close)
    return deviation(returns[:, -21:]) / deviation(returns)


@of_closes(
    window=64, unit="share a session", formula="√(Σ min(r, 0)² / 63)", source="Sortino and Price (1994), target 0"
)
def downside_volatility_63(close: Floats) -> Floats:
    """The root of the mean squared loss over 63 sessions, gains counted as 0 (target 0)."""
    losses = np.minimum(simple_returns(close), 0.0)
    return np.sqrt(mean(losses * losses))


@of_closes(window=64, unit="ratio", formula="m₃ / m₂^(3/2), central moments with divisor n, n = 63", source="textbook")
def skewness_63(close: Floats) -> Floats:
    """The skewness of 63 one-session returns (third central moment over the 3/2 power of the second, divisor n).

    NaN where nothing moved.
    """
    apart = centred(simple_returns(close))
    squares = apart * apart
    second = mean(squares)
    return mean(squares * apart) / (second * np.sqrt(second))


@of_closes(window=64, unit="ratio", formula="m₄ / m₂² − 3, central moments with divisor n, n = 63", source="textbook")
def kurtosis_63(close: Floats) -> Floats:
    """The excess kurtosis of 63 one-session returns: above 0, more extremes than a normal distribution has."""
    apart = centred(simple_returns(close))
    squares = apart * apart
    second = mean(squares)
    return mean(squares * squares) / (second * second) - 3.0


@of_closes(
    window=64, unit="ratio", formula="Σ x(i) x(i−1) / Σ x(i)², x = r − r̄, 63 returns", source="Box and Jenkins (1970)"
)
def autocorrelation_63(close: Floats) -> Floats:
    """How much of a session's return the next one repeats (above 0) or takes back (below 0)."""
    apart = centred(simple_returns(close))
    return np.asarray(total(apart[:, 1:] * apart[:, :-1]) / total(apart * apart))


@of_closes(
    window=127,
    unit="ratio",
    formula="[Σ s(i)² / (5 · 122 · (1 − 5/126))] / [Σ x(i)² / 125], x = r − r̄, s = sums of 5 neighbours of x",
    source="Lo and MacKinlay (1988), on simple returns",
)
def variance_ratio_5_126(close: Floats) -> Floats:
    """The variance of weekly returns over 5 times that of daily ones: above 1 trends, below 1 reversals."""
    apart = centred(simple_returns(close))
    weekly = apart[:, 4:] + apart[:, 3:-1] + apart[:, 2:-2] + apart[:, 1:-3] + apart[:, :-4]
    rows, sums = apart.shape[1], weekly.shape[1]
    of_weeks = total(weekly * weekly) / (5.0 * sums * (1.0 - 5.0 / rows))
    return np.asarray(of_weeks / (total(apart * apart) / (rows - 1)))


@of_closes(
    window=64,
    unit="ratio",
    formula="r̄ / √(Σ r² / 63), 63 returns",
    source="after Sharpe (1966); the second moment about 0 keeps it between −1 and 1",
)
def return_to_risk_63(close: Floats) -> Floats:
    """The mean return of 63 sessions in units of their root mean square."""
    returns = simple_returns(close)
    return mean(returns) / np.sqrt(mean_product(returns, returns))
