"""Every feature there is passes every check, and each one of the library gives its value by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.batch import compute
from features.checks import CHECKS
from features.definition import Feature, FeatureSet
from features.errors import KernelError
from features.panel import Panel
from features.registry import available, built_in
from features.specimen import specimen_panel

Floats = npt.NDArray[np.float64]
INPUT = "close_adjusted_final"
CROSS = ("rank_return_5", "rank_momentum_12_1", "rank_volatility_63", "score_return_21")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("feature", available().values(), ids=lambda feature: feature.name)
def test_every_feature_passes_every_check(feature: Feature, check: Callable[[Feature], None]) -> None:
    check(feature)


def last_row(name: str, prices: Floats) -> Floats:
    """The feature at the last of `prices` [time, instrument]."""
    times = np.arange(1, len(prices) + 1, dtype=np.int64)
    columns = tuple(f"I{at}" for at in range(prices.shape[1]))
    panel = Panel(INPUT, prices, times, times, columns)
    return compute(FeatureSet((built_in()[name],)), panel).values[-1, :, 0]


def returns_of(prices: Floats, rows: int) -> Floats:
    tail = prices[-rows - 1 :]
    return np.array([b / a - 1 for a, b in pairwise(tail)])


def kaufman(prices: Floats) -> float:
    tail = prices[-64:]
    return float((tail[-1] - tail[0]) / sum(abs(b - a) for a, b in pairwise(tail)))


def deepest(prices: Floats) -> float:
    return min(prices[j] / prices[i] - 1 for i in range(len(prices)) for j in range(i, len(prices)))


def fisher_skewness(values: Floats) -> float:
    centred = values - np.mean(values)
    return float(np.mean(centred**3) / np.mean(centred**2) ** 1.5)


BY_HAND: dict[str, Callable[[Floats], float]] = {
    "return_1": lambda p: p[-1] / p[-2] - 1,
    "return_5": lambda p: p[-1] / p[-6] - 1,
    "return_21": lambda p: p[-1] / p[-22] - 1,
    "return_63": lambda p: p[-1] / p[-64] - 1,
    "momentum_12_1": lambda p: p[-22] / p[-253] - 1,
    "largest_return_21": lambda p: max(returns_of(p, 21)),
    "volatility_21": lambda p: float(np.std(returns_of(p, 21), ddof=1)),
    "volatility_63": lambda p: float(np.std(returns_of(p, 63), ddof=1)),
    "volatility_ratio_21_126": lambda p: float(np.std(returns_of(p, 21), ddof=1) / np.std(returns_of(p, 126), ddof=1)),
    "downside_volatility_63": lambda p: float(np.sqrt(np.mean(np.minimum(returns_of(p, 63), 0) ** 2))),
    "skewness_63": lambda p: fisher_skewness(returns_of(p, 63)),
    "drawdown_126": lambda p: deepest(p[-126:]),
    "distance_from_high_252": lambda p: p[-1] / max(p[-252:]) - 1,
    "distance_from_low_252": lambda p: p[-1] / min(p[-252:]) - 1,
    "distance_from_mean_50": lambda p: p[-1] / float(np.mean(p[-50:])) - 1,
    "straightness_63": kaufman,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_values_by_hand(name: str) -> None:
    prices = specimen_panel(INPUT, rows=300, gaps=False).values
    expected = [BY_HAND[name](prices[:, column]) for column in range(prices.shape[1])]
    np.testing.assert_allclose(last_row(name, prices), expected, rtol=1e-10)


def test_every_feature_of_the_library_is_computed_by_hand_somewhere() -> None:
    assert set(built_in()) == {*BY_HAND, *CROSS}


@pytest.mark.parametrize("name", CROSS[:3])
def test_ranks_are_spread_evenly_and_follow_the_ranked_value(name: str) -> None:
    prices = specimen_panel(INPUT, rows=300, gaps=False).values
    ranks = last_row(name, prices)
    np.testing.assert_allclose(sorted(ranks), np.linspace(-0.5, 0.5, 7))
    ranked = last_row(name.removeprefix("rank_"), prices)
    assert (np.argsort(ranks) == np.argsort(ranked)).all()


def test_equal_values_share_a_rank_and_the_missing_have_none() -> None:
    prices = np.full((6, 5), 10.0)
    prices[-1] = [11.0, 12.0, 12.0, 9.0, np.nan]
    ranks = last_row("rank_return_5", prices)
    assert ranks[1] == ranks[2]
    np.testing.assert_allclose(ranks, [-0.5 + 1 / 3, 1 / 3, 1 / 3, -0.5, np.nan], rtol=1e-15)


def test_a_lone_instrument_ranks_in_the_middle() -> None:
    assert last_row("rank_return_5", np.array([[10.0], [9.0], [9.0], [9.0], [9.0], [8.0]])).tolist() == [0.0]


def test_standard_scores_by_hand() -> None:
    prices = specimen_panel(INPUT, rows=30, gaps=False).values
    returns = prices[-1] / prices[-22] - 1
    expected = (returns - returns.mean()) / returns.std(ddof=1)
    np.testing.assert_allclose(last_row("score_return_21", prices), expected, rtol=1e-10)


def test_a_market_that_stands_still_has_no_ratio_but_zero_returns() -> None:
    still = np.full((300, 3), 7.0)
    for name in ("skewness_63", "straightness_63", "volatility_ratio_21_126", "score_return_21"):
        assert np.isnan(last_row(name, still)).all(), name
    for name in ("return_1", "volatility_63", "drawdown_126", "distance_from_high_252", "rank_return_5"):
        assert (last_row(name, still) == 0.0).all(), name


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    exponents=st.lists(st.integers(-40, 40), min_size=4, max_size=4),
    factors=st.lists(st.floats(1e-6, 1e6), min_size=4, max_size=4),
)
def test_scaling_a_price_series_changes_no_feature(seed: int, exponents: list[int], factors: list[float]) -> None:
    """To the bit for powers of two; for any other factor each product is rounded, and features move by as much.

    Prices are drawn from a continuum, so that no two instruments tie: equal ranks could be told apart by rounding.
    """
    rng = np.random.default_rng(seed)
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (300, 4)), axis=0))
    prices[rng.random(prices.shape) < 0.002] = np.nan
    times = np.arange(1, 301, dtype=np.int64)
    panel = Panel(INPUT, prices, times, times, ("A", "B", "C", "D"))
    whole = FeatureSet(tuple(built_in().values()))
    expected = compute(whole, panel).values
    exact = compute(whole, replace(panel, values=prices * 2.0 ** np.array(exponents))).values
    np.testing.assert_array_equal(exact.view(np.uint64), expected.view(np.uint64))
    rounded = compute(whole, replace(panel, values=prices * np.array(factors))).values
    np.testing.assert_allclose(rounded, expected, rtol=1e-9, atol=1e-11)


# -- the checks themselves can fail ---------------------------------------------------------------------------------


def price_level(close: Floats) -> Floats:
    return np.asarray(close[:, -1])


def against_the_first_time(close: Floats) -> Floats:
    return np.asarray(close[:, -1] / close[0, -1])


def positional(close: Floats) -> Floats:
    return np.asarray(close[..., -1] / close[..., 0] + np.arange(close.shape[1]))


@pytest.mark.parametrize(
    ("kernel", "kind", "message"),
    [
        (price_level, "window", "prices times a power of two"),
        (against_the_first_time, "window", "expected"),
        (positional, "cross_section", "whatever other columns"),
    ],
)
def test_a_feature_that_breaks_the_contract_is_found(kernel: Callable[..., Floats], kind: str, message: str) -> None:
    broken = Feature(kernel.__name__, kernel, (INPUT,), 5, 5, kind, "?", "strict", 1, "nobody")  # type: ignore[arg-type]

    def run_all() -> None:
        for check in CHECKS:
            check(broken)

    with pytest.raises(KernelError, match=message):
        run_all()
