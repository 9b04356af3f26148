"""Null laws: the realised rate of false alarms, on fresh futures looked at every session, keeps the stated budget."""

from __future__ import annotations

import numpy as np
import pytest

from promotion.evidence.budget import episodes_per_year
from promotion.evidence.drift import count_bins, ks_distance, psi, quantile_bins
from promotion.evidence.errors import ConstantError, GapError, NotValidError, RecordError, ShapeError, TooFewError
from promotion.evidence.nulls import DriftNulls, SharpeNulls, drift_nulls, sharpe_nulls
from promotion.evidence.sharpe import AnnualSharpe

HEALTHY = AnnualSharpe(1.5, 252).per_period()
YEARS = 10


def returns_of(law: str, paths: int, generator: np.random.Generator) -> np.ndarray:
    """Daily returns [path, session] of ten years, true annual ratio 1.5, unit variance before scaling."""
    warm, length = 200, 200 + 252 * YEARS
    shocks = generator.standard_normal((paths, length))
    if law == "student":
        shocks = generator.standard_t(4, size=(paths, length)) / np.sqrt(2)
    if law == "autocorrelated":
        for t in range(1, length):
            shocks[:, t] = 0.2 * shocks[:, t - 1] + np.sqrt(1 - 0.2**2) * shocks[:, t]
    if law == "garch":
        shocks, variance = generator.standard_t(6, size=(paths, length)) / np.sqrt(1.5), np.ones(paths)
        for t in range(length):
            shocks[:, t] *= np.sqrt(variance)
            variance = 0.02 + 0.08 * shocks[:, t] ** 2 + 0.9 * variance
    return 0.01 * (shocks[:, warm:] + HEALTHY.value)


def rolling_sharpe(returns: np.ndarray, window: int = 21) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(returns, window, axis=1)
    return windows.mean(axis=2) / windows.std(axis=2, ddof=1) * np.sqrt(252)


@pytest.mark.parametrize("law", ["normal", "student", "garch", "autocorrelated"])
def test_false_cuts_keep_their_budget(law: str) -> None:
    """Thresholds from 16 ten-year backtests, each against 600 healthy years: the mean realised rate of episodes."""
    generator = np.random.default_rng(20)
    backtests, futures = returns_of(law, 16, generator), rolling_sharpe(returns_of(law, 60, generator))
    realised = np.zeros(2)
    for backtest in backtests:
        nulls = sharpe_nulls(backtest, level=HEALTHY, draws=150)
        realised += [episodes_per_year(futures < nulls.threshold(budget)) / budget / 16 for budget in (0.2, 1.0)]
    assert (realised <= 1.15).all(), realised
    assert (realised >= 0.6).all(), realised


def test_the_desk_rule_alarms_seventeen_times_in_ten_years() -> None:
    """Normal returns, true annual ratio 1.5: 1.7 low-side episodes a year; one window's sd is 3.651 (t, 20 df)."""
    nulls = sharpe_nulls(returns_of("normal", 1, np.random.default_rng(21))[0], level=HEALTHY, draws=300)
    assert nulls.desk_alarms_per_year == pytest.approx(1.7, abs=0.15)
    assert nulls.sd == pytest.approx(np.sqrt(252 / 21) * np.sqrt(20 / 18), rel=0.06)
    assert nulls.desk_threshold == pytest.approx(nulls.mean - 2 * nulls.sd)
    assert nulls.threshold(0.2) < nulls.desk_threshold < nulls.threshold(4.0)


def test_a_dead_strategy_is_found_more_often() -> None:
    nulls = sharpe_nulls(returns_of("normal", 1, np.random.default_rng(22))[0], level=HEALTHY, draws=200)
    losing = returns_of("normal", 40, np.random.default_rng(23)) - 0.01 * 2 * HEALTHY.value  # ratio −1.5
    assert episodes_per_year(rolling_sharpe(losing) < nulls.threshold(0.2)) > 4 * 0.2


