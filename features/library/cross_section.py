"""Where an instrument stands among the others at the same time: ranks and standard scores over the universe.

Ranks run from −0.5 to 0.5. The universe is the panel's instruments; one without a value has no rank and counts for
nobody. Two instruments whose values are equal but for rounding may swap ranks when one series is scaled by a factor
that is no power of two.
"""

from __future__ import annotations

from features.definition import Floats, feature
from features.kernels import deviation, rank, simple_returns, standard_score, total_return

CLOSE = ("close_adjusted_final",)
OWNER = "research"


@feature(inputs=CLOSE, window=6, kind="cross_section", unit="rank", owner=OWNER)
def rank_return_5(close: Floats) -> Floats:
    """The rank of the 5-session return: who has just risen most."""
    return rank(total_return(close))


@feature(inputs=CLOSE, window=253, kind="cross_section", unit="rank", owner=OWNER)
def rank_momentum_12_1(close: Floats) -> Floats:
    """The rank of the 12-month return without its last month (Jegadeesh and Titman 1993)."""
    return rank(close[..., -22] / close[..., 0] - 1.0)


@feature(inputs=CLOSE, window=64, kind="cross_section", unit="rank", owner=OWNER)
def rank_volatility_63(close: Floats) -> Floats:
    """The rank of 63-session volatility: who moves most."""
    return rank(deviation(simple_returns(close)))


@feature(inputs=CLOSE, window=22, kind="cross_section", unit="standard deviations", owner=OWNER)
def score_return_21(close: Floats) -> Floats:
    """The 21-session return in standard deviations from the universe's mean; NaN where all returns are equal."""
    return standard_score(total_return(close))
