"""What a principal can do to a signal. Each act is one signed entry of the ledger; then the scorers are told.

    rollout = Rollout(ledger, keys, clock, notify=sync_scorers)
    rollout.rollback("large_caps", why="scores no longer behave", as_="olga")

`as_` names a principal whose private key lies in the key store. Who may do what is the ledger's matter
(promotion.ledger.fold): what it refuses raises here and changes nothing. This module needs neither model runtime nor
statistics, so that what reduces risk is always quick; plans and promotions stand in `promotion.promote`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from features.canonical import decimal, identity
from features.clock import Clock
from promotion.config import ActionPolicy, Environment, Frozen, GatePolicy, canonical_form
from promotion.errors import Conflict, EntryRefused, NotAllowed, PlanMoved
from promotion.identity import KeyStore, Principal, Signer
from promotion.ledger.entry import NO_GENERATION, Entry, sign
from promotion.ledger.kinds import KINDS, Posture
from promotion.ledger.state import LedgerState, SignalState
from promotion.ledger.store import Ledger

__all__ = ["Rollout", "found_ledger", "gate_policy_in_force", "tell_nobody"]

_HALT_ATTEMPTS = 16


def tell_nobody(_generation: int) -> None:
    """The `notify` of whoever has no scorers: they follow by polling."""


def found_ledger(
    ledger: Ledger,
    keys: KeyStore,
    *,
    environment: Environment,
    principals: Mapping[str, Sequence[str]],
    clock: Clock,
) -> LedgerState:
    """Writes the first entry of an empty ledger: its environment and founding principals (name -> roles).

    A principal without a key here gets a new one. The first that holds role approver signs. Founding is the one act
    that nobody else approves: whoever does it decides who the first two pairs of eyes are.
    """
    signers = {name: keys.signer(name) if name in keys.names() else keys.create(name) for name in principals}
    founders = [signer.principal(*principals[name]) for name, signer in signers.items()]
    approvers = [principal for principal in founders if "approver" in principal.roles]
    if len(approvers) < 2:
        raise NotAllowed(
            f"found: expected two founding principals with role approver, found {len(approvers)}; "
            "one could approve nothing of their own"
        )
    payload = {"environment": environment, "principals": [_grant(principal) for principal in founders]}
    signer = signers[approvers[0].name]
    ledger.append(sign(signer, kind="opened", role="approver", time_ns=clock.now_ns(), payload=payload))
    return ledger.state()


def gate_policy_in_force(state: LedgerState, configured: GatePolicy | None = None) -> tuple[GatePolicy, str]:
    """The gate policy that the ledger has in force for its environment, and its hash.

    configured: what the configuration file says; PlanMoved when it is another policy, so that an edit on disk is
    never mistaken for a decision. PlanMoved too when none is in force.
    """
    name = f"gates.{state.environment}"
    policy = state.policies.get(name)
    if policy is None:
        raise PlanMoved(f"{name}: expected a gate policy in force, found none; propose and approve one")
    if configured is not None and configured.identity != policy.identity:
        raise PlanMoved(
            f"{name}: expected the policy in force {policy.identity[:12]} in the configuration, found "
            f"{configured.identity[:12]}; undo the edit, or propose the new policy and have it approved"
        )
    return msgspec.convert(dict(policy.form), GatePolicy, strict=False), policy.identity


@dataclass(frozen=True)
class Rollout:
    """Acts on signals, signed and in order.

    notify: told the signal's new generation after each entry that moved one (`Control.Sync` on the scorers); it may
    raise ScorerUnreachable, when the entry stands and the scorers follow by polling.
    """

    ledger: Ledger
    keys: KeyStore
    clock: Clock
    notify: Callable[[int], None] = tell_nobody

    # What reduces risk: no approval, and open to automatic actors.

    def rollback(
        self,
        signal: str,
        *,
        why: str,
        as_: str,
        to: str | None = None,
        expect_generation: int | None = None,
        key: str = "",
    ) -> Entry:
        """Back to release `to`, which was live before; None for the last good one. The weight is never raised by it.

        expect_generation: the one the caller saw; None for the one there is. key: an idempotency key; the same
        command under the same key goes back once, though by then the last good release would be another.
        """
        state = self._signal(signal)
        target = to or self._rolled_back_to(signal, as_, key) or state.previous
        if target is None:
            raise EntryRefused(f"rollback on {signal}: expected a release before the live one, found none; halt it")
        return self._move("rolled_back", state, {"to": target, "why": why}, as_, expect_generation, key)

    def set_weight(
        self, signal: str, weight: float, *, why: str, as_: str, expect_generation: int | None = None, key: str = ""
    ) -> Entry:
        """The signal's capital weight, 0 to the live release's limit. Raising it takes a person (role operator)."""
        payload = {"weight": decimal(weight), "why": why}
        return self._move("weight", self._signal(signal), payload, as_, expect_generation, key)

    def set_posture(
        self, signal: str, posture: Posture, *, why: str, as_: str, expect_generation: int | None = None, key: str = ""
    ) -> Entry:
        """A stricter posture, NO_NEW_RISK or HALTED. The way back is `resume`."""
        payload = {"posture": posture, "why": why}
        return self._move("posture", self._signal(signal), payload, as_, expect_generation, key)

    def halt(self, signal: str, *, why: str, as_: str, key: str = "") -> Entry:
        """Posture HALTED, whatever others do meanwhile: a conflict is answered with the next generation."""
        for attempt in range(_HALT_ATTEMPTS):
            try:
                return self._move("halted", self._signal(signal), {"why": why}, as_, None, key)
            except Conflict:
                if attempt + 1 == _HALT_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def freeze(self, signal: str, *, why: str, as_: str, key: str = "") -> Entry:
        """No more risk until `thaw`: no promotion, no higher weight, no resume."""
        return self._move("frozen", self._signal(signal), {"why": why}, as_, None, key)

    # What adds risk: a person's (role operator).

    def resume(self, signal: str, *, why: str, as_: str, expect_generation: int | None = None, key: str = "") -> Entry:
        """Posture NORMAL again."""
        return self._move("resumed", self._signal(signal), {"why": why}, as_, expect_generation, key)

    def thaw(self, signal: str, *, why: str, as_: str, key: str = "") -> Entry:
        """The end of a freeze."""
        return self._move("thawed", self._signal(signal), {"why": why}, as_, None, key)

    def retire(self, signal: str, release: str, *, why: str, as_: str, key: str = "") -> Entry:
        """Ends a shadow."""
        return self._move("retired", self._signal(signal), {"release": release, "why": why}, as_, None, key)

    # Consent: proposals, and the second pair of eyes.

    def approve(self, plan_hash: str, *, as_: str, key: str = "") -> Entry:
        """Approves the plan of that hash: as another principal than its proposer and the release's author."""
        signal = self.ledger.state().plan(plan_hash).signal
        return self.append("plan_approved", {"proposal": plan_hash}, as_=as_, signal=signal, key=key)

    def propose_policy(self, name: str, policy: GatePolicy | ActionPolicy | Frozen, *, as_: str) -> str:
        """Proposes `policy` to come into force under `name` (`gates.ENVIRONMENT`, `action`); returns the proposal."""
        return identity(self.append("policy_proposed", {"name": name, "form": canonical_form(policy)}, as_=as_).payload)

    def approve_policy(self, proposal: str, *, as_: str) -> Entry:
        """Puts a proposed policy in force, as another principal than its proposer."""
        return self.append("policy_approved", {"proposal": proposal}, as_=as_)

    def propose_principal(self, principal: Principal, *, as_: str) -> str:
        """Proposes a principal, or other roles for one (none: revoked); returns the proposal."""
        return identity(self.append("principal_proposed", _grant(principal), as_=as_).payload)

    def approve_principal(self, proposal: str, *, as_: str) -> Entry:
        """Takes a proposed principal in, as another principal than its proposer and itself."""
        return self.append("principal_approved", {"proposal": proposal}, as_=as_)

    def append(
        self,
        kind: str,
        payload: Mapping[str, Any],
        *,
        as_: str,
        signal: str = "",
        key: str = "",
        expected_generation: int = NO_GENERATION,
    ) -> Entry:
        """Appends an entry of `kind`, signed by `as_` in a role of theirs that may write it."""
        signer = self.keys.signer(as_)
        action = sign(
            signer,
            kind=kind,
            role=_role(self.ledger.state(), signer, kind),
            time_ns=self.clock.now_ns(),
            payload=payload,
            signal=signal,
            expected_generation=expected_generation,
            idempotency_key=key,
        )
        return self.ledger.append(action)

    def _rolled_back_to(self, signal: str, as_: str, key: str) -> str | None:
        earlier = self.ledger.find(key)
        if earlier is None or (earlier.kind, earlier.signal, earlier.actor) != ("rolled_back", signal, as_):
            return None
        target: str = earlier.payload["to"]
        return target

    def _signal(self, signal: str) -> SignalState:
        return self.ledger.state().signal(signal)

    def _move(
        self, kind: str, state: SignalState, payload: Mapping[str, Any], as_: str, expected: int | None, key: str
    ) -> Entry:
        generation = state.generation if expected is None else expected
        entry = self.append(kind, payload, as_=as_, signal=state.signal, key=key, expected_generation=generation)
        self.notify(entry.expected_generation + 1)
        return entry


def _role(state: LedgerState, signer: Signer, kind: str) -> str:
    """The role that `signer` acts in: the first they hold that may write `kind`, else the first they hold."""
    principal = state.principals.get(signer.name)
    held = principal.roles if principal else ()
    if not held:
        raise NotAllowed(
            f"{kind}: expected {signer.name} to be a principal of this ledger with a role, found none; "
            "propose and approve it first"
        )
    return next((role for role in held if role in KINDS[kind].roles), held[0])


def _grant(principal: Principal) -> dict[str, Any]:
    return {"name": principal.name, "public_key": principal.public_key, "roles": list(principal.roles)}