def test_the_law_stands_on_the_level_it_is_given() -> None:
    returns = returns_of("normal", 1, np.random.default_rng(24))[0]
    selected = sharpe_nulls(returns, draws=100)
    deflated = sharpe_nulls(returns, level=AnnualSharpe(0.5, 252).per_period(), draws=100)
    assert deflated.centre == pytest.approx(0.5)
    assert deflated.threshold(0.2) < selected.threshold(0.2)
    assert deflated.mean == pytest.approx(0.5, abs=0.25)


def features_of(
    memory: float, common: float, shape: tuple[int, int, int], generator: np.random.Generator
) -> np.ndarray:
    """Stationary AR(1) features [session, instrument, feature], unit variance, a share of each shock in common."""
    sessions, instruments, features = shape
    values = generator.standard_normal((sessions + 400, instruments, features)) * np.sqrt(1 - common)
    values += generator.standard_normal((sessions + 400, 1, features)) * np.sqrt(common)
    for t in range(1, sessions + 400):
        values[t] = memory * values[t - 1] + np.sqrt(1 - memory**2) * values[t]
    return values[400:]


def watch(reference: np.ndarray, future: np.ndarray, window: int = 21) -> tuple[np.ndarray, np.ndarray]:
    """PSI and KS [look, feature] of every window of `future`, as a monitor measures them."""
    features = reference.shape[2]
    rows = reference.reshape(-1, features)
    edges = quantile_bins(rows, 100)
    base = count_bins(edges, rows)[:, :100]
    sessions = np.cumsum([count_bins(edges, session)[:, :100] for session in future], axis=0)
    inside = sessions[window - 1 :].copy()
    inside[1:] -= sessions[:-window]
    return psi(tenths(base), tenths(inside)), ks_distance(base, inside)


def tenths(counts: np.ndarray) -> np.ndarray:
    return counts.reshape(*counts.shape[:-1], 10, 10).sum(axis=-1)


def alarms(nulls: DriftNulls, budget: float, psis: np.ndarray, distances: np.ndarray) -> np.ndarray:
    beyond = (psis > nulls.psi_threshold(budget)) | (distances > nulls.ks_threshold(budget))
    return np.asarray(beyond.any(axis=1))


@pytest.mark.parametrize(("memory", "common"), [(0.5, 0.3), (0.95, 0.0), (0.98, 0.3)])
def test_false_feature_alarms_keep_their_budget(memory: float, common: float) -> None:
    """Eight references, eight autocorrelated features each, ten fresh years: episodes of any alarm, a year."""
    realised, desk_share = [], []
    for seed in range(8):
        generator = np.random.default_rng([30, seed])
        path = features_of(memory, common, (4520, 10, 8), generator)
        reference, future = path[:2000], path[2000:]
        nulls = drift_nulls(reference, draws=60, seed=seed)
        realised.append(episodes_per_year(alarms(nulls, 1.0, *watch(reference, future))[None]))
        desk_share.append(nulls.desk_ks_alarm_share)
    assert np.mean(realised) <= 1.1, realised
    assert np.mean(desk_share) > 0.9  # the textbook rule is in alarm on nine healthy sessions of ten


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return features_of(0.9, 0.2, (2000, 20, 4), np.random.default_rng(31))


def test_one_features_fault_is_found_within_its_window(reference: np.ndarray) -> None:
    nulls = drift_nulls(reference, draws=60)
    for fault in (lambda x: x * 100, lambda x: x + 5, lambda x: np.zeros_like(x)):
        future = features_of(0.9, 0.2, (42, 20, 4), np.random.default_rng(32))
        assert not alarms(nulls, 1.0, *watch(reference, future)).any()
        future[21:, :, 2] = fault(future[21:, :, 2])
        psis, distances = watch(reference, future)
        assert alarms(nulls, 1.0, psis, distances)[-1]
        assert psis[-1].argmax() == 2


def test_a_window_wholly_beyond_the_reference_is_an_alarm_whatever_the_law() -> None:
    """A feature so slow that healthy windows look like nothing else: its quantiles alone would excuse everything."""
    slow = features_of(0.999, 0.9, (2000, 20, 2), np.random.default_rng(37))
    future = np.broadcast_to(slow.max() + 1.0, (21, 20, 2))
    assert alarms(drift_nulls(slow, draws=40), 0.1, *watch(slow, future)).all()


