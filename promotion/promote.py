"""From a validated release to capital: judge it anew, plan, have the plan approved, carry it out.

    planned = plan_promotion(rollout, home, digest, as_="olga")        # GateFailed, with reasons, or a plan
    rollout.approve(planned.hash, as_="boris")                         # another principal
    promote(rollout, home, planned.hash, as_="olga")                   # judged once more, then live

Every number that a gate looks at is computed again from the returns, positions, trials and parity rows that the
release carries, and from the trials that the ledger has counted by now; what the release says of itself must agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.canonical import decimal, identity, sha256_hex
from promotion.config import Environment, GatePolicy, Signal
from promotion.errors import GateFailed, PlanMoved, ReleaseRefused
from promotion.evidence.assess import AssessmentInputs, Evidence, Parity, assess, differences
from promotion.evidence.performance import performance
from promotion.gates import Verdict, judge
from promotion.home import Home
from promotion.ledger.entry import Entry
from promotion.ledger.kinds import Plan, Stage
from promotion.ledger.state import LedgerState, Trial
from promotion.ledger.trials import Family, count
from promotion.lineage import release_facts
from promotion.release.manifest import Manifest
from promotion.release.open import OpenRelease, open_release
from promotion.rollout import Rollout, gate_policy_in_force

_TOLERANCE = 1e-9  # relative: another CPU's exp and log
_BATCH = 4096  # rows scored at once: bounds memory, changes no answer


@dataclass(frozen=True)
class Judgement:
    """A release held against a policy: its evidence computed anew, and the verdict."""

    digest: str
    signal: str
    evidence: Evidence
    verdict: Verdict
    trials: int


@dataclass(frozen=True)
class Planned:
    """A plan that waits for approval, by its hash, and what it was judged on."""

    plan: Plan
    hash: str
    judgement: Judgement


def plan_promotion(
    rollout: Rollout,
    home: Home,
    digest: str,
    *,
    as_: str,
    stage: Stage = "live",
    weight: float | None = None,
    configured: GatePolicy | None = None,
) -> Planned:
    """Judges release `digest` under the policy in force and proposes its promotion.

    weight: the capital weight it gets; None for the release's limit. configured: the policy of the configuration
    file, which must be the one in force. Raises GateFailed, with every reason, after writing the refusal into the
    ledger, and ReleaseRefused when the release or its evidence is not what it says.
    """
    state = rollout.ledger.state()
    policy, policy_hash = gate_policy_in_force(state, configured)
    judgement = judge_release(home, state, digest, policy=policy)
    if not judgement.verdict.passed:
        _refuse(rollout, judgement, policy_hash, as_)
    plan = _plan(state, judgement, policy_hash, stage, weight)
    payload = msgspec.to_builtins(plan)
    rollout.append("plan_proposed", payload, as_=as_, signal=plan.signal)
    return Planned(plan, identity(payload), judgement)


def promote(rollout: Rollout, home: Home, plan_hash: str, *, as_: str, key: str = "") -> Entry:
    """Carries out an approved plan: judges the release once more, appends the promotion, tells the scorers.

    PlanMoved when signal, policy, trials or numbers are no longer those of the plan; NotApproved without another
    principal's approval. A second call under one idempotency key returns the first one's entry.
    """
    state = rollout.ledger.state()
    plan = state.plan(plan_hash)
    done = _carried_out(rollout, plan_hash, key)
    if done is not None:
        return done
    policy, policy_hash = gate_policy_in_force(state)
    if policy_hash != plan.policy:
        raise PlanMoved(
            f"plan for {plan.signal}: expected policy {plan.policy[:12]}, found {policy_hash[:12]}; plan anew"
        )
    judgement = judge_release(home, state, plan.release, policy=policy)
    _check_unmoved(plan, judgement)
    payload = {"plan": plan_hash, "release": plan.release, "stage": plan.stage}
    entry = rollout.append(
        "promoted", payload, as_=as_, signal=plan.signal, key=key, expected_generation=plan.generation
    )
    rollout.notify(entry.expected_generation + 1)
    return entry


def judge_release(
    home: Home,
    state: LedgerState,
    digest: str,
    *,
    policy: GatePolicy,
    environment: Environment | None = None,
) -> Judgement:
    """Opens release `digest`, computes its evidence anew and holds it against `policy`.

    environment: of the verdict, None for the ledger's own (the release must be signed for that one in any case).
    Raises ReleaseRefused when what the release states of itself is not what its own arrays give.
    """
    release = open_release(home, digest, environment=state.environment, principals=state.principals)
    manifest = release.manifest
    _check_registration(state, manifest)
    family = Family(manifest.trials.label, manifest.trials.universe, manifest.trials.data)
    _check_trials(state, release, family)
    _check_record(release)
    stated = Evidence.read(release.files["evidence.json"])
    stated_trials = int(stated.metrics.get("trials", 0))
    evidence = assess(assessment_inputs(release, stated_trials))
    wrong = differences(stated, evidence, relative=_TOLERANCE)
    if wrong:
        raise ReleaseRefused(
            f"evidence.json: expected what the release's own arrays give, found {'; '.join(wrong[:5])}; "
            "validate the run anew"
        )
    counted = max(count(state, family).total, stated_trials)
    if counted != stated_trials:
        evidence = assess(assessment_inputs(release, counted))
    verdict = judge(evidence, policy, environment or manifest.environment)
    return Judgement(digest, manifest.signal, evidence, verdict, counted)


def assessment_inputs(release: OpenRelease, trials: int) -> AssessmentInputs:
    """What evidence is computed from, out of the release itself; `trials`: how many were opened."""
    backtest, tried = release.arrays("backtest.npz"), release.arrays("trials.npz")
    config = msgspec.convert(release.manifest.config, Signal, strict=False)
    return AssessmentInputs(
        sessions_ns=backtest["sessions_ns"],
        weights=backtest["weights"],
        asset_returns=backtest["asset_returns"],
        history=backtest.get("history"),
        costs=config.costs,
        trial_returns=tried["returns"],
        trials_opened=trials,
        parity=measure_parity(release),
        declared=release.manifest.trials.declared,
        execution_lag_sessions=config.execution_lag_sessions,
    )


def measure_parity(release: OpenRelease) -> Parity | None:
    """Exported against native model on the rows of `parity.npz` (`features`, `native`).

    None without that file: then nothing is known, and a threshold on parity fails. ulp: units in the last place of
    the largest score. A score that is NaN on one side only is an infinite difference.
    """
    if "parity.npz" not in release.files:
        return None
    rows = release.arrays("parity.npz")
    native, features = rows["native"].astype(np.float32, copy=False), rows["features"]
    found = np.concatenate([release.predict(features[at : at + _BATCH]) for at in range(0, len(features), _BATCH)])
    if np.any(np.isnan(native) != np.isnan(found)):
        return Parity(len(native), math.inf, math.inf)
    return _parity(native, found)


def _parity(native: NDArray[np.float32], found: NDArray[np.float32]) -> Parity:
    worst = float(np.nanmax(np.abs(native.astype(np.float64) - found.astype(np.float64))))
    return Parity(len(native), worst, worst / float(np.spacing(np.nanmax(np.abs(native)))))


def _check_registration(state: LedgerState, manifest: Manifest) -> None:
    """ReleaseRefused when the ledger has the release under another signal or with other facts than its manifest's."""
    known = state.releases.get(manifest.digest)
    if known is None:
        return
    if known.signal != manifest.signal or msgspec.to_builtins(known.facts) != release_facts(manifest):
        raise ReleaseRefused(
            f"release {manifest.digest[:12]}: expected it registered as its manifest says, found other facts in entry "
            f"{known.sequence}; the registration is not to be trusted: halt, and look who signed it"
        )


