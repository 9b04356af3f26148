"""Verdicts: what passes, what does not and why, and that no evidence is "no"."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion.config import GatePolicy, Threshold
from promotion.evidence.assess import Evidence
from promotion.evidence.deflation import calibrated_threshold_z
from promotion.gates import PolicyRefused, check_policy, judge


def evidence(**metrics: float) -> Evidence:
    base = {"trials": 100.0, "trials_declared": 0.0, "dsr_calibrated_z": 3.0}
    return Evidence(metrics=base | metrics, not_valid={"psr_2012": "returns: found a gap"}, stress=())


def policy(*thresholds: Threshold, declared_suffice: bool = False) -> GatePolicy:
    return GatePolicy(thresholds=thresholds, declared_trials_suffice=declared_suffice)


def test_a_candidate_that_meets_every_threshold_passes() -> None:
    bounds = (Threshold(metric="sharpe_annual", at_least=1.0), Threshold(metric="turnover_daily", at_most=0.2))
    verdict = judge(evidence(sharpe_annual=1.0, turnover_daily=0.2), policy(*bounds), "replay")
    assert verdict.passed
    assert verdict.reasons == ()
    assert verdict.environment == "replay"
    assert verdict.measured["sharpe_annual"] == 1.0


def test_a_reason_names_metric_value_threshold_and_what_would_change_it() -> None:
    verdict = judge(evidence(turnover_daily=0.31), policy(Threshold(metric="turnover_daily", at_most=0.2)), "prod")
    assert not verdict.passed
    assert verdict.reasons == (
        "turnover_daily: expected at most 0.2, found 0.31; slower trading (more smoothing_sessions, a longer "
        "horizon) would change it",
    )


def test_every_miss_is_told() -> None:
    bounds = (
        Threshold(metric="sharpe_annual", at_least=1.0),
        Threshold(metric="max_drawdown", at_least=-0.2),
        Threshold(metric="dsr_published", at_least=0.95),
    )
    given_evidence = evidence(sharpe_annual=0.4, max_drawdown=-0.3, dsr_published=0.5)
    reasons = judge(given_evidence, policy(*bounds), "prod").reasons
    assert [reason.split(":")[0] for reason in reasons] == ["sharpe_annual", "max_drawdown", "dsr_published"]


def test_missing_evidence_is_no_with_the_reason_it_is_missing() -> None:
    bounds = policy(Threshold(metric="psr_2012", at_least=0.5), Threshold(metric="parity_rows", at_least=1))
    reasons = judge(evidence(), bounds, "replay").reasons
    assert "found no value (returns: found a gap)" in reasons[0]
    assert "found no value (it was not measured)" in reasons[1]


@given(st.sampled_from([math.nan, math.inf, -math.inf]), st.booleans())
def test_a_value_that_is_no_number_fails_either_bound(value: float, low: bool) -> None:
    bound = Threshold(metric="sharpe_annual", at_least=0.0) if low else Threshold(metric="sharpe_annual", at_most=0.0)
    assert not judge(evidence(sharpe_annual=value), policy(bound), "replay").passed


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_bounds_are_inclusive(value: float, bound: float) -> None:
    found = evidence(sharpe_annual=value)
    assert judge(found, policy(Threshold(metric="sharpe_annual", at_least=bound)), "prod").passed == (value >= bound)
    assert judge(found, policy(Threshold(metric="sharpe_annual", at_most=bound)), "prod").passed == (value <= bound)


@pytest.mark.parametrize(
    ("threshold", "says"),
    [
        (Threshold(metric="sharp_annual", at_least=1.0), "did you mean sharpe_annual"),
        (Threshold(metric="zzzz", at_least=1.0), "METRICS lists them"),
        (Threshold(metric="sharpe_annual"), "a finite at_least or at_most"),
        (Threshold(metric="sharpe_annual", at_least=math.nan), "a finite at_least or at_most"),
        (Threshold(metric="sharpe_annual", at_least=2.0, at_most=1.0), "nothing passes"),
    ],
)
def test_a_policy_that_means_nothing_is_refused_when_read(threshold: Threshold, says: str) -> None:
    with pytest.raises(PolicyRefused, match=says):
        check_policy(policy(threshold))
    with pytest.raises(PolicyRefused, match=says):
        judge(evidence(), policy(threshold), "replay")


def test_declared_trials_need_a_policy_that_takes_them() -> None:
    declared = evidence(trials_declared=1.0)
    assert "found a declaration" in judge(declared, policy(), "prod").reasons[0]
    assert judge(declared, policy(declared_suffice=True), "prod").passed
    unknown = Evidence(metrics={"trials": 3.0}, not_valid={}, stress=())
    assert "found no value" in judge(unknown, policy(), "prod").reasons[0]


def test_the_calibrated_threshold_stands_beside_the_verdict_and_can_decide() -> None:
    measured = judge(evidence(), policy(), "prod").measured
    assert measured["dsr_calibrated_threshold_z"] == calibrated_threshold_z(100)
    assert measured["dsr_published_size"] == pytest.approx(0.0015, abs=5.1e-5)
    margin = policy(Threshold(metric="dsr_calibrated_margin", at_least=0.0))
    assert not judge(evidence(dsr_calibrated_z=3.28), margin, "prod").passed
    assert judge(evidence(dsr_calibrated_z=3.29), margin, "prod").passed
