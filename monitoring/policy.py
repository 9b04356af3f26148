"""Verdicts to actions: a pure function, so that what the monitor would do can be asked of any state.

The ladder. A model fault (performance): a cut of the capital weight to `cut_to`; if the fault has not recovered
`dwell_sessions` later, a rollback to the previous release; if there is none, or one was made less than
`cooldown_sessions` ago, the signal is frozen and takes no new risk. An input fault (features off their distribution,
no data): NO_NEW_RISK.

Nothing here adds risk. A weight that was cut stays cut, and a posture stays, until a person raises it; that re-arms
the ladder: what was measured before no longer counts against the signal. A recovery ends the ladder's clock, not the
cut.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import msgspec

from monitoring.errors import UnsafeAction
from monitoring.verdict import Fault, Verdict
from promotion.config import ActionPolicy

Posture = Literal["NORMAL", "NO_NEW_RISK", "HALTED"]
Kind = Literal["cut", "rollback", "posture", "freeze"]

_LONGEST_REASON = 1000  # the ledger takes 2000 characters
_SEVERITY: dict[str, int] = {"NORMAL": 0, "NO_NEW_RISK": 1, "HALTED": 2}


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger says of a signal: the policy's view of it. Digests are 64 hex digits, "" for none.

    rolled_back_ns: when an automatic actor last rolled it back, UTC, or None.
    """

    generation: int
    live: str
    previous: str
    weight: float
    posture: Posture
    frozen: bool
    shadow: tuple[str, ...] = ()
    rolled_back_ns: int | None = None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy remembers of a signal between sessions.

    seen: the signal as the policy left it, or None before the first session: what differs since is a person's doing.
    cut_session: index on the signal's calendar of the cut whose fault has not recovered.
    """

    seen: Standing | None = None
    cut_session: int | None = None


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do, and why. `before` and `after`: weight, digest, posture or frozen as they would be printed."""

    kind: Kind
    before: str
    after: str
    reason: str


@dataclass(frozen=True)
class Response:
    """What the policy answers: what to do now, what to remember, and whose windows a person has re-armed."""

    actions: tuple[Action, ...]
    memory: Memory
    rearmed: frozenset[Fault]


def respond(
    policy: ActionPolicy,
    standing: Standing,
    memory: Memory,
    verdicts: Iterable[Verdict],
    session: int,
    rolled_back: int | None = None,
) -> Response:
    """The policy's answer to one session's verdicts.

    standing: the signal as the ledger has it now. memory: what the last response remembered. verdicts: of one rule.
    session: index on the signal's calendar, rising; rolled_back: that of the last automatic rollback. Verdicts of
    windows that a person has just re-armed are not heard: they rest on what that person has seen.
    """
    rearmed = rearmed_faults(standing, memory)
    heard = [verdict for verdict in verdicts if verdict.fault not in rearmed]
    if "model" in rearmed:
        memory = _without_cut(memory)
    model, memory = _performance(
        policy, standing, memory, [v for v in heard if v.fault == "model"], session, rolled_back
    )
    inputs = _inputs(standing, [v for v in heard if v.fault == "input"])
    actions = _without_repeats((*model, *inputs))
    for action in actions:
        refuse_risk(standing, action)
    return Response(actions, msgspec.structs.replace(memory, seen=_after(standing, actions)), rearmed)


def rearmed_faults(standing: Standing, memory: Memory) -> frozenset[Fault]:
    """What a person re-armed since the policy last looked: the weight, or another release, for model faults; the
    posture, for input faults. Only a person raises either.
    """
    seen = memory.seen
    if seen is None:
        return frozenset()
    faults: set[Fault] = set()
    if standing.weight > seen.weight or standing.live != seen.live:
        faults.add("model")
    if _SEVERITY[standing.posture] < _SEVERITY[seen.posture]:
        faults.add("input")
    return frozenset(faults)


