"""Every feature there is passes every check, and each one of the library gives its value by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.batch import compute
from features.checks import CHECKS
from features.definition import Feature, FeatureSet
from features.errors import KernelError
from features.evaluate import quiet, window_values
from features.library import inputs
from features.panel import Panel
from features.registry import available, built_in
from features.specimen import STEP_NS, specimen_panel, specimen_panels

Floats = npt.NDArray[np.float64]
INPUT = "close_adjusted_final"
ON_CLOSES = FeatureSet(tuple(each for each in built_in().values() if FeatureSet((each,)).inputs == (INPUT,)))


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


def test_every_feature_says_what_it_is_and_what_it_was_tested_on() -> None:
    real = {inputs.STOCKS, inputs.STOCKS_AND_INDEX, inputs.STOCKS_IN_SECTORS, inputs.INDICES, inputs.GENERATED}
    for feature in built_in().values():
        assert feature.formula, feature.name
        assert feature.source, feature.name
        assert feature.tested_on in real, feature.name
    assert len(built_in()) >= 40
    assert sum(each.tested_on != inputs.GENERATED for each in built_in().values()) >= 40


@pytest.mark.parametrize("name", [each.name for each in built_in().values() if each.kind == "window"])
def test_a_kernel_gives_the_same_bits_for_one_entity_and_for_many(name: str) -> None:
    """Whatever stands beside it, and wherever in memory it stands."""
    feature = built_in()[name]
    panels = specimen_panels([feature], rows=feature.window + 40, gaps=False)
    lines = [panels[each].values.T for each in feature.panels]
    windows = [np.lib.stride_tricks.sliding_window_view(each, feature.window, axis=1) for each in lines]
    flat = [np.ascontiguousarray(each).reshape(-1, feature.window) for each in windows]
    with quiet():
        together = window_values(feature, flat)
        for count in (1, 2, 3, 17, 128):
            for start in range(0, len(together) - count, 13):
                some = [each[start : start + count] for each in flat]
                alone = window_values(feature, some)
                moved = window_values(feature, [np.concatenate([each[:1], each])[1:] for each in some])
                expected = together[start : start + count].view(np.uint64)
                np.testing.assert_array_equal(alone.view(np.uint64), expected)
                np.testing.assert_array_equal(moved.view(np.uint64), expected)


@pytest.mark.parametrize("name", ["rank_return_5", "rank_momentum_12_1", "rank_volatility_63"])
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


@settings(max_examples=10, deadline=None)
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
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (800, 4)), axis=0))
    prices[rng.random(prices.shape) < 0.0005] = np.nan
    times = np.arange(1, 801, dtype=np.int64) * 9 * STEP_NS
    panel = Panel(INPUT, prices, times, times, ("A", "B", "C", "D"))
    whole = ON_CLOSES
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
    return np.asarray(close / close.max(-1)[:, None] * 0.0 + np.arange(close.shape[1]))


@pytest.mark.parametrize(
    ("kernel", "kind", "message"),
    [
        (price_level, "window", "prices times a power of two"),
        (against_the_first_time, "window", "expected"),
        (positional, "cross_section", "whatever other columns"),
    ],
)
def test_a_feature_that_breaks_the_contract_is_found(kernel: Callable[..., Floats], kind: str, message: str) -> None:
    across = {"kind": "cross_section", "universe": "panel", "cut_off": "decision"}
    rows = 1 if kind == "cross_section" else 5
    more: dict[str, Any] = across if kind == "cross_section" else {}
    broken = Feature(
        name=kernel.__name__, kernel=kernel, inputs=(INPUT,), window=rows, min_rows=rows, unit="?", owner="x", **more
    )

    def run_all() -> None:
        for check in CHECKS:
            check(broken)

    with pytest.raises(KernelError, match=message):
        run_all()
