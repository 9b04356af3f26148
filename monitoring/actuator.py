"""How the monitor acts: what the ledger says of a signal, and one signed, risk-reducing action at a time."""

from __future__ import annotations

from typing import Protocol

import msgspec

from monitoring.decision import Planned
from monitoring.errors import PolicyRefused
from monitoring.policy import Posture, Standing
from promotion.config import ActionPolicy
from promotion.errors import Conflict, ScorerUnreachable
from promotion.ledger.entry import Entry
from promotion.ledger.state import LedgerState, SignalState
from promotion.rollout import Rollout

DONE = "done"


class Actuator(Protocol):
    """Reads a signal's standing and carries out actions, each at most once, however often it is asked."""

    def standing(self, signal: str) -> Standing:
        """The signal as the ledger has it now."""
        ...

    async def act(self, planned: Planned) -> str:
        """Carries out `planned` under its key and says how it ended: "done ...", or "superseded: ..." when someone else
        moved the signal since it was decided.
        """
        ...


class LedgerActuator:
    """Acts through the ledger, as principal `as_` of role `monitor`.

    What the ledger itself cannot take (unreadable, disk full) raises: the action stays planned, and is tried again.
    """

    def __init__(self, rollout: Rollout, *, as_: str = "monitor") -> None:
        self._rollout = rollout
        self._as = as_

    def standing(self, signal: str) -> Standing:
        """The signal as the ledger has it now. EntryRefused when the ledger has never heard of it."""
        return standing_of(self._rollout.ledger.state().signal(signal))

    async def act(self, planned: Planned) -> str:
        """Appends the action's entry, once under its key, and has the scorers told."""
        try:
            entry = self._append(planned)
        except Conflict as error:
            return f"superseded: {error}"
        except ScorerUnreachable as error:
            return f"{DONE}, and the scorers follow by polling: {error}"
        return f"{DONE}: entry {entry.sequence}, generation {entry.expected_generation + 1}"

    def _append(self, planned: Planned) -> Entry:
        action, signal, key = planned.action, planned.signal, planned.key
        why, as_, generation = action.reason, self._as, planned.generation
        rollout = self._rollout
        if action.kind == "cut":
            weight = float(action.after)
            return rollout.set_weight(signal, weight, why=why, as_=as_, expect_generation=generation, key=key)
        if action.kind == "rollback":
            return rollout.rollback(signal, to=action.after, why=why, as_=as_, expect_generation=generation, key=key)
        if action.kind == "freeze":
            return rollout.freeze(signal, why=why, as_=as_, key=key)
        posture: Posture = "NO_NEW_RISK" if action.after == "NO_NEW_RISK" else "HALTED"
        return rollout.set_posture(signal, posture, why=why, as_=as_, expect_generation=generation, key=key)


def standing_of(state: SignalState) -> Standing:
    """The policy's view of a signal's state."""
    return Standing(
        generation=state.generation,
        live=state.live or "",
        previous=state.previous or "",
        weight=state.weight,
        posture=state.posture,
        frozen=state.frozen,
        shadow=state.shadow,
        rolled_back_ns=state.rolled_back_ns,
    )


def policy_in_force(state: LedgerState, configured: ActionPolicy) -> ActionPolicy:
    """`configured`, if it is the action policy that the ledger has in force by its hash; PolicyRefused otherwise."""
    found = state.policies.get("action")
    if found is None or found.identity != configured.identity:
        stands = "none" if found is None else found.identity[:12]
        raise PolicyRefused(
            f"action policy: expected {configured.identity[:12]} (as configured) in force, found {stands}; undo the "
            "edit, or propose the new policy and have it approved"
        )
    return msgspec.convert(dict(found.form), ActionPolicy, strict=False)
