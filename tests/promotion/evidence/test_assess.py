"""One assessment: deterministic, recomputable, and silent about nothing it could not compute."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from promotion.config import Construction, Costs
from promotion.evidence.assess import METRICS, AssessmentInputs, Evidence, Parity, assess, differences
from promotion.evidence.deflation import deflated_sharpe
from promotion.evidence.errors import GapError, RecordError, ShapeError, TooFewError
from promotion.evidence.performance import performance, positions
from promotion.evidence.sharpe import sharpe

COSTS = Costs(half_spread_bps=1, impact_coefficient=0.1, adv_assumed_usd=5e8, capital_usd=25e6)
DAY_NS = 86_400_000_000_000


def inputs(seed: int = 0, sessions: int = 1500, skill: float = 0.03, **changes: Any) -> AssessmentInputs:
    generator = np.random.default_rng(seed)
    returns = generator.normal(0, 0.02, size=(sessions, 12))
    scores = generator.normal(size=(sessions, 12))
    scores[:-2] += skill * returns[2:] / 0.02
    plain = AssessmentInputs(
        sessions_ns=np.int64(1_167_609_600_000_000_000) + DAY_NS * np.arange(sessions, dtype=np.int64),
        weights=positions(scores, Construction()),
        asset_returns=returns,
        costs=COSTS,
        trial_returns=generator.normal(0.0002, 0.01, size=(sessions, 4)),
        trials_opened=6,
        parity=Parity(10_000, 1e-7, 2.0),
    )
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return assess(inputs())


def test_every_metric_is_there_and_named(evidence: Evidence) -> None:
    assert not evidence.not_valid
    assert evidence.metrics.keys() == METRICS.keys()
    assert all(math.isfinite(value) for value in evidence.metrics.values())


def test_the_numbers_are_those_of_the_book(evidence: Evidence) -> None:
    given = inputs()
    net = performance(given.weights, given.asset_returns, costs=COSTS).net[1:]  # the first trade is at the next close
    metrics = evidence.metrics
    assert metrics["observations"] == 1499
    assert metrics["sharpe_annual"] == pytest.approx(net.mean() / net.std(ddof=1) * math.sqrt(252), rel=1e-12)
    variance = np.var(given.trial_returns.mean(axis=0) / given.trial_returns.std(axis=0, ddof=1), ddof=1)
    assert metrics["trial_sharpe_variance"] == pytest.approx(variance, rel=1e-12)
    deflated = deflated_sharpe(sharpe(net), trial_sharpe_variance=float(variance), trials=6)
    assert metrics["dsr_published"] == pytest.approx(deflated, rel=1e-12)
    assert metrics["trials_measured"] == 4
    assert metrics["max_drawdown_p05_one_year"] < metrics["max_drawdown_p50_one_year"] < 0
    assert metrics["parity_rows"] == 10_000


def test_same_arrays_same_bytes_and_they_read_back(evidence: Evidence) -> None:
    again = assess(inputs())
    assert again.canonical() == evidence.canonical()
    read = Evidence.read(evidence.canonical())
    assert read.canonical() == evidence.canonical()
    assert differences(evidence, read) == ()


def test_other_arrays_differ_by_name(evidence: Evidence) -> None:
    lines = differences(evidence, assess(inputs(trials_opened=7)))
    assert any(line.startswith("trials: 6.0 ≠ 7.0") for line in lines)
    assert any(line.startswith("dsr_published") for line in lines)
    assert not any(line.startswith("sharpe_annual:") for line in lines)
    without = Evidence(metrics={}, not_valid={}, stress=())
    assert any("≠ absent" in line for line in differences(evidence, without))
    assert "stress" in differences(evidence, without)[-1]


def test_waiting_for_the_first_model_is_no_track_record() -> None:
    given = inputs()
    waited = given.weights.copy()
    waited[:500] = 0
    assert assess(replace(given, weights=waited)).metrics["observations"] == 1500 - 501


def test_more_trials_deflate_more() -> None:
    few, many = (assess(inputs(trials_opened=n)).metrics for n in (4, 400))
    assert many["dsr_published"] < few["dsr_published"]
    assert many["dsr_calibrated"] < few["dsr_calibrated"]
    assert many["sharpe_annual"] == few["sharpe_annual"]


def test_crashed_trials_count_and_leave_no_return(evidence: Evidence) -> None:
    trials = inputs().trial_returns.copy()
    trials[:, 1] = np.nan
    crashed = assess(inputs(trial_returns=trials)).metrics
    assert (crashed["trials"], crashed["trials_measured"]) == (6, 3)
    assert crashed["dsr_published"] != evidence.metrics["dsr_published"]


def test_what_cannot_be_measured_is_absent_and_explained() -> None:
    alone = assess(inputs(trial_returns=np.full((1500, 3), np.nan), parity=None))
    for name in ("dsr_published", "dsr_exact", "trial_sharpe_variance"):
        assert name not in alone.metrics
        assert "at least 2 of 6 trials" in alone.not_valid[name]
    assert "parity_rows" not in alone.metrics
    losing = assess(inputs(skill=-0.3))
    assert "no length would be enough" in losing.not_valid["minimum_track_record_sessions"]


def test_constant_returns_have_no_ratio() -> None:
    """A book that never earns and trades once, for free."""
    flat = inputs(
        weights=np.eye(1, 12).repeat(1500, axis=0),
        asset_returns=np.zeros((1500, 12)),
        costs=Costs(half_spread_bps=0, impact_coefficient=0, adv_assumed_usd=1e6, capital_usd=1e6),
    )
    found = assess(flat)
    assert "sharpe_annual" not in found.metrics
    assert "holds nothing" in found.not_valid["sharpe_annual"]
    assert "psr_2012" not in found.metrics


def test_a_single_trial_is_not_deflated() -> None:
    alone = assess(inputs(trial_returns=inputs().trial_returns[:, :1], trials_opened=1)).metrics
    assert alone["dsr_published"] == alone["psr_2012"]
    assert alone["effective_trials"] == 1


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"sessions_ns": np.arange(10)}, ShapeError, "expected 1500"),
        ({"weights": np.zeros((1500, 12))}, TooFewError, "at least one trade"),
        ({"trials_opened": 3}, TooFewError, "at least 4 opened"),
        ({"trials_opened": 0, "trial_returns": np.zeros((1500, 0))}, TooFewError, "at least 1 opened"),
        ({"trial_returns": np.zeros(5)}, ShapeError, r"\[session, trial\]"),
        ({"asset_returns": np.full((1500, 12), np.nan)}, GapError, "gap at row 2"),
    ],
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], says: str) -> None:
    costs = Costs(half_spread_bps=1, impact_coefficient=0, adv_assumed_usd=1e6, capital_usd=1e6)
    with pytest.raises(error, match=says):
        assess(inputs(costs=costs, **changes))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"schema":9,"metrics":{},"not_valid":{},"stress":[]}',
        b'{"schema":1,"metrics":{"x":"no number"},"not_valid":{},"stress":[]}',
        b'{"schema":1,"metrics":{},"not_valid":{},"stress":[],"more":1}',
    ],
)
def test_bytes_that_are_no_evidence(data: bytes) -> None:
    with pytest.raises(RecordError, match="rebuild the release"):
        Evidence.read(data)
