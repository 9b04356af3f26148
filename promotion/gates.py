"""Evidence held against a policy: a verdict, with reasons a person can act on.

No evidence is "no", never "yes": a metric that is missing, NaN or infinite fails its threshold. A policy that names a
metric nobody computes is refused when it is read (`check_policy`).
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass

from promotion.config import Environment, GatePolicy, Threshold
from promotion.errors import PromotionError
from promotion.evidence import deflation
from promotion.evidence.assess import METRICS, Evidence

__all__ = ["DERIVED", "PolicyRefused", "Verdict", "check_policy", "judge"]

DERIVED = {
    "dsr_calibrated_threshold_z": "the z that the policy's `calibrated_size` asks for over all trials",
    "dsr_calibrated_margin": "`dsr_calibrated_z` less that threshold: ≥ 0 passes at the policy's size",
    "dsr_published_size": "the false-promotion rate of DSR > 0.95 over as many worthless trials",
}


class PolicyRefused(PromotionError):
    """A gate policy names a metric that does not exist, or bounds nothing: correct the policy."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """passed; reasons: one per threshold not met, empty when passed; measured: every metric, the derived ones too."""

    passed: bool
    reasons: tuple[str, ...]
    measured: dict[str, float]
    environment: Environment


def check_policy(policy: GatePolicy) -> None:
    """Refuses a policy with a metric that nobody computes, a threshold without a bound, or bounds that exclude all."""
    for threshold in policy.thresholds:
        _check(threshold)


def judge(evidence: Evidence, policy: GatePolicy, environment: Environment) -> Verdict:
    """Every threshold of `policy` against `evidence`. PolicyRefused when the policy itself is wrong."""
    check_policy(policy)
    measured = {**evidence.metrics, **_derived(evidence, policy)}
    reasons = [
        reason
        for threshold in policy.thresholds
        if (reason := _reason(threshold, measured, evidence.not_valid)) is not None
    ]
    if not policy.declared_trials_suffice and evidence.metrics.get("trials_declared", 1.0) != 0:
        reasons.append(_declared_reason(evidence))
    return Verdict(not reasons, tuple(reasons), measured, environment)


def _check(threshold: Threshold) -> None:
    name, low, high = threshold.metric, threshold.at_least, threshold.at_most
    known = METRICS.keys() | DERIVED.keys()
    if name not in known:
        near = difflib.get_close_matches(name, sorted(known), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "promotion.evidence.assess.METRICS lists them"
        raise PolicyRefused(f"gate policy: expected a metric of the evidence, found {name!r}; {hint}")
    bounds = [bound for bound in (low, high) if bound is not None]
    if not bounds or not all(map(math.isfinite, bounds)):
        raise PolicyRefused(f"gate policy: {name}: expected a finite at_least or at_most, found {low} and {high}")
    if low is not None and high is not None and low > high:
        raise PolicyRefused(f"gate policy: {name}: expected at_least ≤ at_most, found {low} > {high}; nothing passes")


def _derived(evidence: Evidence, policy: GatePolicy) -> dict[str, float]:
    trials, z = evidence.metrics.get("trials"), evidence.metrics.get("dsr_calibrated_z")
    if trials is None or not trials >= 1 or not 0 < policy.calibrated_size < 1:
        return {}
    threshold = deflation.calibrated_threshold_z(trials, policy.calibrated_size)
    published = deflation.published_threshold_z(trials)
    derived = {
        "dsr_calibrated_threshold_z": threshold,
        "dsr_published_size": deflation.size_of_threshold(published, trials),
    }
    return derived if z is None else derived | {"dsr_calibrated_margin": z - threshold}


def _reason(threshold: Threshold, measured: dict[str, float], not_valid: dict[str, str]) -> str | None:
    name = threshold.metric
    value = measured.get(name)
    if value is None:
        return f"{name}: expected {_bound(threshold)}, found no value ({not_valid.get(name, 'it was not measured')})"
    if not math.isfinite(value):
        return f"{name}: expected {_bound(threshold)}, found {value}; no evidence is no"
    if threshold.at_least is not None and value < threshold.at_least:
        return f"{name}: expected {_bound(threshold)}, found {value:.6g}; {_change(name, measured, threshold)}"
    if threshold.at_most is not None and value > threshold.at_most:
        return f"{name}: expected {_bound(threshold)}, found {value:.6g}; {_change(name, measured, threshold)}"
    return None


def _bound(threshold: Threshold) -> str:
    low = [] if threshold.at_least is None else [f"at least {threshold.at_least:g}"]
    high = [] if threshold.at_most is None else [f"at most {threshold.at_most:g}"]
    return " and ".join(low + high)


_WHAT_CHANGES_IT = {
    "observations": "a longer out-of-sample record would",
    "turnover_daily": "slower trading (more smoothing_sessions, a longer horizon) would",
    "cost_bps_daily": "slower trading or less capital would",
    "max_drawdown": "less gross leverage or a steadier signal would",
    "max_drawdown_p05_one_year": "less gross leverage or a steadier signal would",
    "sharpe_annual": "a better signal or cheaper trading would; more trials would not",
    "parity_rows": "comparing the exported model on more rows would",
    "parity_max_abs": "an export closer to the native model would",
    "parity_max_ulp": "an export closer to the native model would",
    "trials": "fewer trials would",
}


def _change(name: str, measured: dict[str, float], threshold: Threshold) -> str:
    if name.startswith(("psr", "dsr")):
        trials = measured.get("trials", math.nan)
        return f"a longer record, a higher ratio or fewer trials than {trials:g} would change it"
    return f"{_WHAT_CHANGES_IT.get(name, f'a candidate with {name} {_bound(threshold)} would')} change it"


def _declared_reason(evidence: Evidence) -> str:
    if "trials_declared" not in evidence.metrics:
        return "trials_declared: expected to know whether trials were counted or declared, found no value"
    return (
        "trials_declared: expected trials counted in the ledger, found a declaration; "
        "a policy with declared_trials_suffice = true would change it"
    )
