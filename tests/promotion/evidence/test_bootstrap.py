"""The stationary bootstrap and its block length; arch 8 is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length as arch_block_length

from promotion.evidence.bootstrap import optimal_block_length, stationary_indices
from promotion.evidence.errors import ConstantError, GapError, NotValidError, TooFewError


def autoregressive(memory: float, length: int, seed: int = 0) -> np.ndarray:
    innovations = np.random.RandomState(seed).standard_normal(length + 100)
    series = np.zeros(length + 100)
    for t in range(1, length + 100):
        series[t] = memory * series[t - 1] + innovations[t]
    return series[100:]


def test_archs_own_vector() -> None:
    """arch/tests/bootstrap/test_block_length.py: RandomState(0), AR(1) of 0.3, 10,000 after 100."""
    assert optimal_block_length(autoregressive(0.3, 10_000)) == pytest.approx(13.635665, rel=1e-4)


@pytest.mark.parametrize("memory", [-0.4, 0.2, 0.6, 0.9])
@pytest.mark.parametrize("length", [250, 2500])
def test_agrees_with_arch(memory: float, length: int) -> None:
    series = autoregressive(memory, length, seed=length)
    oracle = float(arch_block_length(series)["stationary"].iloc[0])
    assert optimal_block_length(series) == pytest.approx(max(oracle, 1.0), rel=1e-9)


def test_blocks_have_their_mean_length_and_wrap() -> None:
    rows = stationary_indices(50, block_length=8, horizon=4000, paths=5, generator=np.random.default_rng(1))
    assert rows.min() == 0
    assert rows.max() == 49
    follows = (rows[:, 1:] - rows[:, :-1]) % 50 == 1
    breaks = 1 - follows.mean()
    assert breaks == pytest.approx((1 / 8) * (1 - 1 / 50), rel=0.05)  # a fresh start follows by chance, too
    assert ((rows[:, :-1] == 49) & (rows[:, 1:] == 0)).any()


def test_block_one_is_the_plain_bootstrap() -> None:
    rows = stationary_indices(1000, block_length=1, horizon=2000, paths=1, generator=np.random.default_rng(2))
    assert (np.diff(rows[0]) == 1).mean() < 0.01


def test_the_seed_decides() -> None:
    draws = [
        stationary_indices(99, block_length=5, horizon=60, paths=3, generator=np.random.default_rng(seed))
        for seed in (4, 4, 5)
    ]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_bad_input() -> None:
    generator = np.random.default_rng(0)
    with pytest.raises(NotValidError, match="at least 1"):
        stationary_indices(10, block_length=0.5, horizon=5, paths=1, generator=generator)
    with pytest.raises(TooFewError, match="at least 2 rows"):
        stationary_indices(1, block_length=1, horizon=5, paths=1, generator=generator)
    with pytest.raises(TooFewError, match="at least 16"):
        optimal_block_length(np.arange(10.0))
    with pytest.raises(ConstantError):
        optimal_block_length(np.ones(100))
    with pytest.raises(GapError):
        optimal_block_length(np.append(np.arange(100.0), np.nan))