def refuse_risk(standing: Standing, action: Action) -> None:
    """UnsafeAction when `action` would add risk to a signal that stands so. The ledger refuses it as well."""
    adds = {
        "cut": lambda: not 0 <= float(action.after) < standing.weight,
        "rollback": lambda: action.after != standing.previous or not standing.previous,
        "posture": lambda: _SEVERITY[action.after] <= _SEVERITY[standing.posture],
        "freeze": lambda: standing.frozen,
    }[action.kind]()
    if adds:
        raise UnsafeAction(
            f"{action.kind}: expected less risk, found {action.before} to {action.after}; nothing was done"
        )


def _performance(
    policy: ActionPolicy,
    standing: Standing,
    memory: Memory,
    verdicts: list[Verdict],
    session: int,
    rolled_back: int | None,
) -> tuple[list[Action], Memory]:
    breach = next((verdict for verdict in verdicts if verdict.breached), None)
    if breach and (standing.weight > policy.cut_to or memory.cut_session is None):
        return _cut(policy, standing, breach), msgspec.structs.replace(memory, cut_session=session)
    if memory.cut_session is None:
        return [], memory
    if verdicts and all(verdict.recovered for verdict in verdicts):
        return [], _without_cut(memory)
    waited = session - memory.cut_session
    if waited < policy.dwell_sessions:
        return [], memory
    figures = "; ".join(verdict.why for verdict in verdicts) or "no performance is measured"
    why = f"{waited} sessions after the cut it has not recovered: {figures}"
    refusal = _no_rollback(policy, standing, session, rolled_back)
    if refusal is None:
        return [_action("rollback", standing.live, standing.previous, why)], _without_cut(memory)
    return _freeze(standing, f"{why}; {refusal}"), memory


def _cut(policy: ActionPolicy, standing: Standing, breach: Verdict) -> list[Action]:
    if standing.weight <= policy.cut_to:  # cut before, and never raised: the clock to the next step starts again
        return []
    before, after = f"{standing.weight:g}", f"{policy.cut_to:g}"
    return [_action("cut", before, after, f"{breach.why}: weight {before} to {after}")]


def _no_rollback(policy: ActionPolicy, standing: Standing, session: int, rolled_back: int | None) -> str | None:
    """Why there is no rollback, or None when there is one."""
    if not standing.previous:
        return "there is no previous release to roll back to"
    if rolled_back is None or session - rolled_back >= policy.cooldown_sessions:
        return None
    return f"the last rollback was {session - rolled_back} sessions ago, fewer than {policy.cooldown_sessions}"


def _freeze(standing: Standing, why: str) -> list[Action]:
    freeze = [] if standing.frozen else [_action("freeze", "open", "frozen", why)]
    strict = [_action("posture", "NORMAL", "NO_NEW_RISK", why)] if standing.posture == "NORMAL" else []
    return freeze + strict


def _inputs(standing: Standing, verdicts: list[Verdict]) -> list[Action]:
    breaches = [verdict.why for verdict in verdicts if verdict.breached]
    if not breaches or standing.posture != "NORMAL":
        return []
    return [_action("posture", "NORMAL", "NO_NEW_RISK", "; ".join(breaches))]


def _without_cut(memory: Memory) -> Memory:
    return msgspec.structs.replace(memory, cut_session=None)


def _action(kind: Kind, before: str, after: str, reason: str) -> Action:
    return Action(kind=kind, before=before, after=after, reason=textwrap.shorten(reason, _LONGEST_REASON))


def _without_repeats(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """The actions, each kind once: two faults of one session may ask for the same posture."""
    first: dict[Kind, Action] = {}
    for action in actions:
        first.setdefault(action.kind, action)
    return tuple(first.values())


def _after(standing: Standing, actions: tuple[Action, ...]) -> Standing:
    for action in actions:
        standing = msgspec.structs.replace(standing, **_change(standing, action))
    return standing


def _change(standing: Standing, action: Action) -> dict[str, object]:
    if action.kind == "cut":
        return {"weight": float(action.after)}
    if action.kind == "rollback":
        return {"live": action.after, "previous": ""}
    if action.kind == "posture":
        return {"posture": action.after}
    return {"frozen": True}