def _check_trials(state: LedgerState, release: OpenRelease, family: Family) -> None:
    """ReleaseRefused unless the trials in the release are those of the ledger, with the returns that it knows."""
    tried = release.arrays("trials.npz")
    if release.manifest.trials.declared:
        if state.declarations.get(_hash(tried["returns"])) != family.key:
            raise ReleaseRefused(
                "trials.npz: expected the returns that the model's author declared to this ledger, found others; "
                "declare the trials, then validate the run anew"
            )
        return
    for position, name in enumerate(tried["ids"].tolist()):
        _check_trial(state.trials.get(name), name, family, tried["returns"][:, position])


def _check_trial(trial: Trial | None, name: str, family: Family, returns: NDArray[np.float64]) -> None:
    if trial is None or (trial.label, trial.universe, trial.data) != family.key:
        raise ReleaseRefused(f"trials.npz: expected trials of this ledger, found {name!r}; train under this ledger")
    known = _hash(returns) == trial.returns if trial.outcome == "finished" else bool(np.isnan(returns).all())
    if not known:
        raise ReleaseRefused(
            f"trials.npz: expected what trial {name} ({trial.outcome}) was closed with, found other returns; "
            "validate the run anew"
        )


def _hash(returns: NDArray[np.float64]) -> str:
    return sha256_hex(np.ascontiguousarray(returns, dtype="<f8").tobytes())


