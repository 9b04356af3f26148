"""The top of the order book: spread, imbalance, where the price leans. A row is a quote (`clock="event"`).

Sizes are whole numbers of lots or shares. A crossed or locked book gives a spread of 0 or less: what comes of it is the
reader's to judge.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from features.definition import Floats, feature
from features.kernels import Integers, total, whole
from features.library.inputs import ASK, ASK_SIZE, BID, BID_SIZE, GENERATED, OWNER

_MINUTE_NS = 60_000_000_000


of_quotes = partial(feature, clock="event", owner=OWNER, tested_on=GENERATED)


@of_quotes(
    inputs=(BID_SIZE, ASK_SIZE),
    unit="−1 to 1",
    formula="(qb − qa) / (qb + qa)",
    source="Cartea, Donnelly and Jaimungal (2018)",
)
def book_imbalance(bid_size: Floats, ask_size: Floats) -> Floats:
    """Which side of the book is heavier: 1 when only buyers stand there."""
    bid, ask = bid_size[:, 0], ask_size[:, 0]
    return (bid - ask) / (bid + ask)


@of_quotes(
    inputs=(BID, ASK), unit="share of the price", formula="2 (a − b) / (a + b)", source="textbook, quoted spread"
)
def quoted_spread(bid: Floats, ask: Floats) -> Floats:
    """The spread as a share of the mid price."""
    return 2.0 * (ask[:, 0] - bid[:, 0]) / (ask[:, 0] + bid[:, 0])


@of_quotes(
    inputs=(BID, ASK, BID_SIZE, ASK_SIZE),
    unit="share of the price",
    formula="(qb a + qa b) / (qb + qa) / ((a + b)/2) − 1",
    source="Stoikov (2018), the weighted mid that his micro-price starts from",
)
def microprice_gap(bid: Floats, ask: Floats, bid_size: Floats, ask_size: Floats) -> Floats:
    """How far the size-weighted mid lies above the mid price.

    Stoikov's full micro-price adds adjustments that are estimated from an instrument's own quotes; they are not here.
    """
    b, a, buy, sell = bid[:, 0], ask[:, 0], bid_size[:, 0], ask_size[:, 0]
    return (buy * a + sell * b) / (buy + sell) / (0.5 * (a + b)) - 1.0


@of_quotes(
    inputs=(BID, ASK, BID_SIZE, ASK_SIZE),
    window=50,
    kind="exact_accum",
    contribution_rows=2,
    unit="ratio",
    formula="Σ e(i) / Σ (qb + qa) over 50 quotes; e = [b ≥ b₋₁] qb − [b ≤ b₋₁] qb₋₁ − [a ≤ a₋₁] qa + [a ≥ a₋₁] qa₋₁",
    source="Cont, Kukanov and Stoikov (2014)",
)
def order_flow_imbalance_50(bid: Floats, ask: Floats, bid_size: Floats, ask_size: Floats) -> Integers:
    """What came to the bid less what came to the ask over 50 quotes, in units of the sizes that stood there."""
    buy, sell = whole(bid_size), whole(ask_size)
    up, down = bid[:, 1] >= bid[:, 0], bid[:, 1] <= bid[:, 0]
    cheaper, dearer = ask[:, 1] <= ask[:, 0], ask[:, 1] >= ask[:, 0]
    flow = up * buy[:, 1] - down * buy[:, 0] - cheaper * sell[:, 1] + dearer * sell[:, 0]
    return np.array([flow, buy[:, 1] + sell[:, 1]])


@of_quotes(
    inputs=(BID, ASK),
    window=200,
    span_ns=5 * _MINUTE_NS,
    min_rows=2,
    missing="latest",
    unit="share",
    formula="m(t) / mean of m over the quotes of 5 minutes, 200 at the most, − 1; m = (a + b)/2",
    source="textbook",
)
def mid_trend_5m(bid: Floats, ask: Floats) -> Floats:
    """The mid price over its mean of the last five minutes, less one."""
    mid = bid + ask
    there = np.isfinite(mid)
    average = total(np.where(there, mid, 0.0)) / there.sum(-1)
    return np.asarray(mid[:, -1] / average - 1.0)
