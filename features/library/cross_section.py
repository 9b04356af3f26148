"""Where an instrument stands among the others at the same time: ranks and standard scores over the universe.

Ranks run from −0.5 to 0.5. The universe is the panel's instruments, the cut-off each row's knowledge time: an
instrument without a value then has no rank and counts for nobody. Two instruments whose values are equal but for
rounding may swap ranks when one series is scaled by a factor that is no power of two.
"""

from __future__ import annotations

from functools import partial

from features.definition import WHOLE_PANEL, Floats, feature
from features.kernels import less_group_mean, less_mean, rank, standard_score
from features.library.inputs import OWNER, SECTOR, STOCKS, STOCKS_AND_INDEX, STOCKS_IN_SECTORS
from features.library.market import beta_252
from features.library.returns import momentum_12_1, return_5, return_21
from features.library.risk import volatility_63

across_the_panel = partial(
    feature, kind="cross_section", universe=WHOLE_PANEL, cut_off="decision", owner=OWNER, tested_on=STOCKS
)


@across_the_panel(inputs=(return_5,), unit="rank", formula="rank of return_5", source="Lehmann (1990)")
def rank_return_5(returns: Floats) -> Floats:
    """The rank of the 5-session return: who has just risen most."""
    return rank(returns)


@across_the_panel(
    inputs=(momentum_12_1,), unit="rank", formula="rank of momentum_12_1", source="Jegadeesh and Titman (1993)"
)
def rank_momentum_12_1(momentum: Floats) -> Floats:
    """The rank of the 12-month return without its last month."""
    return rank(momentum)


@across_the_panel(
    inputs=(volatility_63,), unit="rank", formula="rank of volatility_63", source="Blitz and van Vliet (2007)"
)
def rank_volatility_63(volatility: Floats) -> Floats:
    """The rank of 63-session volatility: who moves most."""
    return rank(volatility)


@across_the_panel(
    inputs=(beta_252,),
    unit="rank",
    formula="rank of beta_252",
    source="Frazzini and Pedersen (2014)",
    tested_on=STOCKS_AND_INDEX,
)
def rank_beta_252(beta: Floats) -> Floats:
    """The rank of beta: who follows the index most."""
    return rank(beta)


@across_the_panel(
    inputs=(return_21,),
    unit="standard deviations",
    formula="(x − x̄) / s over the universe, x = return_21, divisor n − 1",
    source="textbook, standard score",
)
def score_return_21(returns: Floats) -> Floats:
    """The 21-session return in standard deviations from the universe's mean; NaN where all returns are equal."""
    return standard_score(returns)


@across_the_panel(
    inputs=(return_5,),
    unit="share",
    formula="x − x̄ over the universe, x = return_5",
    source="Lo and MacKinlay (1990), the weights of a contrarian portfolio but for sign and size",
)
def relative_return_5(returns: Floats) -> Floats:
    """The 5-session return less the universe's mean."""
    return less_mean(returns)


@across_the_panel(
    inputs=(return_21, SECTOR),
    unit="share",
    formula="x − mean of x over the instrument's sector, x = return_21",
    source="Hameed and Mian (2015), reversal within industries",
    tested_on=STOCKS_IN_SECTORS,
)
def sector_neutral_return_21(returns: Floats, sector: Floats) -> Floats:
    """The 21-session return less its sector's mean; 0 for the only one of a sector."""
    return less_group_mean(returns, sector)


@across_the_panel(
    inputs=(momentum_12_1, SECTOR),
    unit="rank",
    formula="rank of x − mean of x over the instrument's sector, x = momentum_12_1",
    source="Moskowitz and Grinblatt (1999), the part of momentum that is not the industry's",
    tested_on=STOCKS_IN_SECTORS,
)
def rank_sector_neutral_momentum(momentum: Floats, sector: Floats) -> Floats:
    """The rank of 12-month momentum less its sector's mean."""
    return rank(less_group_mean(momentum, sector))
