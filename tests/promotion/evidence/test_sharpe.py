"""Sharpe ratios against printed values.

Sources: Bailey and López de Prado 2012 through the tests of rubenbriones/Probabilistic-Sharpe-Ratio and pypbo; López
de Prado, Lipton and Zoonekynd 2025 (SSRN 5520741) through its published script; Lo 2002, table 1; purgedcv.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from purgedcv import min_track_record_length
from scipy import stats

from promotion.evidence.errors import ConstantError, GapError, NotValidError, ShapeError, TooFewError, UnitsError
from promotion.evidence.sharpe import (
    AnnualSharpe,
    PerPeriodSharpe,
    SharpeLevel,
    lo_standard_error,
    minimum_track_record_length,
    null_standard_error,
    probabilistic_sharpe,
    sharpe,
    standard_error,
)

HEDGE_FUND = PerPeriodSharpe(0.036 / 0.079, 24, -2.448, 10.164)


def of_annual(value: float, periods: float, **moments: float) -> PerPeriodSharpe:
    return PerPeriodSharpe(AnnualSharpe(value, periods).per_period().value, 100, **moments)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (PerPeriodSharpe(0.458, 24), 0.9816749),
        (PerPeriodSharpe(1.585 / math.sqrt(12), 24, -2.448, 10.164), 0.9132343068848602),
        (PerPeriodSharpe(0.458, 24, -2.448, 10.164), 0.9133610839),
        (PerPeriodSharpe(0.458, 36, -2.448, 10.164), 0.9535052188),
    ],
)
def test_psr_2012_printed(ratio: PerPeriodSharpe, expected: float) -> None:
    digits = len(str(expected)) - 2
    assert probabilistic_sharpe(ratio) == pytest.approx(expected, rel=1e-9, abs=0.5 * 10**-digits)


def test_psr_2012_is_phi_of_the_distance_in_standard_errors() -> None:
    """rubenbriones' returns_for_tests.csv: SR, its error, benchmark 0.05 and the PSR asserted there."""
    z = (0.24171729852769172 - 0.05) / 0.16466174867277414
    assert stats.norm.cdf(z) == pytest.approx(0.877850770122146, rel=1e-9)
    normal = PerPeriodSharpe(0.24171729852769172, 1 + (1 + 0.24171729852769172**2 / 2) / 0.16466174867277414**2)
    assert probabilistic_sharpe(normal, SharpeLevel(0.05)) == pytest.approx(0.877850770122146, rel=1e-9)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (PerPeriodSharpe(0.7079, 134, -0.2250, 2.9570), 0.1027608),
        (PerPeriodSharpe(0.8183, 134, -1.4455, 7.0497), 0.1550065),
    ],
)
def test_standard_error_printed(ratio: PerPeriodSharpe, expected: float) -> None:
    assert standard_error(ratio) == pytest.approx(expected, abs=5e-8)


@pytest.mark.parametrize(
    ("observations", "printed"),
    [
        (12, [0.306, 0.354, 0.421, 0.500, 0.677]),
        (60, [0.137, 0.158, 0.188, 0.224, 0.303]),
        (250, [0.067, 0.077, 0.092, 0.110, 0.148]),
    ],
)
def test_lo_table_1(observations: int, printed: list[float]) -> None:
    levels = (0.5, 1.0, 1.5, 2.0, 3.0)
    measured = [lo_standard_error(PerPeriodSharpe(level, observations)) for level in levels]
    assert measured == pytest.approx(printed, abs=5e-4)


def test_2025_variant_printed() -> None:
    shaped = HEDGE_FUND
    assert standard_error_2025(shaped) == pytest.approx(0.329, abs=5e-4)
    assert probabilistic_sharpe(shaped, variant="2025") == pytest.approx(0.987, abs=5e-4)
    assert probabilistic_sharpe(shaped, SharpeLevel(0.1), variant="2025") == pytest.approx(0.939, abs=5e-4)
    assert minimum_track_record_length(shaped, variant="2025") == pytest.approx(13.029, abs=5e-4)
    assert minimum_track_record_length(shaped, confidence=0.9, variant="2025") == pytest.approx(7.909, abs=5e-4)
    longer = minimum_track_record_length(shaped, SharpeLevel(0.1), confidence=0.9, variant="2025")
    assert longer == pytest.approx(16.456, abs=5e-4)
    gaussian = PerPeriodSharpe(shaped.value, 24)
    assert standard_error_2025(gaussian) == pytest.approx(0.214, abs=5e-4)


def standard_error_2025(ratio: PerPeriodSharpe) -> float:
    """The script's σ_SR: its variance at the measured ratio, over T."""
    return null_standard_error(ratio, SharpeLevel(ratio.value))


def test_2025_variant_with_autocorrelation_printed() -> None:
    assert null_standard_error(HEDGE_FUND, SharpeLevel(HEDGE_FUND.value), autocorrelation=0.2) == pytest.approx(
        0.379, abs=5e-4
    )
    psr = [probabilistic_sharpe(HEDGE_FUND, SharpeLevel(b), variant="2025", autocorrelation=0.2) for b in (0.0, 0.1)]
    assert psr == pytest.approx([0.966, 0.900], abs=5e-4)


def test_the_two_variants_disagree_on_the_papers_own_example() -> None:
    old, new = (probabilistic_sharpe(HEDGE_FUND, variant=variant) for variant in ("2012", "2025"))
    assert (round(old, 3), round(new, 3)) == (0.913, 0.987)


