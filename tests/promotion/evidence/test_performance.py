"""The one book of backtest and live: what it earns and pays, when, and that it is the same bits a session at a time."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from promotion.config import Construction, Costs
from promotion.evidence.errors import GapError, NotValidError, RuinError, ShapeError
from promotion.evidence.performance import PaperBook, Performance, performance
from promotion.evidence.positions import positions, targets

FREE = Costs(half_spread_bps=0, impact_coefficient=0, adv_assumed_usd=1e6, capital_usd=1e6)
DEAR = Costs(
    half_spread_bps=3, impact_coefficient=0.7, impact_volatility_sessions=5, adv_assumed_usd=5e8, capital_usd=25e6
)
PLAIN = Construction(max_weight=1.0)


def book_of(result: Performance) -> np.ndarray:
    return np.array([getattr(result, item.name) for item in fields(result)])


def test_ranks_are_centred_and_scaled_to_the_gross_leverage() -> None:
    weights = positions(np.array([[3.0, 1.0, 2.0, np.nan]]), PLAIN)
    assert weights.tolist() == [[0.5, -0.5, 0.0, 0.0]]


def test_long_only_holds_the_upper_half() -> None:
    weights = positions(np.array([[3.0, 1.0, 2.0, 4.0]]), Construction(kind="long_only", max_weight=1.0))
    assert weights.tolist() == [[0.25, 0.0, 0.0, 0.75]]


def test_a_bound_weight_is_cut_and_not_given_to_others() -> None:
    weights = positions(np.array([[1.0, 2.0, 3.0]]), Construction(max_weight=0.2))
    assert weights.tolist() == [[-0.2, 0.0, 0.2]]


@pytest.mark.parametrize("row", [[np.nan] * 3, [1.0, np.nan, np.nan], [2.0, 2.0, 2.0]])
def test_nothing_to_rank_holds_nothing(row: list[float]) -> None:
    assert not positions(np.array([row]), PLAIN).any()


def test_smoothing_averages_the_targets_there_are() -> None:
    scores = np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 1.0]])
    smooth = positions(scores, Construction(max_weight=1.0, smoothing_sessions=2))
    assert smooth.tolist() == [[-0.5, 0.5], [0.0, 0.0], [0.5, -0.5]]


def test_a_weight_decided_at_t_earns_from_the_next_close_to_the_one_after() -> None:
    weights = np.zeros((5, 1))
    weights[1] = 1.0
    returns = np.array([[0.01], [0.02], [0.03], [0.04], [0.05]])
    assert performance(weights, returns, costs=FREE).net.tolist() == [0, 0, 0, 0.04, 0]
    at_once = performance(weights, returns, costs=FREE, execution_lag_sessions=0)
    assert at_once.net.tolist() == [0, 0, 0.03, 0, 0]


def test_costs_by_hand() -> None:
    """Buys half of the capital, holds it while it gains 10 %, sells: spread and square-root impact on both trades."""
    weights = np.array([[0.5], [0.0], [0.0]])
    returns = np.array([[0.02], [0.0], [0.1]])
    result = performance(weights, returns, costs=DEAR)
    sold = 0.55 / 1.05
    assert result.turnover == pytest.approx([0, 0.5, sold], rel=1e-12)
    assert result.gross == pytest.approx([0, 0, 0.05], rel=1e-12)
    assert result.cost_spread == pytest.approx([0, 0.5 * 3e-4, sold * 3e-4], rel=1e-12)
    deviation = [0.02, np.sqrt(0.02**2 / 2)]  # root mean square of what was known before each trade
    impact = [x * 0.7 * sd * np.sqrt(x * 25 / 500) for x, sd in zip((0.5, sold), deviation, strict=True)]
    assert result.cost_impact == pytest.approx([0, *impact], rel=1e-12)
    assert result.net == pytest.approx(result.gross - result.cost_spread - result.cost_impact, rel=1e-15)
    assert result.exposure.tolist() == [0, 0.5, 0]


def test_holdings_drift_with_prices_between_trades() -> None:
    """Equal weights that stay equal must sell what rose: turnover is not zero."""
    weights = np.full((4, 2), 0.5)
    returns = np.array([[0, 0], [0, 0], [0.1, 0.0], [0.0, 0.0]])
    drifted = 0.55 / 1.05
    assert performance(weights, returns, costs=FREE).turnover[2] == pytest.approx(2 * (drifted - 0.5), rel=1e-12)


books = st.tuples(st.integers(1, 30), st.integers(1, 7)).flatmap(
    lambda shape: st.tuples(
        arrays(np.float64, shape, elements=st.one_of(st.just(np.nan), st.floats(-3, 3))),
        arrays(np.float64, shape, elements=st.floats(-0.2, 0.2)),
        arrays(np.float64, (4, shape[1]), elements=st.one_of(st.just(np.nan), st.floats(-0.2, 0.2))),
    )
)


@settings(max_examples=150, deadline=None)
@given(books, st.integers(0, 3), st.integers(1, 12), st.sampled_from(["long_short", "long_only"]), st.integers(1, 9))
def test_one_session_at_a_time_gives_the_same_bits(
    book: tuple[np.ndarray, np.ndarray, np.ndarray], lag: int, smoothing: int, kind: str, memory: int
) -> None:
    scores, returns, history = book
    history[-1] = 0.01  # every name has one return at least
    construction = Construction(kind=kind, smoothing_sessions=smoothing, max_weight=0.4)  # type: ignore[arg-type]
    costs = Costs(
        half_spread_bps=3,
        impact_coefficient=0.7,
        impact_volatility_sessions=memory,
        adv_assumed_usd=5e8,
        capital_usd=25e6,
    )
    batch = performance(
        positions(scores, construction), returns, costs=costs, execution_lag_sessions=lag, history=history
    )
    paper = PaperBook(construction, costs, instruments=scores.shape[1], execution_lag_sessions=lag, history=history)
    steps = [paper.step(*session) for session in zip(scores, returns, strict=True)]
    by_session = np.array([[getattr(step, item.name) for step in steps] for item in fields(batch)])
    assert by_session.tobytes() == book_of(batch).tobytes()


@settings(max_examples=60, deadline=None)
@given(books, st.integers(0, 29), st.integers(0, 2**32 - 1))
def test_the_future_changes_nothing_past(book: tuple[np.ndarray, np.ndarray, np.ndarray], cut: int, seed: int) -> None:
    scores, returns, history = book
    history[-1] = 0.01
    cut = min(cut, len(scores) - 1)
    construction = Construction(smoothing_sessions=3, max_weight=0.5)

    def run(scores: np.ndarray, returns: np.ndarray) -> np.ndarray:
        weights = positions(scores, construction)
        return book_of(performance(weights, returns, costs=DEAR, history=history))

    generator = np.random.default_rng(seed)
    other_scores, other_returns = scores.copy(), returns.copy()
    other_scores[cut:] = generator.normal(size=scores[cut:].shape)  # scores at a close move no row up to that close
    other_returns[cut + 1 :] = generator.uniform(-0.2, 0.2, size=returns[cut + 1 :].shape)
    past = slice(0, cut + 1)
    assert run(scores, returns)[:, past].tobytes() == run(other_scores, other_returns)[:, past].tobytes()


def test_a_book_restarted_in_the_middle_gives_the_same_bytes() -> None:
    """Rows from a restart on are the whole run's, once the restart has seen what the windows hold."""
    generator = np.random.default_rng(5)
    scores, returns = generator.normal(size=(300, 6)), generator.normal(size=(300, 6)) * 0.02
    construction = Construction(smoothing_sessions=4)
    whole = performance(positions(scores, construction), returns, costs=DEAR)
    start = 150
    weights = positions(scores[start - 10 :], construction)
    tail = performance(weights, returns[start - 10 :], costs=DEAR, history=returns[: start - 10])
    assert book_of(tail)[:, 10:].tobytes() == book_of(whole)[:, start:].tobytes()


