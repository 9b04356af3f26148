"""Thresholds from simulated healthy paths: episodes are counted as begun, and the budget is for all statistics."""

from __future__ import annotations

import numpy as np
import pytest

from promotion.evidence.budget import budget_row, episodes_per_year, joint_thresholds, thresholds_of
from promotion.evidence.errors import NotValidError


def healthy(seed: int, statistics: int) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).standard_normal((400, 252, statistics)))


def test_an_episode_is_counted_when_it_begins() -> None:
    alarms = np.zeros((2, 253), dtype=bool)
    alarms[0, 10:20] = alarms[0, 30] = True  # two begin
    alarms[1, :5] = True  # began before the first look
    assert episodes_per_year(alarms) == pytest.approx(1.0)


def test_the_budget_is_kept_jointly_and_nearly_spent() -> None:
    paths = healthy(1, 6)
    (thresholds,) = joint_thresholds(paths, (2.0,))
    rate = episodes_per_year((paths > thresholds).any(axis=2))
    assert 1.8 <= rate <= 2.0
    alone = [episodes_per_year(paths[:, :, k] > thresholds[k]) for k in range(6)]
    assert alone == pytest.approx([1 / 3] * 6, abs=0.1)  # multiplicity: each statistic gets a sixth


def test_one_statistic_may_have_any_sign() -> None:
    paths = np.random.default_rng(6).standard_normal((400, 252)) - 100
    thresholds = thresholds_of(paths, (0.5, 2.0))
    rates = [episodes_per_year(paths > threshold) for threshold in thresholds]
    assert 0.4 <= rates[0] <= 0.5
    assert 1.8 <= rates[1] <= 2.0


def test_copies_cost_nothing() -> None:
    one = healthy(2, 1)
    alone, copied = (joint_thresholds(paths, (1.0,))[0, 0] for paths in (one, np.repeat(one, 5, axis=2)))
    assert alone == pytest.approx(copied, rel=1e-12)


def test_scales_do_not_matter() -> None:
    paths = healthy(3, 2)
    (plain,) = joint_thresholds(paths, (1.0,))
    (scaled,) = joint_thresholds(paths * [1.0, 1000.0], (1.0,))
    assert scaled == pytest.approx(plain * [1.0, 1000.0])


def test_a_larger_budget_is_more_sensitive() -> None:
    paths = healthy(4, 2)
    thresholds = joint_thresholds(paths, (0.1, 0.5, 2.0, 4.0))
    assert (np.diff(thresholds, axis=0) < 0).all()


def test_what_is_too_small_to_matter_never_alarms() -> None:
    paths = np.random.default_rng(5).uniform(0, 0.05, size=(100, 252, 2))
    assert joint_thresholds(paths, (1.0,), tolerance=0.1).tolist() == [[0.1, 0.1]]


def test_a_budget_is_never_rounded_up() -> None:
    budgets = np.array([0.1, 0.5, 1.0])
    assert [budget_row(budgets, asked) for asked in (0.1, 0.4, 0.5, 0.99, 7)] == [0, 0, 1, 1, 2]
    with pytest.raises(NotValidError, match=r"at least 0\.1, found 0\.05"):
        budget_row(budgets, 0.05)