def _check_record(release: OpenRelease) -> None:
    """ReleaseRefused unless the returns in `backtest.npz` are those that its positions earn."""
    inputs = assessment_inputs(release, 1)
    record = performance(
        inputs.weights,
        inputs.asset_returns,
        costs=inputs.costs,
        execution_lag_sessions=inputs.execution_lag_sessions,
        history=inputs.history,
    )
    stated = release.arrays("backtest.npz")["net"]
    if stated.shape != record.net.shape or not np.allclose(stated, record.net, rtol=_TOLERANCE, atol=1e-15):
        raise ReleaseRefused("backtest.npz: expected the net returns that its positions earn, found others")


def _plan(state: LedgerState, judgement: Judgement, policy_hash: str, stage: Stage, weight: float | None) -> Plan:
    signal = state.signal(judgement.signal)
    limit = state.releases[judgement.digest].facts.max_weight
    return Plan(
        signal=judgement.signal,
        release=judgement.digest,
        stage=stage,
        environment=state.environment,
        generation=signal.generation,
        replaces=signal.live or "",
        weight=limit if weight is None else decimal(weight),
        policy=policy_hash,
        trials=judgement.trials,
        passed=True,
        measured={name: decimal(value) for name, value in sorted(judgement.verdict.measured.items())},
    )


def _refuse(rollout: Rollout, judgement: Judgement, policy_hash: str, as_: str) -> None:
    reasons = judgement.verdict.reasons
    payload = {"release": judgement.digest, "policy": policy_hash, "reasons": list(reasons)}
    rollout.append("plan_refused", payload, as_=as_, signal=judgement.signal)
    raise GateFailed(f"release {judgement.digest[:12]} of {judgement.signal}: " + "; ".join(reasons))


def _carried_out(rollout: Rollout, plan_hash: str, key: str) -> Entry | None:
    """The entry that carried out this plan under this key already: a repeated command converges."""
    earlier = rollout.ledger.find(key)
    same = earlier is not None and earlier.kind == "promoted" and earlier.payload["plan"] == plan_hash
    return earlier if same else None


def _check_unmoved(plan: Plan, judgement: Judgement) -> None:
    if judgement.trials != plan.trials:
        raise PlanMoved(
            f"plan for {plan.signal}: expected {plan.trials} trials, found {judgement.trials} by now; make a new plan"
        )
    if not judgement.verdict.passed:
        raise GateFailed(f"release {plan.release[:12]} of {plan.signal}: " + "; ".join(judgement.verdict.reasons))
    now = judgement.verdict.measured
    moved = [
        f"{name} was {stated}, is {now.get(name)}"
        for name, stated in plan.measured.items()
        if not math.isclose(now.get(name, math.nan), float(stated), rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        and not (math.isnan(float(stated)) and math.isnan(now.get(name, 0.0)))
    ]
    if moved:
        raise PlanMoved(f"plan for {plan.signal}: {'; '.join(moved[:5])}; make a new plan and have it approved")