def test_a_refused_session_changes_nothing() -> None:
    construction = Construction(max_weight=1.0)
    paper = PaperBook(construction, FREE, instruments=2, execution_lag_sessions=0)
    paper.step(np.array([1.0, 2.0]), np.array([0.0, 0.0]))
    with pytest.raises(GapError, match="repair the prices"):
        paper.step(np.array([1.0, 2.0]), np.array([np.nan, 0.1]))
    assert paper.step(np.array([1.0, 2.0]), np.array([0.0, 0.1])).gross == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("weights", "returns", "error", "says"),
    [
        (np.ones((3, 2)), np.zeros((3, 1)), ShapeError, r"shape \(3, 2\).*found \(3, 1\)"),
        (np.array([[np.nan], [1.0]]), np.zeros((2, 1)), GapError, r"weights.*\[0, 0\]"),
        (np.ones((4, 1)), np.array([[0], [0], [np.nan], [0]]), GapError, "gap at row 2"),
        (np.full((3, 1), 2.0), np.array([[0], [0], [-0.6]]), RuinError, "row 2"),
    ],
)
def test_books_that_cannot_be_kept_are_refused(
    weights: np.ndarray, returns: np.ndarray, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        performance(weights, returns, costs=FREE)


def test_a_gap_where_nothing_is_held_is_no_gap() -> None:
    weights = np.array([[1.0, 0.0]] * 3)
    returns = np.array([[0.0, np.nan], [0.0, np.nan], [0.1, np.nan]])
    assert performance(weights, returns, costs=FREE).net.tolist() == [0, 0, 0.1]


def test_a_cost_without_a_volatility_is_refused() -> None:
    with pytest.raises(NotValidError, match=r"row 1, column 0.*history"):
        performance(np.ones((3, 1)), np.array([[np.nan], [0.0], [0.0]]), costs=DEAR)


def test_bad_scores_and_universes_are_refused() -> None:
    with pytest.raises(GapError, match="row 0, column 1"):
        targets(np.array([[1.0, np.inf]]), PLAIN)
    with pytest.raises(ShapeError, match="one row a session"):
        positions(np.ones(3), PLAIN)
    with pytest.raises(ShapeError, match="align the universe"):
        performance(np.ones((3, 2)), np.zeros((3, 2)), costs=FREE, history=np.zeros((2, 3)))
    with pytest.raises(ShapeError, match="expected 2 instruments, found 3"):
        PaperBook(PLAIN, FREE, instruments=2).step(np.ones(3), np.zeros(2))
    with pytest.raises(ShapeError, match="before it decides"):
        performance(np.ones((3, 1)), np.zeros((3, 1)), costs=FREE, execution_lag_sessions=-1)
