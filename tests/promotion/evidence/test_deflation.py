"""Expected maxima and deflated ratios: Bailey and López de Prado 2014, pypbo's tests, quadrature, simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion.evidence.deflation import (
    calibrated_confidence,
    calibrated_threshold_z,
    calibrated_z,
    deflated_sharpe,
    deflated_threshold,
    effective_rank,
    effective_trials,
    expected_maximum,
    minimum_backtest_length,
    power_of_threshold,
    published_threshold_z,
    size_of_threshold,
)
from promotion.evidence.errors import GapError, NotValidError, TooFewError
from promotion.evidence.sharpe import AnnualSharpe, PerPeriodSharpe, probabilistic_sharpe

PAPER = PerPeriodSharpe(2.5 / math.sqrt(250), 1250, -3, 10)
PAPER_VARIANCE = 0.5 / 250


@pytest.mark.parametrize(
    ("trials", "published", "exact"),
    [
        (2, 0.51976, 0.56419),
        (5, 1.19259, 1.16296),
        (10, 1.57460, 1.53875),
        (20, 1.90071, 1.86748),
        (45, 2.23564, 2.20772),
        (100, 2.53060, 2.50759),
        (1000, 3.25512, 3.24144),
        (10000, 3.86066, 3.85162),
    ],
)
def test_expected_maximum_table(trials: int, published: float, exact: float) -> None:
    assert expected_maximum(trials, variant="published") == pytest.approx(published, abs=5.1e-6)
    assert expected_maximum(trials) == pytest.approx(exact, abs=5.1e-6)


def test_expected_maximum_in_full() -> None:
    assert expected_maximum(100, variant="published") == pytest.approx(2.53060289320168, rel=1e-9)
    assert expected_maximum(2) == pytest.approx(1 / math.sqrt(math.pi), rel=1e-9)
    assert expected_maximum(3) == pytest.approx(1.5 / math.sqrt(math.pi), rel=1e-9)
    assert expected_maximum(1) == expected_maximum(1, variant="published") == 0.0


def test_the_papers_example() -> None:
    level = deflated_threshold(trial_sharpe_variance=PAPER_VARIANCE, trials=100)
    assert level.value == pytest.approx(0.11317200186513214, rel=1e-9)
    assert level.annualised(250).value == pytest.approx(1.7894, abs=5e-5)
    deflated = deflated_sharpe(PAPER, trial_sharpe_variance=PAPER_VARIANCE, trials=100)
    assert deflated == pytest.approx(0.90039683444939, rel=1e-9)


@pytest.mark.parametrize(
    ("ratio", "trials", "expected"),
    [
        (PAPER, 46, 0.9505017069),
        (PerPeriodSharpe(PAPER.value, 1250), 88, 0.9504908168),
        (PerPeriodSharpe(PAPER.value, 1250), 100, 0.9427705860),
        (PAPER, 10, 0.9938796415),
    ],
)
def test_deflated_sharpe_printed(ratio: PerPeriodSharpe, trials: int, expected: float) -> None:
    deflated = deflated_sharpe(ratio, trial_sharpe_variance=PAPER_VARIANCE, trials=trials)
    assert deflated == pytest.approx(expected, rel=1e-9)
    if trials == 46:
        level = deflated_threshold(trial_sharpe_variance=PAPER_VARIANCE, trials=46)
        assert level.value == pytest.approx(0.1003623706, rel=1e-9)


def test_one_trial_deflates_nothing() -> None:
    assert deflated_sharpe(PAPER, trial_sharpe_variance=0.0, trials=1) == probabilistic_sharpe(PAPER)


@given(st.floats(0.1, 3), st.integers(100, 5000), st.integers(1, 5000), st.sampled_from([12.0, 52.0, 250.0]))
def test_the_form_of_the_input_does_not_matter(annual: float, observations: int, trials: int, periods: float) -> None:
    ratio = PerPeriodSharpe(annual / math.sqrt(periods), observations, -0.5, 6)
    back = PerPeriodSharpe(AnnualSharpe(annual, periods).per_period().value, observations, -0.5, 6)
    one, other = (deflated_sharpe(form, trial_sharpe_variance=0.2 / periods, trials=trials) for form in (ratio, back))
    assert one == pytest.approx(other, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize(
    ("trials", "published_z", "published_size", "exact_z"),
    [(10, 3.2195, 0.0064, 2.5679), (100, 4.1755, 0.0015, 3.2834), (1000, 4.9000, 0.0005, 3.8844)],
)
def test_size_of_the_published_and_the_calibrated_threshold(
    trials: int, published_z: float, published_size: float, exact_z: float
) -> None:
    assert published_threshold_z(trials) == pytest.approx(published_z, abs=5.1e-5)
    assert size_of_threshold(published_threshold_z(trials), trials) == pytest.approx(published_size, abs=5.1e-5)
    assert calibrated_threshold_z(trials) == pytest.approx(exact_z, abs=5.1e-5)
    assert size_of_threshold(calibrated_threshold_z(trials), trials) == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize(
    ("trials", "years", "published", "calibrated"),
    [
        (10, 5, 0.55, 0.78),
        (10, 10, 0.94, 0.99),
        (100, 5, 0.21, 0.53),
        (100, 10, 0.71, 0.93),
        (1000, 5, 0.06, 0.30),
        (1000, 10, 0.44, 0.80),
    ],
)
def test_power_table(trials: int, years: int, published: float, calibrated: float) -> None:
    """A true annual ratio of 1.5 on daily data (252 a year)."""
    true = AnnualSharpe(1.5, 252).per_period()
    thresholds = (published_threshold_z(trials), calibrated_threshold_z(trials))
    powers = [power_of_threshold(threshold, true, 252 * years) for threshold in thresholds]
    assert powers == pytest.approx([published, calibrated], abs=6e-3)


def test_the_calibrated_rule_promotes_five_searches_in_a_hundred_of_nothing() -> None:
    """10,000 searches over 100 worthless strategies: the best one's z, drawn as its law allows."""
    best = np.random.default_rng(11).standard_normal((10_000, 100)).max(axis=1)
    observations = 2520
    passed = [
        calibrated_confidence(PerPeriodSharpe(z / math.sqrt(observations), observations), 100) >= 0.95 for z in best
    ]
    assert np.mean(passed) == pytest.approx(0.05, abs=0.01)


