"""One rule a kind of entry: what must hold before it is taken in, and what it changes.

A rule checks everything before it changes anything, so that a refused entry leaves the books as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from features.canonical import identity
from promotion.errors import EntryRefused, GateFailed, NotAllowed, NotApproved, PlanMoved, SignalFrozen
from promotion.identity import AUTOMATIC, Principal
from promotion.ledger import kinds
from promotion.ledger.books import Books
from promotion.ledger.entry import Entry
from promotion.ledger.kinds import SEVERITY
from promotion.ledger.state import PolicyInForce, Proposed, Release, SignalState, Trial

# Which actions reduce risk: an automatic actor may do nothing else, and a clock that is wrong does not stop them.


def _always(_books: Books, _entry: Entry, _payload: Any) -> bool:
    return True


def _lowers(books: Books, entry: Entry, payload: kinds.WeightSet) -> bool:
    state = books.signals.get(entry.signal)
    return state is not None and float(payload.weight) < state.weight


def _returns(books: Books, entry: Entry, payload: kinds.RolledBack) -> bool:
    state = books.signals.get(entry.signal)
    return entry.role not in AUTOMATIC or state is None or payload.to == state.previous


REDUCES: dict[str, Callable[[Books, Entry, Any], bool]] = {
    "halted": _always,
    "frozen": _always,
    "posture": _always,  # its rule refuses a milder one
    "weight": _lowers,
    "rolled_back": _returns,
    "retired": _always,
}


# Principals, policies, trials, releases.


def _opened(books: Books, entry: Entry, payload: kinds.Opened) -> None:
    found = {grant.name: Principal(grant.name, grant.public_key, grant.roles) for grant in payload.principals}
    if len(found) != len(payload.principals) or len({p.public_key for p in found.values()}) != len(found):
        raise EntryRefused("opened: expected every founding principal to have a name and a key of its own")
    if entry.role not in found[entry.actor].roles:
        raise NotAllowed(f"opened: expected {entry.actor} to hold role {entry.role}")
    books.principals.update(found)
    books.environment = payload.environment


def _principal_proposed(books: Books, entry: Entry, payload: kinds.Grant) -> None:
    wanted = Principal(payload.name, payload.public_key, payload.roles)
    for known in books.principals.values():
        if (known.public_key == wanted.public_key) != (known.name == wanted.name):
            raise EntryRefused(
                f"principal {wanted.name}: expected one name a key and one key a name, found {known.name}'s; "
                "make a new principal with a new key"
            )
    books.grants[identity(entry.payload)] = Proposed(payload, entry.actor, entry.sequence)


def _principal_approved(books: Books, entry: Entry, payload: kinds.Approval) -> None:
    proposed = _approve(books.grants, entry, payload)
    grant: kinds.Grant = proposed.proposal
    if entry.actor == grant.name:
        raise NotApproved(f"principal {grant.name}: expected another's approval than its own; ask another approver")
    before = books.principals.get(grant.name)
    held = before.held if before else frozenset()
    books.principals[grant.name] = Principal(grant.name, grant.public_key, grant.roles, held)
    del books.grants[payload.proposal]


def _policy_proposed(books: Books, entry: Entry, payload: kinds.PolicyProposal) -> None:
    books.policy_proposals[identity(entry.payload)] = Proposed(payload, entry.actor, entry.sequence)


def _policy_approved(books: Books, entry: Entry, payload: kinds.Approval) -> None:
    proposed = _approve(books.policy_proposals, entry, payload)
    policy: kinds.PolicyProposal = proposed.proposal
    books.policies[policy.name] = PolicyInForce(identity(policy.form), policy.form, entry.actor, entry.sequence)
    del books.policy_proposals[payload.proposal]


def _approve(proposals: dict[str, Proposed], entry: Entry, payload: kinds.Approval) -> Proposed:
    proposed = proposals.get(payload.proposal)
    if proposed is None:
        raise EntryRefused(f"{entry.kind}: expected a proposal that waits, found {payload.proposal}; propose it first")
    if proposed.proposer == entry.actor:
        raise NotApproved(
            f"{entry.kind}: expected another principal than the proposer {proposed.proposer}; "
            "ask a principal who holds role approver"
        )
    return proposed


def _trial_opened(books: Books, entry: Entry, payload: kinds.TrialOpened) -> None:
    if payload.trial in books.trials:
        raise EntryRefused(f"trial {payload.trial}: expected a trial not opened before; open a new one")
    books.trials[payload.trial] = Trial(
        payload.trial, payload.label, payload.universe, payload.data, entry.sequence, entry.actor
    )


def _trial_closed(books: Books, entry: Entry, payload: kinds.TrialClosed) -> None:
    trial = books.trials.get(payload.trial)
    if trial is None or trial.outcome != "open":
        found = "none" if trial is None else f"one that is {trial.outcome}"
        raise EntryRefused(f"trial {payload.trial}: expected an open trial, found {found}; a trial is closed once")
    books.trials[payload.trial] = replace(trial, outcome=payload.outcome, returns=payload.returns)


def _trials_declared(books: Books, _entry: Entry, payload: kinds.TrialsDeclared) -> None:
    family = payload.label, payload.universe, payload.data
    books.declared[family] = books.declared.get(family, 0) + payload.count
    books.declarations[payload.returns] = family


def _lineage(books: Books, _entry: Entry, payload: kinds.Lineage) -> None:
    books.lineage[payload.subject, payload.id] = payload.facts


def _release_registered(books: Books, entry: Entry, payload: kinds.Registered) -> None:
    if not entry.signal:
        raise EntryRefused(f"release {payload.release[:12]}: expected the signal it is for, found none")
    if payload.release in books.releases:
        raise EntryRefused(f"release {payload.release[:12]}: expected one not registered before; it is there already")
    if payload.environment != books.environment:
        raise EntryRefused(
            f"release {payload.release[:12]}: expected environment {books.environment}, found {payload.environment}; "
            "build it again for this environment"
        )
    if not 0 <= float(payload.max_weight) <= 1:
        raise EntryRefused(
            f"release {payload.release[:12]}: expected a largest weight of 0 to 1, found {payload.max_weight}"
        )
    if payload.validator != entry.actor or payload.author == payload.validator:
        raise NotApproved(
            f"release {payload.release[:12]}: expected the validator to register it and another principal to be its "
            f"author, found author {payload.author}, validator {payload.validator}, actor {entry.actor}"
        )
    author = books.principals.get(payload.author)
    if author is None or "researcher" not in author.held:
        raise NotAllowed(f"release {payload.release[:12]}: expected author {payload.author} to hold role researcher")
    books.releases[payload.release] = Release(entry.signal, payload, entry.sequence)
    books.signals.setdefault(entry.signal, SignalState(entry.signal))


def _plan_proposed(books: Books, entry: Entry, payload: kinds.Plan) -> None:
    release = books.releases.get(payload.release)
    if release is None or release.signal != payload.signal or entry.signal != payload.signal:
        raise EntryRefused(
            f"plan: expected a release registered for {payload.signal}, found {payload.release[:12]}; validate it first"
        )
    if not payload.passed:
        raise GateFailed(f"plan: expected gates that passed for {payload.release[:12]}; record the refusal instead")
    if not 0 <= float(payload.weight) <= float(release.facts.max_weight):
        raise EntryRefused(
            f"plan: expected a weight of 0 to {release.facts.max_weight} (the release's limit), was {payload.weight}"
        )
    _check_plan_stands(books, payload)
    books.plans.setdefault(identity(entry.payload), Proposed(payload, entry.actor, entry.sequence))


def _check_plan_stands(books: Books, plan: kinds.Plan) -> None:
    state = books.signals[plan.signal]
    if plan.generation != state.generation or plan.replaces != (state.live or ""):
        raise PlanMoved(
            f"plan for {plan.signal}: expected generation {plan.generation}, found {state.generation}; make a new plan"
        )
    policy = books.policies.get(f"gates.{books.environment}")
    if policy is None or policy.identity != plan.policy or plan.environment != books.environment:
        found = "none" if policy is None else policy.identity[:12]
        raise PlanMoved(
            f"plan for {plan.signal}: expected gate policy {plan.policy[:12]} in force in {books.environment}, found "
            f"{found}; propose and approve the policy, then make a new plan"
        )


def _plan_refused(books: Books, _entry: Entry, payload: kinds.PlanRefused) -> None:
    if payload.release not in books.releases:
        raise EntryRefused(f"plan_refused: expected a registered release, found {payload.release[:12]}")


def _plan_approved(books: Books, entry: Entry, payload: kinds.Approval) -> None:
    proposed = _approve(books.plans, entry, payload)
    plan: kinds.Plan = proposed.proposal
    author = books.releases[plan.release].facts.author
    if entry.actor == author:
        raise NotApproved(f"plan for {plan.signal}: expected another approver than the release's author {author}")
    _check_plan_stands(books, plan)
    books.plans[payload.proposal] = replace(proposed, approver=entry.actor)


def _promoted(books: Books, entry: Entry, payload: kinds.Promoted) -> None:
    proposed = books.plans.get(payload.plan)
    if proposed is None or proposed.approver is None:
        raise NotApproved(
            f"promotion on {entry.signal}: expected a plan that another principal approved, found "
            f"{'none' if proposed is None else 'one that waits for approval'}; run `signalbox approve`"
        )
    plan: kinds.Plan = proposed.proposal
    if (plan.signal, plan.release, plan.stage) != (entry.signal, payload.release, payload.stage):
        raise PlanMoved(f"promotion on {entry.signal}: expected what plan {payload.plan[:12]} says, found another act")
    state = _open_to_risk(books, entry)
    _check_plan_stands(books, plan)
    if plan.stage == "shadow":
        shadow = tuple(digest for digest in state.shadow if digest != plan.release)
        books.put(entry.signal, shadow=(*shadow, plan.release))
        return
    good = tuple(digest for digest in (*state.good, state.live) if digest and digest != plan.release)
    books.put(
        entry.signal,
        live=plan.release,
        good=good,
        shadow=tuple(digest for digest in state.shadow if digest != plan.release),
        weight=float(plan.weight),
        weight_limit=float(books.releases[plan.release].facts.max_weight),
    )


def _open_to_risk(books: Books, entry: Entry) -> SignalState:
    state = books.signals[entry.signal]
    if state.frozen:
        raise SignalFrozen(f"{entry.kind} on {entry.signal}: expected a signal that is not frozen; thaw it first")
    return state


def _rolled_back(books: Books, entry: Entry, payload: kinds.RolledBack) -> None:
    state = books.signals[entry.signal]
    if payload.to not in state.good:
        there = ", ".join(digest[:12] for digest in state.good) or "none"
        raise EntryRefused(
            f"rollback on {entry.signal}: expected a release that was live before ({there}), found "
            f"{payload.to[:12]}; promote it, or halt the signal"
        )
    limit = float(books.releases[payload.to].facts.max_weight)
    books.put(
        entry.signal,
        live=payload.to,
        good=state.good[: state.good.index(payload.to)],
        weight=min(state.weight, limit),
        weight_limit=limit,
        rolled_back_ns=entry.time_ns if entry.role in AUTOMATIC else state.rolled_back_ns,
    )


def _weight(books: Books, entry: Entry, payload: kinds.WeightSet) -> None:
    state = books.signals[entry.signal]
    weight = float(payload.weight)
    if weight > state.weight:
        _open_to_risk(books, entry)
    if not 0 <= weight <= state.weight_limit:
        raise EntryRefused(
            f"weight on {entry.signal}: expected 0 to the release's limit of {state.weight_limit}, was {payload.weight}"
        )
    books.put(entry.signal, weight=weight)


def _posture(books: Books, entry: Entry, payload: kinds.PostureSet) -> None:
    state = books.signals[entry.signal]
    if SEVERITY[payload.posture] <= SEVERITY[state.posture]:
        raise EntryRefused(
            f"posture on {entry.signal}: expected a stricter one than {state.posture}, found {payload.posture}; "
            "the way back is `signalbox resume`"
        )
    books.put(entry.signal, posture=payload.posture)


def _halted(books: Books, entry: Entry, _payload: kinds.Why) -> None:
    books.put(entry.signal, posture="HALTED")


def _resumed(books: Books, entry: Entry, _payload: kinds.Why) -> None:
    books.signals[entry.signal] = replace(_open_to_risk(books, entry), posture="NORMAL")


def _frozen(books: Books, entry: Entry, _payload: kinds.Why) -> None:
    books.put(entry.signal, frozen=True)


def _thawed(books: Books, entry: Entry, _payload: kinds.Why) -> None:
    books.put(entry.signal, frozen=False)


def _retired(books: Books, entry: Entry, payload: kinds.Retired) -> None:
    state = books.signals[entry.signal]
    if payload.release not in state.shadow:
        raise EntryRefused(f"retire on {entry.signal}: expected a shadow release, found {payload.release[:12]}")
    shadow = tuple(digest for digest in state.shadow if digest != payload.release)
    books.put(entry.signal, shadow=shadow)


RULES: dict[str, Callable[[Books, Entry, Any], None]] = {
    "opened": _opened,
    "principal_proposed": _principal_proposed,
    "principal_approved": _principal_approved,
    "policy_proposed": _policy_proposed,
    "policy_approved": _policy_approved,
    "trial_opened": _trial_opened,
    "trial_closed": _trial_closed,
    "trials_declared": _trials_declared,
    "lineage": _lineage,
    "release_registered": _release_registered,
    "plan_proposed": _plan_proposed,
    "plan_refused": _plan_refused,
    "plan_approved": _plan_approved,
    "promoted": _promoted,
    "rolled_back": _rolled_back,
    "weight": _weight,
    "posture": _posture,
    "halted": _halted,
    "resumed": _resumed,
    "frozen": _frozen,
    "thawed": _thawed,
    "retired": _retired,
}
