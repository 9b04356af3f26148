"""What `promote` does between its arguments and the ledger: find the release, plan, wait for approval, carry out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from features.canonical import decimal
from promotion.errors import EntryRefused, NotApproved, PlanMoved
from promotion.ledger.entry import Entry
from promotion.ledger.kinds import Stage
from promotion.ledger.state import Proposed
from promotion.promote import judge_release, plan_promotion, promote
from promotion.rollout import Rollout, gate_policy_in_force
from signalbox.desk import Desk


def find_release(desk: Desk, target: str) -> str:
    """The digest that SIGNAL@RELEASE means; RELEASE may be the digest's first digits. EntryRefused when it is none."""
    signal, found, release = target.partition("@")
    if not found or not release:
        raise EntryRefused(f"expected SIGNAL@RELEASE, found {target!r}; `signalbox status` and `history` name both")
    return find_digest(desk, signal, release)


def find_digest(desk: Desk, signal: str, release: str) -> str:
    """The one release of `signal` whose digest begins with `release`. EntryRefused when there is not exactly one."""
    known = [digest for digest, each in desk.ledger.state().releases.items() if each.signal == signal]
    found = [digest for digest in known if digest.startswith(release)]
    if len(found) != 1:
        names = ", ".join(digest[:12] for digest in known) or "none"
        raise EntryRefused(f"expected one release of {signal} ({names}), found {release!r}; give more digits")
    return found[0]


def find_plan(desk: Desk, plan_hash: str) -> str:
    """The one plan whose hash begins with `plan_hash`. EntryRefused when there is not exactly one."""
    known = list(desk.ledger.state().plans)
    found = [plan for plan in known if plan.startswith(plan_hash)]
    if len(found) != 1:
        names = ", ".join(plan[:12] for plan in known) or "none"
        raise EntryRefused(f"expected one plan of this ledger ({names}), found {plan_hash!r}; run promote first")
    return found[0]


def describe_plan(desk: Desk, digest: str, stage: str) -> dict[str, Any]:
    """What promoting `digest` would do, without writing anything: the verdict, its reasons and what it replaces."""
    state = desk.ledger.state()
    policy, identity = gate_policy_in_force(state, desk.config.gates[desk.config.environment])
    judgement = judge_release(desk.home, state, digest, policy=policy)
    live = state.signal(judgement.signal)
    return {
        "state": "would pass" if judgement.verdict.passed else "would be refused",
        "signal": judgement.signal,
        "release": digest,
        "stage": stage,
        "replaces": live.live or "",
        "generation": live.generation,
        "frozen": live.frozen,
        "policy": identity,
        "trials": judgement.trials,
        "reasons": list(judgement.verdict.reasons),
        "measured": {name: round(value, 6) for name, value in sorted(judgement.verdict.measured.items())},
    }


@dataclass(frozen=True)
class Request:
    """What `promote` was asked for. weight: the capital weight, None for the release's limit. key: idempotency."""

    digest: str
    stage: Stage
    weight: float | None
    actor: str
    key: str = ""


def plan_or_promote(desk: Desk, rollout: Rollout, request: Request) -> dict[str, Any]:
    """Carries out the plan that waits for this, if it was approved; otherwise makes one, or says that it waits.

    A command repeated under its key finds what it did. GateFailed, with reasons, when a gate refuses.
    """
    done = desk.ledger.find(request.key) if request.key else None
    if done is not None and done.kind == "promoted":
        return _carried_out(desk, done)
    standing = _standing_plan(desk, request)
    if standing is None:
        return _new_plan(desk, rollout, request)
    plan_hash, proposed = standing
    try:
        return _carried_out(desk, promote(rollout, desk.home, plan_hash, as_=request.actor, key=request.key))
    except NotApproved:
        return _document("waits for approval", plan_hash, proposed.proposal)
    except PlanMoved:  # trials, policy or numbers are no longer those of the plan: nobody has approved what is now
        return _new_plan(desk, rollout, request)


def _new_plan(desk: Desk, rollout: Rollout, request: Request) -> dict[str, Any]:
    planned = plan_promotion(
        rollout,
        desk.home,
        request.digest,
        as_=request.actor,
        stage=request.stage,
        weight=request.weight,
        configured=desk.config.gates[desk.config.environment],
    )
    return _document("waits for approval", planned.hash, planned.plan)


def _carried_out(desk: Desk, entry: Entry) -> dict[str, Any]:
    plan_hash = entry.payload["plan"]
    proposed = desk.ledger.state().plans[plan_hash]
    return {
        **_document("promoted", plan_hash, proposed.proposal),
        "entry": entry.sequence,
        "generation": entry.expected_generation + 1,
        "approved by": proposed.approver,
    }


def mirror(desk: Desk, signal: str, alias: str, digest: str) -> str:
    """Has MLflow's alias follow the ledger, and says how that went: it decides nothing, so it may fail."""
    from signalbox.workshop import tracking  # brings in training and MLflow, which nothing else here needs
    from training.errors import TrainingError

    try:
        with tracking(desk) as tracker:
            tracker.point(signal, alias, digest)
    except (TrainingError, OSError) as error:
        return f"MLflow's alias {alias} was not moved: {error}; what is served is the ledger's word alone"
    return f"MLflow's alias {alias} of {signal} follows"


def _standing_plan(desk: Desk, request: Request) -> tuple[str, Proposed] | None:
    """The newest plan for just this request that the signal has not moved past."""
    state = desk.ledger.state()
    for plan_hash, proposed in reversed(list(state.plans.items())):
        plan = proposed.proposal
        weight = state.releases[request.digest].facts.max_weight if request.weight is None else decimal(request.weight)
        asked = (request.digest, request.stage, weight)
        if (plan.release, plan.stage, plan.weight) == asked and plan.generation == state.signal(plan.signal).generation:
            return plan_hash, proposed
    return None


def _document(standing: str, plan_hash: str, plan: Any) -> dict[str, Any]:
    return {"state": standing, "plan": plan_hash, **msgspec.to_builtins(plan)}
