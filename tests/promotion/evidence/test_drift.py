"""PSI and KS: Yurdakul and Naranjo's law, scipy as the oracle, and what must be refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from promotion.evidence.drift import count_bins, ks_distance, ks_p_value, ks_statistic, psi, quantile_bins
from promotion.evidence.errors import ConstantError, GapError, ShapeError, TooFewError


def test_psi_by_hand() -> None:
    p, q = np.array([10.5, 30.5]) / 41, np.array([20.5, 20.5]) / 41
    assert psi(np.array([10, 30]), np.array([20, 20])) == pytest.approx(np.sum((q - p) * np.log(q / p)), rel=1e-12)


@pytest.mark.parametrize(("reference", "current"), [(100, 100), (1000, 250), (5000, 250)])
def test_psi_has_yurdakul_and_naranjos_mean(reference: int, current: int) -> None:
    """(B − 1)(1/N + 1/M), and at N = M = 100 the printed P(> 0.1) = 0.83, which is the χ² law's; one half added to
    every count takes a little off."""
    generator = np.random.default_rng(reference)
    left = generator.multinomial(reference, [0.1] * 10, size=20_000)
    right = generator.multinomial(current, [0.1] * 10, size=20_000)
    values = psi(left, right)
    assert values.mean() == pytest.approx(9 * (1 / reference + 1 / current), rel=0.05)
    if reference == current:
        assert stats.chi2.sf(0.1 / (1 / reference + 1 / current), 9) == pytest.approx(0.83, abs=0.005)
        assert (values > 0.1).mean() == pytest.approx(0.83, abs=0.03)


@given(arrays(np.int64, (3, 6), elements=st.integers(0, 50)), arrays(np.int64, (3, 6), elements=st.integers(0, 50)))
def test_psi_is_symmetric_and_never_negative(left: np.ndarray, right: np.ndarray) -> None:
    left[:, 0] += 1  # a sample without rows has no distribution
    right[:, 0] += 1
    assert (psi(left, right) >= 0).all()
    assert psi(left, right) == pytest.approx(psi(right, left), rel=1e-9, abs=1e-15)
    assert psi(left, left) == pytest.approx(0, abs=1e-15)


def test_an_empty_bin_is_finite_and_a_bin_empty_on_both_sides_is_none() -> None:
    assert 0 < psi(np.array([50, 50]), np.array([100, 0])) < 10
    assert psi(np.array([50, 0, 50]), np.array([30, 0, 70])) == psi(np.array([50, 50]), np.array([30, 70]))


def test_quantile_bins_are_equally_filled() -> None:
    rows = np.random.default_rng(1).standard_normal((10_000, 2))
    counts = count_bins(quantile_bins(rows), rows)
    assert counts[:, :10].min() == counts[:, :10].max() == 1000
    assert not counts[:, 10].any()


def test_missing_values_are_counted_last_and_edges_belong_above() -> None:
    edges = np.array([[1.0, 2.0]])
    counts = count_bins(edges, np.array([[0.5], [1.0], [np.nan], [2.0], [9.0]]))
    assert counts.tolist() == [[1, 1, 2, 1]]


def test_counts_of_sessions_add_up() -> None:
    rows = np.random.default_rng(2).standard_normal((600, 3))
    edges = quantile_bins(rows)
    parts = count_bins(edges, rows[:250]) + count_bins(edges, rows[250:])
    assert np.array_equal(parts, count_bins(edges, rows))


def test_ks_agrees_with_scipy() -> None:
    generator = np.random.default_rng(3)
    left, right = generator.standard_normal((2000, 4)), generator.standard_normal((1500, 4)) * 1.1
    exact = ks_statistic(left, right)
    oracle = [stats.ks_2samp(left[:, k], right[:, k], method="asymp") for k in range(4)]
    assert exact == pytest.approx([result.statistic for result in oracle], rel=1e-12)
    p_values = ks_p_value(exact, 2000, 1500)
    assert p_values == pytest.approx([result.pvalue for result in oracle], abs=0.03)  # scipy corrects the limit law


@pytest.mark.parametrize(("rows", "others", "critical"), [(1000, 250, 0.096), (5000, 1000, 0.047), (250, 21, 0.309)])
def test_ks_critical_values(rows: int, others: int, critical: float) -> None:
    """c(0.05) = 1.3581: printed D95 have p values of 5 %."""
    assert ks_p_value(critical, rows, others) == pytest.approx(0.05, abs=0.004)


def test_ks_at_the_edges_is_exact_to_a_bin() -> None:
    generator = np.random.default_rng(4)
    rows, current = generator.standard_normal((5000, 3)), generator.normal([0.0, 0.2, 1.0], size=(420, 3))
    edges = quantile_bins(rows, 100)
    binned = ks_distance(count_bins(edges, rows)[:, :100], count_bins(edges, current)[:, :100])
    exact = ks_statistic(rows, current)
    assert (binned <= exact + 1e-12).all()
    assert (binned >= exact - 0.0101).all()


@pytest.mark.parametrize(
    ("rows", "error", "says"),
    [
        (np.full((200, 1), 3.0), ConstantError, "feature 0.*found 3.0 throughout"),
        (np.arange(50.0)[:, None], TooFewError, "at least 100"),
        (np.append(np.arange(200.0), np.inf)[:, None], GapError, "feature 0.*infinity"),
        (np.full((200, 1), np.nan), TooFewError, "found 0"),
        (np.arange(200.0), ShapeError, r"\[row, feature\]"),
    ],
)
def test_references_that_nothing_could_be_compared_with_are_refused(
    rows: np.ndarray, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        quantile_bins(rows)


def test_other_shapes_are_refused() -> None:
    edges = quantile_bins(np.random.default_rng(0).standard_normal((500, 2)))
    with pytest.raises(ShapeError, match="2 features, found 3"):
        count_bins(edges, np.zeros((4, 3)))
    with pytest.raises(ShapeError, match="found 2 and 3"):
        ks_statistic(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(TooFewError, match="rows on both sides"):
        ks_p_value(0.1, 0, 10)
    with pytest.raises(TooFewError, match="finite values"):
        ks_statistic(np.full((4, 1), np.nan), np.zeros((4, 1)))