def test_calibrated_z_counts_null_standard_errors() -> None:
    assert calibrated_z(PerPeriodSharpe(0.1, 400, -2, 12)) == pytest.approx(2.0, rel=1e-12)


def test_minimum_backtest_length() -> None:
    """pypbo: 45 trials, an annual ratio of 1; the paper's bound is 2·ln N / SR²."""
    assert minimum_backtest_length(45, 1.0) == pytest.approx(4.9980870, abs=5.1e-8)
    assert minimum_backtest_length(45, 1.0) < 2 * math.log(45)


@pytest.mark.parametrize(
    ("correlation", "mean_formula", "rank"), [(0.3, 7.3, 7.715), (0.7, 3.7, 3.243), (0.9, 1.9, 1.649)]
)
def test_effective_trials_under_equal_correlation(correlation: float, mean_formula: float, rank: float) -> None:
    matrix = np.full((10, 10), correlation) + (1 - correlation) * np.eye(10)
    assert effective_trials(matrix) == pytest.approx(mean_formula, rel=1e-9)
    assert effective_rank(matrix) == pytest.approx(rank, abs=5.1e-4)


def test_effective_rank_printed() -> None:
    """The tests of zoonek/2025-sharpe-ratio."""
    assert effective_rank(np.eye(3)) == pytest.approx(3, rel=1e-12)
    assert effective_rank(np.array([[1, 0.1, 0.7], [0.1, 1, 0.8], [0.7, 0.8, 1]])) == pytest.approx(1.84, abs=0.01)


def test_trials_without_returns_count_as_opened() -> None:
    assert effective_trials(np.full((4, 4), 0.5) + 0.5 * np.eye(4), trials=20) == pytest.approx(0.5 + 0.5 * 20)
    assert effective_trials(np.eye(1), trials=7) == 7


def test_bad_input() -> None:
    with pytest.raises(TooFewError, match="crashed ones too"):
        expected_maximum(0)
    with pytest.raises(NotValidError, match="variance across trials"):
        deflated_threshold(trial_sharpe_variance=math.nan, trials=10)
    with pytest.raises(NotValidError, match="probability inside"):
        calibrated_threshold_z(10, size=1.0)
    with pytest.raises(NotValidError, match="square matrix"):
        effective_rank(np.ones((2, 3)))
    with pytest.raises(GapError):
        effective_trials(np.array([[1.0, np.nan], [np.nan, 1.0]]))
    with pytest.raises(NotValidError, match="above 0"):
        minimum_backtest_length(45, 0.0)
