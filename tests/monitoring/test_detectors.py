"""One suite over every detector: each keeps the same contract, whatever it measures."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

import monitoring.detectors
import monitoring.silence
from monitoring.detectors.contract import Detector, Observation
from monitoring.detectors.ks import KsDetector
from monitoring.detectors.psi import PsiDetector
from monitoring.detectors.sharpe import SharpeDetector
from monitoring.reference import CELLS, Reference

WINDOW = 4
COLUMNS = ("momentum", "volatility")
REFERENCE = Reference.of(COLUMNS, np.random.default_rng(1).normal(size=(5000, 2)))
NOTHING = np.zeros((2, CELLS + 1), dtype=np.int64)

Make = Callable[[], Detector]
ALL: dict[str, Make] = {
    "psi": lambda: PsiDetector(REFERENCE, WINDOW),
    "ks": lambda: KsDetector(REFERENCE, WINDOW),
    "sharpe": lambda: SharpeDetector(WINDOW),
}
every_detector = pytest.mark.parametrize("make", ALL.values(), ids=ALL)


def session(seed: int, shift: float = 0.0) -> Observation:
    generator = np.random.default_rng(seed)
    rows = generator.normal(shift, size=(50, 2))
    return Observation(REFERENCE.count(rows), float(generator.normal(0.001 - 0.02 * shift, 0.01)))


def fed(make: Make, sessions: list[Observation]) -> Detector:
    detector = make()
    for each in sessions:
        detector.observe(each)
    return detector


def test_every_detector_in_the_room_is_in_the_suite() -> None:
    files = {module.name for module in pkgutil.iter_modules(monitoring.detectors.__path__)} - {"contract", "window"}
    assert files == set(ALL)
    assert {make().name for make in ALL.values()} == set(ALL)


@pytest.mark.parametrize("name", [*ALL, "silence"])
def test_its_docstring_shows_it_firing(name: str) -> None:
    module = importlib.import_module(f"monitoring.detectors.{name}" if name in ALL else f"monitoring.{name}")
    results = doctest.testmod(module)
    assert results.attempted > 0
    assert results.failed == 0


@every_detector
def test_it_says_nothing_before_its_window_is_full(make: Make) -> None:
    detector = make()
    for filled in range(WINDOW):
        measured = detector.measure()
        assert (measured.filled, measured.window, measured.ready) == (filled, WINDOW, False)
        detector.observe(session(filled))
    assert detector.measure().ready
    assert np.isfinite(detector.measure().values).all()


@every_detector
def test_it_names_itself_its_fault_and_its_subjects(make: Make) -> None:
    measured = fed(make, [session(i) for i in range(WINDOW)]).measure()
    assert measured.detector == make().name
    assert measured.fault == make().fault
    assert len(measured.values) == len(measured.subjects)
    assert measured.samples > 0


@every_detector
@settings(max_examples=30, deadline=None)
@given(
    before=st.lists(st.integers(0, 99), max_size=12),
    last=st.lists(st.integers(0, 99), min_size=WINDOW, max_size=WINDOW),
)
def test_it_forgets_what_left_the_window(make: Make, before: list[int], last: list[int]) -> None:
    known = fed(make, [session(seed) for seed in (*before, *last)]).measure()
    fresh = fed(make, [session(seed) for seed in last]).measure()
    assert known.values.tobytes() == fresh.values.tobytes()
    assert known.samples == fresh.samples


@every_detector
def test_asking_changes_nothing(make: Make) -> None:
    detector = fed(make, [session(i) for i in range(WINDOW)])
    first = detector.measure().values.tobytes()
    assert detector.measure().values.tobytes() == first
    detector.observe(session(9))
    asked_once = fed(make, [session(i) for i in (0, 1, 2, 3, 9)])
    assert detector.measure().values.tobytes() == asked_once.measure().values.tobytes()


@every_detector
def test_rearming_begins_anew(make: Make) -> None:
    detector = fed(make, [session(i, shift=3.0) for i in range(WINDOW)])
    detector.rearm()
    assert detector.measure().filled == 0
    for i in range(WINDOW):
        detector.observe(session(i))
    assert (
        detector.measure().values.tobytes() == fed(make, [session(i) for i in range(WINDOW)]).measure().values.tobytes()
    )


@every_detector
def test_it_moves_when_its_fault_comes(make: Make) -> None:
    quiet = fed(make, [session(i) for i in range(WINDOW)]).measure()
    struck = fed(make, [session(i, shift=2.0) for i in range(WINDOW)]).measure()
    sign = -1 if quiet.detector == "sharpe" else 1
    assert (sign * struck.values > sign * quiet.values).all()


@every_detector
def test_nothing_to_measure_is_no_value_and_never_a_healthy_one(make: Make) -> None:
    detector = make()
    for _ in range(WINDOW):
        detector.observe(Observation(NOTHING, 0.0))
    assert np.isnan(detector.measure().values).all()


@pytest.mark.parametrize("make", [ALL["psi"], ALL["ks"]], ids=["psi", "ks"])
def test_a_column_that_went_missing_has_no_value(make: Make) -> None:
    rows = np.random.default_rng(1).normal(size=(50, 2))
    rows[:30, 1] = np.nan
    values = fed(make, [Observation(REFERENCE.count(rows), 0.0)] * WINDOW).measure().values
    assert np.isfinite(values[0])
    assert np.isnan(values[1])


def test_psi_of_equal_shares_is_nearly_nothing_and_of_disjoint_ones_large() -> None:
    uniform = Observation(REFERENCE.counts // 50, 0.0)
    assert (fed(ALL["psi"], [uniform] * WINDOW).measure().values < 0.001).all()
    far = Observation(REFERENCE.count(np.full((50, 2), 9.0)), 0.0)
    assert (fed(ALL["psi"], [far] * WINDOW).measure().values > 4).all()


def test_ks_is_the_two_sample_statistic_but_for_a_cell() -> None:
    reference = np.random.default_rng(1).normal(size=(5000, 2))
    rows = np.random.default_rng(5).normal(0.3, 1.2, size=(WINDOW * 50, 2))
    sessions = [Observation(REFERENCE.count(part), 0.0) for part in np.split(rows, WINDOW)]
    measured = fed(ALL["ks"], sessions).measure().values
    exact = np.array([ks_2samp(reference[:, i], rows[:, i], method="asymp").statistic for i in range(2)])
    assert (measured <= exact + 1e-12).all()
    assert (exact - measured <= 1 / CELLS).all()


def test_sharpe_is_annualised_with_the_unbiased_variance() -> None:
    returns = [0.01, -0.02, 0.03, 0.005]
    detector = fed(ALL["sharpe"], [Observation(NOTHING, net) for net in returns])
    expected = np.mean(returns) / np.std(returns, ddof=1) * np.sqrt(252)
    assert detector.measure().values == pytest.approx([expected])


def test_sharpe_passes_over_sessions_without_a_known_return() -> None:
    known = [0.01, -0.02, 0.03, 0.005]
    gaps = fed(ALL["sharpe"], [Observation(NOTHING, net) for net in (0.01, np.nan, -0.02, 0.03, np.nan, 0.005)])
    assert gaps.measure().values == fed(ALL["sharpe"], [Observation(NOTHING, net) for net in known]).measure().values