@pytest.mark.parametrize(
    ("ratio", "benchmark", "per_year", "years"),
    [
        (of_annual(2, 250), AnnualSharpe(1, 250), 250, 2.7311878),
        (of_annual(2, 52), AnnualSharpe(1, 52), 52, 2.8288336),
        (of_annual(2, 12), AnnualSharpe(1, 12), 12, 3.2398007),
        (of_annual(2, 12, skewness=-0.72, kurtosis=5.78), AnnualSharpe(1, 12), 12, 4.9913),
        (of_annual(3, 12, skewness=-0.72, kurtosis=5.78), AnnualSharpe(2.5, 12), 12, 27.3529202),
        (PerPeriodSharpe(0.458, 24), AnnualSharpe(0, 12), 1, 15.2508),
        (PerPeriodSharpe(0.458, 24, -2.448, 10.164), AnnualSharpe(0, 12), 1, 34.5575),
        (PerPeriodSharpe(0.458, 24, -2.448, 10.164), AnnualSharpe(0.5, 12), 1, 72.5477),
    ],
)
def test_minimum_track_record_printed(
    ratio: PerPeriodSharpe, benchmark: AnnualSharpe, per_year: float, years: float
) -> None:
    digits = len(str(years).split(".")[1])
    found = minimum_track_record_length(ratio, benchmark.per_period()) / per_year
    assert found == pytest.approx(years, abs=0.51 * 10**-digits)


@given(
    value=st.floats(0.05, 1.0),
    skewness=st.floats(-1, 1),
    excess=st.floats(0.5, 20),
    confidence=st.floats(0.6, 0.99),
)
def test_track_record_agrees_with_purgedcv_and_with_psr(
    value: float, skewness: float, excess: float, confidence: float
) -> None:
    ratio = PerPeriodSharpe(value, 10, skewness, 3 + excess)
    needed = minimum_track_record_length(ratio, confidence=confidence)
    oracle = min_track_record_length(value, 0.0, 1 - confidence, skewness, 3 + excess)  # rounds up
    assert oracle - 1 - 1e-6 <= needed <= oracle + 1e-6
    there = PerPeriodSharpe(value, needed, skewness, 3 + excess)
    assert probabilistic_sharpe(there) == pytest.approx(confidence, abs=1e-9)


def test_sharpe_measures_pearson_kurtosis_and_sample_deviation() -> None:
    returns = np.random.default_rng(3).standard_t(5, size=500) * 0.01 + 0.001
    measured = sharpe(returns)
    assert measured.value == pytest.approx(returns.mean() / returns.std(ddof=1), rel=1e-12)
    assert measured.skewness == pytest.approx(stats.skew(returns), rel=1e-9)
    assert measured.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False), rel=1e-9)


@given(st.floats(-3, 3), st.floats(1, 400))
def test_annual_and_per_period_are_two_forms_of_one_value(value: float, periods: float) -> None:
    back = AnnualSharpe(value, periods).per_period().annualised(periods)
    assert back.value == pytest.approx(value, rel=1e-12, abs=1e-300)
    assert back.periods_per_year == periods


@pytest.mark.parametrize("formula", [lo_standard_error, standard_error, probabilistic_sharpe])
def test_an_annual_ratio_is_refused(formula: object) -> None:
    with pytest.raises(UnitsError, match="per-period one, found AnnualSharpe"):
        formula(AnnualSharpe(2.5, 250))  # type: ignore[operator]


def test_an_annual_benchmark_and_a_bare_number_are_refused() -> None:
    for benchmark in (AnnualSharpe(1.0, 250), 1.0):
        with pytest.raises(UnitsError, match="per-period"):
            probabilistic_sharpe(HEDGE_FUND, benchmark)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("returns", "error", "says"),
    [
        (np.full(100, 0.001), ConstantError, "100 equal to 0.001"),
        (np.zeros(5), ConstantError, "holds nothing"),
        (np.array([0.1, -0.1]), TooFewError, "at least 3 observations, found 2"),
        (np.array([0.1, np.nan, 0.2, 0.3]), GapError, r"found nan at \[1\]"),
        (np.array([0.1, np.inf, 0.2, 0.3]), GapError, r"found inf at \[1\]"),
        (np.ones((3, 2)), ShapeError, "1 dimension"),
    ],
)
def test_returns_that_have_no_ratio_are_refused(returns: np.ndarray, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        sharpe(returns)


def test_the_wrong_moment_in_the_wrong_place_is_not_a_silent_nan() -> None:
    """A kurtosis of 10 in the skewness slot makes the paper's radicand negative."""
    with pytest.raises(NotValidError, match="positive variance"):
        probabilistic_sharpe(PerPeriodSharpe(2.5 / math.sqrt(250), 1250, 10, 1))


def test_no_track_record_is_long_enough_below_the_benchmark() -> None:
    with pytest.raises(NotValidError, match="no length would be enough"):
        minimum_track_record_length(PerPeriodSharpe(0.1, 100), SharpeLevel(0.1))


def test_the_2012_variant_knows_no_autocorrelation() -> None:
    with pytest.raises(NotValidError, match="variant='2025'"):
        probabilistic_sharpe(HEDGE_FUND, autocorrelation=0.2)
