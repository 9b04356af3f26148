"""A small market with a planted edge: 8 instruments, 5 years of sessions, and the features of the library."""

from __future__ import annotations

import numpy as np
import pytest

from features.batch import FeatureMatrix, compute
from features.calendars import open_calendar
from features.definition import FeatureSet
from features.panel import Panel
from features.registry import load_features
from features.sessions import Calendar
from training.samples import Samples, make_samples

DELAY_NS = 15 * 60 * 10**9
FEATURES = ("return_1", "return_5", "return_21", "volatility_21", "rank_return_5", "score_return_21")
SESSIONS = 1260


@pytest.fixture(scope="session")
def calendar() -> Calendar:
    return open_calendar("XNYS")


@pytest.fixture(scope="session")
def feature_set() -> FeatureSet:
    return load_features(FEATURES)


@pytest.fixture(scope="session")
def panel(calendar: Calendar) -> Panel:
    """Prices that revert over a week: last week's losers gain, so that there is something to learn."""
    generator = np.random.default_rng(3)
    noise = generator.normal(0, 0.01, (SESSIONS, 8))
    returns = noise.copy()
    for at in range(6, SESSIONS):
        returns[at] -= 0.1 * returns[at - 6 : at - 1].mean(axis=0) * 5
    closes = 100 * np.cumprod(1 + returns, axis=0)
    first = int(np.searchsorted(calendar.sessions, np.datetime64("2001-01-01")))
    times = calendar.closes_ns[first : first + SESSIONS]
    names = tuple(f"S{at}" for at in range(8))
    return Panel("close_adjusted_final", closes, times, times + DELAY_NS, names)


@pytest.fixture(scope="session")
def matrix(feature_set: FeatureSet, panel: Panel) -> FeatureMatrix:
    return compute(feature_set, panel)


@pytest.fixture(scope="session")
def samples(matrix: FeatureMatrix, panel: Panel, calendar: Calendar) -> Samples:
    return make_samples(matrix, panel, calendar=calendar, horizon_sessions=5, execution_lag_sessions=1)