def test_the_null_is_that_of_the_monitors_own_statistic(reference: np.ndarray) -> None:
    """The reference's own windows lie inside the simulated law."""
    nulls = drift_nulls(reference, draws=60)
    psis, distances = watch(reference, reference)
    middle = list(nulls.quantiles).index(0.5)
    assert np.median(psis, axis=0) == pytest.approx(nulls.psi_quantiles[middle], rel=0.35)
    assert np.median(distances, axis=0) == pytest.approx(nulls.ks_quantiles[middle], rel=0.25)


def test_missing_values_are_left_out(reference: np.ndarray) -> None:
    holed = reference.copy()
    holed[np.random.default_rng(33).random(holed.shape) < 0.1] = np.nan
    whole, partial = drift_nulls(reference, draws=40), drift_nulls(holed, draws=40)
    assert partial.ks_threshold(1.0) == pytest.approx(whole.ks_threshold(1.0), rel=0.2)


def test_years_without_a_feature_are_no_part_of_its_law(reference: np.ndarray) -> None:
    """A feature that begins late is judged by the years it has, not by the distance of nothing from something."""
    late = reference.copy()
    late[:1200, :, 1] = np.nan
    whole, partial = drift_nulls(reference, draws=60), drift_nulls(late, draws=60)
    assert partial.ks_threshold(1.0)[1] == pytest.approx(whole.ks_threshold(1.0)[1], rel=0.35)
    assert partial.psi_threshold(1.0)[1] < 2 * whole.psi_threshold(1.0)[1]


def test_same_arrays_same_nulls_and_they_travel(reference: np.ndarray) -> None:
    returns = returns_of("normal", 1, np.random.default_rng(34))[0]
    for make in (lambda: drift_nulls(reference, draws=20), lambda: sharpe_nulls(returns, draws=50)):
        nulls, again = make(), make()
        arrays, others = nulls.to_arrays(), again.to_arrays()
        assert all(array.tobytes() == others[name].tobytes() for name, array in arrays.items())
        back = type(nulls).from_arrays(arrays).to_arrays()
        assert all(array.tobytes() == back[name].tobytes() for name, array in arrays.items())
        arrays.pop("budgets")
        with pytest.raises(RecordError, match="budgets"):
            type(nulls).from_arrays(arrays)


def test_a_budget_that_was_not_calibrated_is_refused(reference: np.ndarray) -> None:
    with pytest.raises(NotValidError, match="cannot be calibrated"):
        drift_nulls(reference, draws=20).psi_threshold(0.01)


@pytest.mark.parametrize(
    ("values", "error", "says"),
    [
        (np.zeros((300, 5)), ShapeError, r"\[time, instrument, feature\]"),
        (np.random.default_rng(0).normal(size=(100, 20, 2)), TooFewError, "at least 210 sessions, found 100"),
        (np.ones((300, 20, 2)), ConstantError, "feature 0"),
        (np.where(np.eye(300, 20)[:, :, None] > 0, np.inf, np.arange(20)[:, None]), GapError, "infinity"),
    ],
)
def test_references_without_a_null_are_refused(values: np.ndarray, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        drift_nulls(values)


def test_records_without_a_null_are_refused(reference: np.ndarray) -> None:
    good = returns_of("normal", 1, np.random.default_rng(35))[0]
    with pytest.raises(TooFewError, match="at least 168"):
        sharpe_nulls(good[:100])
    with pytest.raises(ConstantError):
        sharpe_nulls(np.zeros(500))
    with pytest.raises(GapError):
        sharpe_nulls(np.append(good, np.nan))
    with pytest.raises(NotValidError, match="draws ≥ 20"):
        sharpe_nulls(good, draws=5)
    with pytest.raises(NotValidError, match="window ≥ 2"):
        drift_nulls(reference, window_sessions=1)


def test_nulls_of_both_kinds_say_how_long_they_simulated(reference: np.ndarray) -> None:
    returns = returns_of("normal", 1, np.random.default_rng(36))[0]
    both: tuple[DriftNulls | SharpeNulls, ...] = (drift_nulls(reference, draws=20), sharpe_nulls(returns, draws=50))
    assert [nulls.simulated_years for nulls in both] == [20, 200]
