"""Returns over several horizons: what the price did, as a share (0.01 is one per cent).

Close to close, the newest row's close included: known at that session's close plus the source's delay, not before.
"""

from __future__ import annotations

from features.definition import Floats, feature
from features.kernels import highest, simple_returns, total_return

CLOSE = ("close_adjusted_final",)
OWNER = "research"


@feature(inputs=CLOSE, window=2, unit="share", owner=OWNER)
def return_1(close: Floats) -> Floats:
    """The last session's return."""
    return total_return(close)


@feature(inputs=CLOSE, window=6, unit="share", owner=OWNER)
def return_5(close: Floats) -> Floats:
    """The return over 5 sessions, about a week; it tends to reverse (Lehmann 1990, Jegadeesh 1990)."""
    return total_return(close)


@feature(inputs=CLOSE, window=22, unit="share", owner=OWNER)
def return_21(close: Floats) -> Floats:
    """The return over 21 sessions, about a month."""
    return total_return(close)


@feature(inputs=CLOSE, window=64, unit="share", owner=OWNER)
def return_63(close: Floats) -> Floats:
    """The return over 63 sessions, about a quarter."""
    return total_return(close)


@feature(inputs=CLOSE, window=253, unit="share", owner=OWNER)
def momentum_12_1(close: Floats) -> Floats:
    """The return over 12 months without the last one (Jegadeesh and Titman 1993): sessions t−252 to t−21."""
    return close[:, -22] / close[:, 0] - 1.0


@feature(inputs=CLOSE, window=22, unit="share", owner=OWNER)
def largest_return_21(close: Floats) -> Floats:
    """The largest one-session return of 21: the lottery ticket (Bali, Cakici and Whitelaw 2011)."""
    return highest(simple_returns(close))
