"""Returns over several horizons: what the price did, as a share (0.01 is one per cent).

Close to close, the newest row's close included: known at that session's close plus the source's delay, not before.
"""

from __future__ import annotations

import numpy as np

from features.definition import Floats
from features.kernels import highest, lowest, share_where, simple_returns, total, total_return
from features.library.inputs import CLOSE, INDICES, OPEN, of_closes


@of_closes(window=2, unit="share", formula="P(t) / P(t−1) − 1", source="textbook")
def return_1(close: Floats) -> Floats:
    """The last session's return."""
    return total_return(close)


@of_closes(
    window=6, unit="share", formula="P(t) / P(t−5) − 1", source="Lehmann (1990), Jegadeesh (1990): it tends to reverse"
)
def return_5(close: Floats) -> Floats:
    """The return over 5 sessions, about a week; it tends to reverse."""
    return total_return(close)


@of_closes(window=22, unit="share", formula="P(t) / P(t−21) − 1", source="textbook")
def return_21(close: Floats) -> Floats:
    """The return over 21 sessions, about a month."""
    return total_return(close)


@of_closes(window=64, unit="share", formula="P(t) / P(t−63) − 1", source="textbook")
def return_63(close: Floats) -> Floats:
    """The return over 63 sessions, about a quarter."""
    return total_return(close)


@of_closes(window=127, unit="share", formula="P(t) / P(t−126) − 1", source="textbook")
def return_126(close: Floats) -> Floats:
    """The return over 126 sessions, about half a year."""
    return total_return(close)


@of_closes(window=253, unit="share", formula="P(t) / P(t−252) − 1", source="textbook")
def return_252(close: Floats) -> Floats:
    """The return over 252 sessions, about a year."""
    return total_return(close)


@of_closes(window=22, unit="share", formula="1 − P(t) / P(t−21)", source="Jegadeesh (1990)")
def reversal_21(close: Floats) -> Floats:
    """Short-term reversal: the last month's return with its sign turned, so that losers stand high."""
    return 1.0 - close[:, -1] / close[:, 0]


@of_closes(window=253, unit="share", formula="P(t−21) / P(t−252) − 1", source="Jegadeesh and Titman (1993)")
def momentum_12_1(close: Floats) -> Floats:
    """The return over 12 months without the last one: sessions t−252 to t−21."""
    return close[:, -22] / close[:, 0] - 1.0


@of_closes(window=127, unit="share", formula="P(t−21) / P(t−126) − 1", source="Jegadeesh and Titman (1993)")
def momentum_6_1(close: Floats) -> Floats:
    """The return over 6 months without the last one: sessions t−126 to t−21."""
    return close[:, -22] / close[:, 0] - 1.0


@of_closes(window=253, unit="share", formula="P(t−231) / P(t−252) − 1", source="Heston and Sadka (2008)")
def seasonality_1(close: Floats) -> Floats:
    """The return a year ago over the month that now lies ahead: 21 sessions from 252 sessions ago on.

    The paper's calendar months, counted in sessions.
    """
    return close[:, 21] / close[:, 0] - 1.0


@of_closes(
    window=757,
    unit="share",
    formula="mean over k = 1, 2, 3 of P(t−252k+21) / P(t−252k) − 1",
    source="Heston and Sadka (2008)",
)
def seasonality_3(close: Floats) -> Floats:
    """The mean return, one, two and three years ago, over the month that now lies ahead."""
    return (close[:, 21] / close[:, 0] + close[:, 273] / close[:, 252] + close[:, 525] / close[:, 504]) / 3.0 - 1.0


@of_closes(window=22, unit="share", formula="max of r(t−20) … r(t)", source="Bali, Cakici and Whitelaw (2011), MAX")
def largest_return_21(close: Floats) -> Floats:
    """The largest one-session return of 21: the lottery ticket."""
    return highest(simple_returns(close))


@of_closes(window=22, unit="share", formula="min of r(t−20) … r(t)", source="Bali, Cakici and Whitelaw (2011), MIN")
def smallest_return_21(close: Floats) -> Floats:
    """The smallest one-session return of 21."""
    return lowest(simple_returns(close))


@of_closes(window=64, unit="share", formula="number of r(i) > 0 among 63, over 63", source="textbook")
def up_share_63(close: Floats) -> Floats:
    """The share of 63 sessions that closed higher."""
    return share_where(close[:, 1:] > close[:, :-1])


@of_closes(
    window=253,
    unit="share",
    formula="sign(P(t) − P(t−252)) · (share of falling − share of rising sessions)",
    source="Da, Gurun and Warachka (2014), information discreteness",
)
def discreteness_252(close: Floats) -> Floats:
    """Whether the year's move came in many small steps (low) or a few jumps (high): the frog in the pan."""
    falling = share_where(close[:, 1:] < close[:, :-1])
    rising = share_where(close[:, 1:] > close[:, :-1])
    return np.sign(close[:, -1] - close[:, 0]) * (falling - rising)


@of_closes(
    inputs=(OPEN, CLOSE),
    window=22,
    unit="share",
    formula="sum over 21 sessions of O(i) / C(i−1) − 1",
    source="Lou, Polk and Skouras (2019)",
    tested_on=INDICES,
)
def overnight_return_21(opening: Floats, close: Floats) -> Floats:
    """What 21 nights brought: the sum of the returns from close to next open."""
    return total(opening[:, 1:] / close[:, :-1] - 1.0)


@of_closes(
    inputs=(OPEN, CLOSE),
    window=21,
    unit="share",
    formula="sum over 21 sessions of C(i) / O(i) − 1",
    source="Lou, Polk and Skouras (2019)",
    tested_on=INDICES,
)
def intraday_return_21(opening: Floats, close: Floats) -> Floats:
    """What 21 days brought: the sum of the returns from open to close."""
    return total(close / opening - 1.0)
