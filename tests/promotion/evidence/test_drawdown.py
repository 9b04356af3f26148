"""Maximum drawdowns, measured and bootstrapped; the S&P 500 of the skfolio wheel gives printed values."""

from __future__ import annotations

import gzip
from importlib.resources import files

import numpy as np
import pytest

from promotion.evidence.drawdown import max_drawdown, max_drawdown_distribution, underwater
from promotion.evidence.errors import ConstantError, GapError, NotValidError, RuinError, TooFewError
from promotion.evidence.stress import WINDOWS, stress


@pytest.fixture(scope="module")
def index() -> tuple[np.ndarray, np.ndarray]:
    """The S&P 500's daily returns 1990 to 2022 with their days (int64 ns)."""
    packed = files("skfolio.datasets.data").joinpath("sp500_index.csv.gz").read_bytes()
    lines = gzip.decompress(packed).decode().split()[1:]
    days, prices = zip(*(line.split(",") for line in lines), strict=True)
    closes = np.array(prices, dtype=np.float64)
    return np.array(days[1:], dtype="datetime64[ns]").astype(np.int64), closes[1:] / closes[:-1] - 1


def test_by_hand() -> None:
    assert max_drawdown(np.array([0.1, -0.5, 0.2, -0.5])) == pytest.approx(0.5 * 1.2 * 0.5 - 1, rel=1e-12)
    assert max_drawdown(np.array([-0.1, 0.3])) == pytest.approx(-0.1)
    assert max_drawdown(np.array([0.1, 0.2])) == 0


def test_the_first_loss_counts_from_the_start() -> None:
    assert underwater(np.array([-0.2, 0.1])) == pytest.approx([-0.2, -0.12])


def test_sp500_observed(index: tuple[np.ndarray, np.ndarray]) -> None:
    assert max_drawdown(index[1]) == pytest.approx(-0.5678, abs=5e-5)


def test_sp500_bootstrapped(index: tuple[np.ndarray, np.ndarray]) -> None:
    """600 paths of the whole length with L = 250: 1 %, 5 % and 50 % printed as −81, −74 and −55 %."""
    drawn = max_drawdown_distribution(
        index[1], horizon=8312, paths=600, seed=1, block_length=250, drift_uncertainty=False
    )
    assert [drawn.quantile(share) for share in (0.01, 0.05, 0.5)] == pytest.approx([-0.81, -0.74, -0.55], abs=0.03)


def test_sp500_stress_windows(index: tuple[np.ndarray, np.ndarray]) -> None:
    printed = {
        "2008 credit crisis": (-0.375, 0.56, -0.470),
        "August 2015": (-0.079, 0.20, -0.133),
        "February 2018": (-0.038, 0.27, -0.085),
        "fourth quarter 2018": (-0.143, 0.24, -0.196),
        "2020 pandemic": (-0.339, 0.78, -0.339),
        "2022 rates": (-0.253, 0.24, -0.254),
    }
    results = {result.window.name: result for result in stress(*index)}
    assert results.keys() == printed.keys() == {window.name for window in WINDOWS}
    for name, (total, volatility, depth) in printed.items():
        assert results[name].coverage == "covered"
        assert results[name].total_return == pytest.approx(total, abs=6e-4)
        assert results[name].annual_volatility == pytest.approx(volatility, abs=6e-3)
        assert results[name].max_drawdown == pytest.approx(depth, abs=6e-4)
    assert results["2020 pandemic"].sessions == 24


def test_dependence_deepens_the_tail() -> None:
    """Clustered volatility: plain resampling understates what blocks show."""
    generator = np.random.default_rng(8)
    calm = np.repeat(np.where(np.arange(20) % 5 == 0, 0.03, 0.005), 100)
    returns = generator.standard_normal(2000) * calm
    deep, shallow = (
        max_drawdown_distribution(returns, paths=800, seed=2, block_length=length).quantile(0.05)
        for length in (60.0, 1.0)
    )
    assert deep < shallow - 0.02


def test_the_bound_covers_the_future_it_claims_to() -> None:
    """The one-in-twenty bound from ten years of independent returns, against 2,000 true years."""
    generator = np.random.default_rng(9)
    future = underwater(generator.normal(0.0004, 0.01, size=(2000, 252))).min(axis=1)
    bounds = [
        max_drawdown_distribution(generator.normal(0.0004, 0.01, size=2520), paths=400, seed=seed).quantile(0.05)
        for seed in range(20)
    ]
    covered = np.mean([(future >= bound).mean() for bound in bounds])
    assert covered == pytest.approx(0.95, abs=0.02)


def test_bad_input() -> None:
    with pytest.raises(RuinError, match="lower the leverage"):
        max_drawdown(np.array([0.1, -1.0]))
    with pytest.raises(GapError):
        max_drawdown(np.array([0.1, np.nan]))
    with pytest.raises(TooFewError, match="at least 30"):
        max_drawdown_distribution(np.arange(10.0))
    with pytest.raises(ConstantError):
        max_drawdown_distribution(np.zeros(100))
    with pytest.raises(NotValidError, match="horizon and paths"):
        max_drawdown_distribution(np.random.default_rng(0).normal(size=100) / 100, horizon=0)
