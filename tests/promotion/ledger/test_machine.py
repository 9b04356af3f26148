"""Random histories of proposals, promotions, cuts, rollbacks, halts and freezes, by rightful and wrongful actors.

A small model of what must hold is kept beside the ledger; after every step the ledger's state must be the model's,
and a fold of what is on disk must be the state.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from features.canonical import decimal, identity
from promotion.config import GatePolicy
from promotion.errors import PromotionError
from promotion.identity import KeyStore
from promotion.ledger.entry import sign
from promotion.ledger.kinds import SEVERITY, Plan
from promotion.ledger.store import SqliteLedger
from promotion.ledger.verify import verify
from promotion.rollout import Rollout, found_ledger

SIGNAL = "large_caps"
RELEASES = tuple(digit * 64 for digit in "abcd")
PRINCIPALS = {
    "alice": ("researcher", "operator", "approver"),
    "bob": ("validator", "approver"),
    "carol": ("operator", "approver"),
    "monitor": ("monitor",),
    "switch": ("kill_switch",),
}
PEOPLE = ("alice", "carol")
ANYONE = tuple(PRINCIPALS)


class Ticks:
    def __init__(self) -> None:
        self.now = 10**18

    def now_ns(self) -> int:
        self.now += 1
        return self.now


class Interlocking(RuleBasedStateMachine):
    """The ledger, driven at random."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        self.path, self.keys, self.clock = root / "ledger.db", KeyStore(root), Ticks()
        self.ledger = SqliteLedger(self.path).__enter__()
        found_ledger(self.ledger, self.keys, environment="replay", principals=PRINCIPALS, clock=self.clock)
        self.rollout = Rollout(self.ledger, self.keys, self.clock)
        self.rollout.approve_policy(
            self.rollout.propose_policy("gates.replay", GatePolicy(thresholds=()), as_="alice"), as_="bob"
        )
        for digest in RELEASES:
            facts = {
                "release": digest, "environment": "replay", "author": "alice", "validator": "bob",
                "snapshot_id": "s", "feature_set_id": "ef" * 32, "max_weight": "1.0", "as_of_ns": 1,
            }  # fmt: skip
            self.rollout.append("release_registered", facts, as_="bob", signal=SIGNAL)
        self.generation, self.live, self.good = 0, None, []
        self.weight, self.posture, self.frozen = 0.0, "NORMAL", False
        self.plans: dict[str, tuple[Plan, set[str]]] = {}

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()

    @rule(digest=st.sampled_from(RELEASES), weight=st.sampled_from([0.0, 0.5, 1.0]), by=st.sampled_from(PEOPLE))
    def plan(self, digest: str, weight: float, by: str) -> None:
        state = self.ledger.state()
        plan = Plan(
            signal=SIGNAL, release=digest, stage="live", environment="replay", generation=self.generation,
            replaces=self.live or "", weight=decimal(weight), policy=state.policies["gates.replay"].identity,
            trials=0, passed=True, measured={},
        )  # fmt: skip
        payload = msgspec.to_builtins(plan)
        with contextlib.suppress(PromotionError):
            self.rollout.append("plan_proposed", payload, as_=by, signal=SIGNAL)
            self.plans.setdefault(identity(payload), (plan, {by}))

    @precondition(lambda self: self.plans)
    @rule(data=st.data(), by=st.sampled_from(ANYONE))
    def approve(self, data: Any, by: str) -> None:
        hashed = data.draw(st.sampled_from(sorted(self.plans)))
        plan, eyes = self.plans[hashed]
        proposer = self.ledger.state().plans[hashed].proposer
        may = by in ("bob", "carol") and by != proposer and plan.generation == self.generation
        self._expect(may, lambda: self.rollout.approve(hashed, as_=by))
        if may:
            eyes.add(by)

    @precondition(lambda self: self.plans)
    @rule(data=st.data(), by=st.sampled_from(ANYONE))
    def promote(self, data: Any, by: str) -> None:
        hashed = data.draw(st.sampled_from(sorted(self.plans)))
        plan, eyes = self.plans[hashed]
        may = by in PEOPLE and len(eyes) > 1 and plan.generation == self.generation and not self.frozen
        payload = {"plan": hashed, "release": plan.release, "stage": "live"}
        self._expect(may, lambda: self._signed("promoted", by, payload))
        if may:
            self.good = [d for d in (*self.good, self.live) if d and d != plan.release]
            self.live, self.weight = plan.release, float(plan.weight)
            self.generation += 1

    @rule(weight=st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5]), by=st.sampled_from(ANYONE))
    def set_weight(self, weight: float, by: str) -> None:
        person = by in PEOPLE and (not self.frozen or weight <= self.weight)
        may = weight <= 1.0 and (person or (by == "monitor" and weight < self.weight))
        self._expect(may, lambda: self._signed("weight", by, {"weight": decimal(weight), "why": "w"}))
        if may:
            self.weight = weight
            self.generation += 1

    @rule(data=st.data(), by=st.sampled_from(ANYONE))
    def rollback(self, data: Any, by: str) -> None:
        to = data.draw(st.sampled_from(RELEASES))
        may = to in self.good and (by in PEOPLE or (by == "monitor" and to == self.good[-1]))
        self._expect(may, lambda: self._signed("rolled_back", by, {"to": to, "why": "r"}))
        if may:
            self.live, self.good = to, self.good[: self.good.index(to)]
            self.generation += 1

    @rule(posture=st.sampled_from(["NORMAL", "NO_NEW_RISK", "HALTED"]), by=st.sampled_from(ANYONE))
    def set_posture(self, posture: str, by: str) -> None:
        may = SEVERITY[posture] > SEVERITY[self.posture] and by != "bob"
        self._expect(may, lambda: self._signed("posture", by, {"posture": posture, "why": "p"}))
        if may:
            self.posture = posture
            self.generation += 1

    @rule(by=st.sampled_from(ANYONE))
    def halt(self, by: str) -> None:
        self._expect(True, lambda: self._signed("halted", by, {"why": "h"}))
        self.posture = "HALTED"
        self.generation += 1

    @rule(by=st.sampled_from(ANYONE))
    def resume(self, by: str) -> None:
        may = by in PEOPLE and not self.frozen
        self._expect(may, lambda: self._signed("resumed", by, {"why": "r"}))
        if may:
            self.posture = "NORMAL"
            self.generation += 1

    @rule(by=st.sampled_from(ANYONE))
    def freeze(self, by: str) -> None:
        may = by != "switch"
        self._expect(may, lambda: self._signed("frozen", by, {"why": "f"}))
        if may:
            self.frozen = True
            self.generation += 1

    @rule(by=st.sampled_from(ANYONE))
    def thaw(self, by: str) -> None:
        may = by in PEOPLE
        self._expect(may, lambda: self._signed("thawed", by, {"why": "t"}))
        if may:
            self.frozen = False
            self.generation += 1

    @rule(behind=st.integers(1, 3), kind=st.sampled_from(["halted", "frozen", "thawed", "resumed"]))
    def act_on_an_old_generation(self, behind: int, kind: str) -> None:
        self._expect(False, lambda: self._signed(kind, "alice", {"why": "late"}, generation=self.generation - behind))

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = SqliteLedger(self.path).__enter__()
        self.rollout = Rollout(self.ledger, self.keys, self.clock)

    @invariant()
    def state_is_the_model_s(self) -> None:
        state = self.ledger.state().signal(SIGNAL)
        assert (state.generation, state.live, list(state.good)) == (self.generation, self.live, self.good)
        assert (state.weight, state.posture, state.frozen) == (self.weight, self.posture, self.frozen)

    @invariant()
    def disk_folds_to_the_state(self) -> None:
        assert verify(self.ledger.bodies()) == self.ledger.state()

    def _signed(self, kind: str, by: str, payload: dict[str, Any], generation: int | None = None) -> None:
        role = next((r for r in PRINCIPALS[by] if r in ("operator", "monitor", "kill_switch")), PRINCIPALS[by][-1])
        action = sign(
            self.keys.signer(by), kind=kind, role=role, time_ns=self.clock.now_ns(), payload=payload, signal=SIGNAL,
            expected_generation=self.generation if generation is None else generation,
        )  # fmt: skip
        risk = self._risk()
        self.ledger.append(action)
        if by in ("monitor", "switch"):
            assert all(now <= then for now, then in zip(self._risk(), risk, strict=True)), (
                "an automatic actor added risk"
            )

    def _risk(self) -> tuple[float, int, bool]:
        state = self.ledger.state().signal(SIGNAL)
        return state.weight, -SEVERITY[state.posture], not state.frozen

    def _expect(self, may: bool, act: Any) -> None:
        if may:
            act()
            return
        before = self.ledger.head()
        with pytest.raises(PromotionError):
            act()
        assert self.ledger.head() == before


TestInterlocking = Interlocking.TestCase
TestInterlocking.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
