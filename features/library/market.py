"""An instrument against an index: what it shares with the market, and what is its own.

Both read as one-session simple returns; the index's close is an input like any other, the same for all instruments.
Its newest close must be known at the instrument's cut-off: mind the time zones.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from features.definition import Floats, feature
from features.kernels import centred, mean, mean_product, simple_returns, slope, total, total_return
from features.library.inputs import CLOSE, INDEX, OWNER, STOCKS_AND_INDEX

against_the_index = partial(feature, inputs=(CLOSE, INDEX), owner=OWNER, tested_on=STOCKS_AND_INDEX)


@against_the_index(
    window=253,
    unit="ratio",
    formula="Σ (m − m̄)(r − r̄) / Σ (m − m̄)² over 252 returns, m of the index",
    source="Sharpe (1964)",
)
def beta_252(close: Floats, index: Floats) -> Floats:
    """How far the instrument moves with the index, over 252 sessions."""
    return slope(simple_returns(index), simple_returns(close))


@against_the_index(
    window=253,
    unit="ratio",
    formula="as beta, over the sessions with m < m̄ alone, means taken over these",
    source="Ang, Chen and Xing (2006)",
)
def downside_beta_252(close: Floats, index: Floats) -> Floats:
    """Beta in the sessions in which the index did worse than its mean, of 252."""
    market, own = simple_returns(index), simple_returns(close)
    low = market < mean(market)[:, None]
    count = low.sum(-1)
    market = np.where(low, market - (total(np.where(low, market, 0.0)) / count)[:, None], 0.0)
    return np.asarray(total(market * own) / total(market * market))


@against_the_index(
    window=64,
    unit="share a session",
    formula="√(Σ e² / 61), e = (r − r̄) − β (m − m̄), 63 returns",
    source="Ang, Hodrick, Xing and Zhang (2006), with the market alone",
)
def idiosyncratic_volatility_63(close: Floats, index: Floats) -> Floats:
    """The standard deviation of what the index does not explain, over 63 sessions (divisor n − 2)."""
    residual = _residual(simple_returns(close), simple_returns(index))
    return np.asarray(np.sqrt(total(residual * residual) / (residual.shape[1] - 2)))


@against_the_index(
    window=253,
    unit="ratio",
    formula="Σ (m − m̄)(r − r̄) / √(Σ (m − m̄)² Σ (r − r̄)²) over 252 returns",
    source="Pearson (1895)",
)
def correlation_252(close: Floats, index: Floats) -> Floats:
    """The correlation with the index over 252 sessions."""
    own, market = centred(simple_returns(close)), centred(simple_returns(index))
    return total(own * market) / np.sqrt(total(own * own) * total(market * market))


@against_the_index(
    window=253,
    unit="ratio",
    formula="mean(e x²) / (√mean(e²) · mean(x²)), x = m − m̄, e = (r − r̄) − β x, 252 returns",
    source="Harvey and Siddique (2000)",
)
def coskewness_252(close: Floats, index: Floats) -> Floats:
    """Whether the instrument's own moves come with large ones of the index: below 0, it falls in wild markets."""
    market = simple_returns(index)
    residual = _residual(simple_returns(close), market)
    squares = centred(market)
    squares = squares * squares
    return mean_product(residual, squares) / (np.sqrt(mean_product(residual, residual)) * mean(squares))


@against_the_index(window=22, unit="share", formula="P(t)/P(t−21) − I(t)/I(t−21)", source="textbook, relative strength")
def excess_return_21(close: Floats, index: Floats) -> Floats:
    """The return over 21 sessions less the index's."""
    return total_return(close) - total_return(index)


def _residual(own: Floats, market: Floats) -> Floats:
    """What is left of centred returns [..., window] after the least-squares share of the market's."""
    own, market = centred(own), centred(market)
    return own - (total(market * own) / total(market * market))[:, None] * market
