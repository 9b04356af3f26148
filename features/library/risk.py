"""How much the price moves: volatility, its downside part, its shape. Per session, not annualised.

Made of one-session simple returns of the window's closes; shares, unless said otherwise.
"""

from __future__ import annotations

import numpy as np

from features.definition import Floats, feature
from features.kernels import deviation, mean, simple_returns

CLOSE = ("close_adjusted_final",)
OWNER = "research"


@feature(inputs=CLOSE, window=22, unit="share a session", owner=OWNER)
def volatility_21(close: Floats) -> Floats:
    """The standard deviation of 21 one-session returns (divisor n − 1)."""
    return deviation(simple_returns(close))


@feature(inputs=CLOSE, window=64, unit="share a session", owner=OWNER)
def volatility_63(close: Floats) -> Floats:
    """The standard deviation of 63 one-session returns (divisor n − 1)."""
    return deviation(simple_returns(close))


@feature(inputs=CLOSE, window=127, unit="ratio", owner=OWNER)
def volatility_ratio_21_126(close: Floats) -> Floats:
    """Volatility of the last 21 sessions over that of the last 126: above 1, the market has woken up.

    NaN where nothing moved in 126 sessions.
    """
    returns = simple_returns(close)
    return deviation(returns[:, -21:]) / deviation(returns)


@feature(inputs=CLOSE, window=64, unit="share a session", owner=OWNER)
def downside_volatility_63(close: Floats) -> Floats:
    """The root of the mean squared loss over 63 sessions, gains counted as 0 (Sortino; target 0)."""
    losses = np.minimum(simple_returns(close), 0.0)
    return np.sqrt(mean(losses * losses))


@feature(inputs=CLOSE, window=64, unit="ratio", owner=OWNER)
def skewness_63(close: Floats) -> Floats:
    """The skewness of 63 one-session returns (third central moment over the 3/2 power of the second, divisor n).

    NaN where nothing moved.
    """
    returns = simple_returns(close)
    centred = returns - mean(returns)[:, None]
    second = mean(centred * centred)
    third = mean(centred * centred * centred)
    return third / (second * np.sqrt(second))
