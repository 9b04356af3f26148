"""Acting through a real ledger: signed, once a key, only less risk, and only on what was decided upon."""

from __future__ import annotations

import msgspec
import pytest

from monitoring.actuator import LedgerActuator, policy_in_force
from monitoring.decision import Planned
from monitoring.errors import PolicyRefused
from monitoring.policy import Action
from promotion.config import ActionPolicy
from promotion.errors import RiskAdded, ScorerUnreachable
from promotion.rollout import Rollout

A, B = "a" * 64, "b" * 64
CUT = Action(kind="cut", before="1", after="0.5", reason="realised Sharpe -9.0, threshold -8.0")
ROLLBACK = Action(kind="rollback", before=B, after=A, reason="not recovered")
STRICT = Action(kind="posture", before="NORMAL", after="NO_NEW_RISK", reason="psi of momentum is 3")
FREEZE = Action(kind="freeze", before="open", after="frozen", reason="nowhere to go back to")


def planned(action: Action, generation: int = 2) -> Planned:
    return Planned(key=f"{action.kind}-1", signal="pair", session_ns=10, generation=generation, action=action)


async def test_every_action_is_an_entry_of_the_monitor(rollout: Rollout) -> None:
    actuator = LedgerActuator(rollout)
    assert actuator.standing("pair").live == B
    assert actuator.standing("pair").previous == A
    for generation, action in enumerate((CUT, ROLLBACK, FREEZE, STRICT), start=2):
        assert (await actuator.act(planned(action, generation))).startswith("done: entry")
    standing = actuator.standing("pair")
    assert (standing.live, standing.weight, standing.posture, standing.frozen) == (A, 0.5, "NO_NEW_RISK", True)
    assert standing.rolled_back_ns is not None
    entries = rollout.ledger.entries()[-4:]
    assert {(entry.actor, entry.role) for entry in entries} == {("monitor", "monitor")}
    assert entries[0].payload["why"] == CUT.reason


async def test_the_same_action_again_is_the_same_entry(rollout: Rollout) -> None:
    actuator = LedgerActuator(rollout)
    first = await actuator.act(planned(CUT))
    assert await actuator.act(planned(CUT)) == first
    rollout.set_weight("pair", 1.0, why="looked at it", as_="alice")
    assert await actuator.act(planned(CUT)) == first
    assert actuator.standing("pair").weight == 1.0, "a person's act is not undone by a repetition"


async def test_an_action_on_a_signal_that_moved_is_superseded(rollout: Rollout) -> None:
    rollout.set_weight("pair", 0.8, why="trimmed", as_="alice")
    actuator = LedgerActuator(rollout)
    assert (await actuator.act(planned(CUT))).startswith("superseded: weight on pair: expected generation 2, found 3")
    assert actuator.standing("pair").weight == 0.8


async def test_a_scorer_that_does_not_acknowledge_undoes_nothing(rollout: Rollout) -> None:
    def nobody(_generation: int) -> None:
        raise ScorerUnreachable("no scorer answers")

    actuator = LedgerActuator(Rollout(rollout.ledger, rollout.keys, rollout.clock, nobody))
    assert "the scorers follow by polling" in await actuator.act(planned(CUT))
    assert actuator.standing("pair").weight == 0.5


async def test_the_ledger_takes_no_risk_from_the_monitor(rollout: Rollout) -> None:
    actuator = LedgerActuator(rollout)
    with pytest.raises(RiskAdded):
        await actuator.act(planned(msgspec.structs.replace(CUT, after="1.0")))


def test_the_policy_is_the_one_in_force(rollout: Rollout) -> None:
    state = rollout.ledger.state()
    form = msgspec.convert(dict(state.policies["action"].form), ActionPolicy, strict=False)
    assert policy_in_force(state, form) == form
    with pytest.raises(PolicyRefused, match="undo the edit"):
        policy_in_force(state, msgspec.structs.replace(form, cut_to=0.9))
