"""How easily it trades: volume, what it costs to move the price, spreads implied by prices.

Volume is in units as they were traded: a split changes it from one session to the next, and features that compare
sessions show that until the split has left their window.
"""

from __future__ import annotations

import numpy as np

from features.definition import Floats
from features.kernels import Integers, centred, deviation, mean, share_where, simple_returns, total, whole
from features.library.inputs import CLOSE, GENERATED, RAW_CLOSE, SHARES, STOCKS, VOLUME, of_bars


@of_bars(
    inputs=(CLOSE, RAW_CLOSE, VOLUME),
    window=22,
    unit="share per million",
    formula="10⁶ · mean of |r| / (C · V) over 21 sessions, C as traded",
    source="Amihud (2002)",
)
def illiquidity_21(close: Floats, traded_at: Floats, volume: Floats) -> Floats:
    """How far a million traded moves the price. NaN where a session of the 21 had no volume."""
    return 1e6 * mean(np.abs(simple_returns(close)) / (traded_at[:, 1:] * volume[:, 1:]))


@of_bars(
    inputs=(RAW_CLOSE, VOLUME),
    window=21,
    unit="currency a session",
    formula="mean of C · V over 21 sessions",
    source="textbook",
)
def traded_value_21(traded_at: Floats, volume: Floats) -> Floats:
    """What was traded a session, in currency."""
    return mean(traded_at * volume)


@of_bars(
    inputs=(VOLUME,),
    window=63,
    unit="standard deviations",
    formula="(V(t) − V̄) / s(V) over 63 sessions, the newest among them, divisor n − 1",
    source="after Gervais, Kaniel and Mingelgrin (2001)",
)
def volume_score_63(volume: Floats) -> Floats:
    """How unusual the session's volume is. NaN where it never changed."""
    return (volume[:, -1] - mean(volume)) / deviation(volume)


@of_bars(
    inputs=(VOLUME,),
    window=126,
    unit="share",
    formula="mean of the last 21 V / mean of the last 126 − 1",
    source="textbook",
)
def volume_trend_21_126(volume: Floats) -> Floats:
    """The last month's volume against that of half a year."""
    return mean(volume[:, -21:]) / mean(volume) - 1.0


@of_bars(
    inputs=(VOLUME, SHARES),
    window=21,
    unit="share a session",
    formula="mean of V / shares outstanding over 21 sessions",
    source="Datar, Naik and Radcliffe (1998)",
    tested_on=GENERATED,
)
def turnover_21(volume: Floats, shares: Floats) -> Floats:
    """Which share of the company changes hands in a session."""
    return mean(volume / shares)


@of_bars(
    inputs=(CLOSE, VOLUME),
    window=63,
    kind="exact_accum",
    contribution_rows=2,
    unit="−1 to 1",
    formula="Σ sign(P(i) − P(i−1)) V(i) / Σ V(i) over 63 sessions",
    source="Granville (1963), on-balance volume, over a window",
)
def on_balance_volume_63(close: Floats, volume: Floats) -> Integers:
    """Volume of rising sessions less that of falling ones, as a share of all: whole numbers until the last division."""
    traded = whole(volume[:, -1])
    rising, falling = close[:, 1] > close[:, 0], close[:, 1] < close[:, 0]
    return np.array([rising * traded - falling * traded, traded])


@of_bars(
    inputs=(CLOSE, VOLUME),
    window=64,
    unit="ratio",
    formula="correlation of |r| and V over 63 sessions",
    source="Karpoff (1987)",
)
def volume_move_correlation_63(close: Floats, volume: Floats) -> Floats:
    """Whether the price moves when it trades. NaN where either never changed."""
    moves, traded = centred(np.abs(simple_returns(close))), centred(volume[:, 1:])
    return total(moves * traded) / np.sqrt(total(moves * moves) * total(traded * traded))


@of_bars(
    inputs=(CLOSE,),
    window=64,
    unit="share of the price",
    formula="2 √max(0, −cov(r(i), r(i−1))), 62 pairs, divisor 61",
    source="Roll (1984); 0 where the covariance is above 0",
    tested_on=STOCKS,
)
def roll_spread_63(close: Floats) -> Floats:
    """The bid-ask spread that bouncing closes imply."""
    returns = simple_returns(close)
    covariance = total(centred(returns[:, 1:]) * centred(returns[:, :-1])) / (returns.shape[1] - 2)
    return np.asarray(2.0 * np.sqrt(np.maximum(-covariance, 0.0)))


@of_bars(
    inputs=(CLOSE,),
    window=64,
    unit="share",
    formula="number of r(i) = 0 among 63, over 63",
    source="Lesmond, Ogden and Trzcinka (1999)",
    tested_on=STOCKS,
)
def zero_return_share_63(close: Floats) -> Floats:
    """The share of 63 sessions in which the close did not move: what trades too little to be worth informed trading."""
    return share_where(close[:, 1:] == close[:, :-1])
