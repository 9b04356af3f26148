"""The action policy: a pure function from state and verdicts to actions, that never adds risk."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.errors import UnsafeAction
from monitoring.policy import Action, Memory, Standing, refuse_risk, respond
from monitoring.verdict import Verdict
from promotion.config import ActionPolicy

POLICY = ActionPolicy(dwell_sessions=10, cooldown_sessions=63, cut_to=0.5)
IMPATIENT = ActionPolicy(dwell_sessions=2, cooldown_sessions=7)
B, A = "b" * 64, "a" * 64
LIVE = Standing(generation=7, live=B, previous=A, weight=1.0, posture="NORMAL", frozen=False)


def verdict(state: str, fault: str = "model", *, recovered: bool = False) -> Verdict:
    return Verdict(
        rule="calibrated",
        fault=fault,  # type: ignore[arg-type]
        detector="sharpe" if fault == "model" else "psi",
        subject="net return",
        state=state,  # type: ignore[arg-type]
        value=-9.0,
        threshold=-8.0,
        recovered=recovered,
        why=f"{fault} is -9.0, threshold -8.0",
    )


BREACH, DOUBTFUL, RECOVERED = verdict("breach"), verdict("clear"), verdict("clear", recovered=True)
DRIFT = verdict("breach", "input")


def change(standing: Standing, **fields: object) -> Standing:
    return msgspec.structs.replace(standing, generation=standing.generation + 1, **fields)


def test_nothing_happens_while_nothing_is_breached() -> None:
    response = respond(POLICY, LIVE, Memory(), [RECOVERED, verdict("warming"), verdict("clear", "input")], 100)
    assert response.actions == ()
    assert response.memory == Memory(seen=LIVE)


def test_a_model_fault_cuts_and_says_why() -> None:
    response = respond(POLICY, LIVE, Memory(), [BREACH], 100)
    assert response.actions == (
        Action(kind="cut", before="1", after="0.5", reason="model is -9.0, threshold -8.0: weight 1 to 0.5"),
    )
    assert response.memory.cut_session == 100


def test_the_cut_is_given_its_dwell_before_the_rollback() -> None:
    memory = respond(POLICY, LIVE, Memory(), [BREACH], 100).memory
    cut = change(LIVE, weight=0.5)
    for session in range(101, 110):
        response = respond(POLICY, cut, memory, [BREACH], session)
        assert response.actions == ()
        memory = response.memory
    response = respond(POLICY, cut, memory, [BREACH], 110)
    (rollback,) = response.actions
    assert (rollback.kind, rollback.before, rollback.after) == ("rollback", B, A)
    assert rollback.reason.startswith("10 sessions after the cut it has not recovered: model is -9.0")
    assert response.memory.cut_session is None


def test_between_threshold_and_recovery_the_clock_runs_on() -> None:
    memory = Memory(seen=change(LIVE, weight=0.5), cut_session=100)
    assert respond(POLICY, change(LIVE, weight=0.5), memory, [DOUBTFUL], 110).actions[0].kind == "rollback"


def test_a_recovery_ends_the_clock_but_not_the_cut() -> None:
    cut = change(LIVE, weight=0.5)
    response = respond(POLICY, cut, Memory(seen=cut, cut_session=100), [RECOVERED], 105)
    assert response.actions == ()
    assert response.memory.cut_session is None
    assert respond(POLICY, cut, response.memory, [DOUBTFUL], 130).actions == ()


def test_a_weight_that_was_cut_before_is_not_cut_twice_but_the_clock_starts_again() -> None:
    cut = change(LIVE, weight=0.5)
    response = respond(POLICY, cut, Memory(seen=cut), [BREACH], 200)
    assert (response.actions, response.memory.cut_session) == ((), 200)
    assert respond(POLICY, cut, response.memory, [BREACH], 210).actions[0].kind == "rollback"


def test_a_person_who_raises_the_weight_rearms_the_ladder() -> None:
    cut = change(LIVE, weight=0.5)
    memory = Memory(seen=cut, cut_session=100)
    response = respond(POLICY, change(cut, weight=1.0), memory, [BREACH], 110)
    assert response.actions == (), "what the person has seen does not count again"
    assert (response.rearmed, response.memory.cut_session) == ({"model"}, None)
    again = respond(POLICY, change(cut, weight=1.0), response.memory, [BREACH], 111)
    assert again.actions[0].kind == "cut"


def test_without_a_previous_release_the_signal_is_frozen_and_takes_no_new_risk() -> None:
    alone = change(LIVE, weight=0.5, previous="")
    response = respond(POLICY, alone, Memory(seen=alone, cut_session=100), [BREACH], 110)
    assert [action.kind for action in response.actions] == ["freeze", "posture"]
    assert "there is no previous release" in response.actions[0].reason
    frozen = change(alone, frozen=True, posture="NO_NEW_RISK")
    assert respond(POLICY, frozen, response.memory, [BREACH], 111).actions == ()


def test_a_second_rollback_within_the_cooldown_is_a_freeze() -> None:
    cut = change(LIVE, weight=0.5)
    memory = Memory(seen=cut, cut_session=150)
    early = respond(POLICY, cut, memory, [BREACH], 162, rolled_back=100)
    assert [action.kind for action in early.actions] == ["freeze", "posture"]
    assert "62 sessions ago, fewer than 63" in early.actions[0].reason
    assert respond(POLICY, cut, memory, [BREACH], 163, rolled_back=100).actions[0].kind == "rollback"


def test_a_signal_that_a_person_froze_is_still_rolled_back() -> None:
    frozen = change(LIVE, weight=0.5, frozen=True)
    assert respond(POLICY, frozen, Memory(seen=frozen, cut_session=100), [BREACH], 110).actions[0].kind == "rollback"


def test_an_input_fault_means_no_new_risk_once() -> None:
    response = respond(POLICY, LIVE, Memory(), [DRIFT], 100)
    (action,) = response.actions
    assert (action.kind, action.before, action.after) == ("posture", "NORMAL", "NO_NEW_RISK")
    assert action.reason == DRIFT.why
    strict = change(LIVE, posture="NO_NEW_RISK")
    assert respond(POLICY, strict, response.memory, [DRIFT], 101).actions == ()


def test_both_faults_at_once_cut_and_take_no_new_risk() -> None:
    actions = respond(POLICY, LIVE, Memory(), [BREACH, DRIFT], 100).actions
    assert {action.kind for action in actions} == {"cut", "posture"}


def test_an_operator_who_resumes_rearms_the_input_side() -> None:
    strict = change(LIVE, posture="NO_NEW_RISK")
    response = respond(POLICY, change(strict, posture="NORMAL"), Memory(seen=strict), [DRIFT], 120)
    assert (response.actions, response.rearmed) == ((), {"input"})


def test_a_new_live_release_starts_its_own_ladder() -> None:
    cut = change(LIVE, weight=0.5)
    other = change(cut, live="c" * 64)
    response = respond(POLICY, other, Memory(seen=cut, cut_session=100), [BREACH], 110)
    assert (response.actions, response.memory.cut_session, response.rearmed) == ((), None, {"model"})


def test_reasons_fit_into_the_ledger() -> None:
    many = [verdict("breach", "input") for _ in range(400)]
    assert len(respond(POLICY, LIVE, Memory(), many, 100).actions[0].reason) <= 2000


@pytest.mark.parametrize(
    "action",
    [
        Action(kind="cut", before="0.5", after="1", reason=""),
        Action(kind="cut", before="0.5", after="0.5", reason=""),
        Action(kind="cut", before="0.5", after="-1", reason=""),
        Action(kind="rollback", before=B, after="c" * 64, reason=""),
        Action(kind="posture", before="NO_NEW_RISK", after="NORMAL", reason=""),
    ],
)
def test_an_action_that_adds_risk_is_refused(action: Action) -> None:
    standing = change(LIVE, weight=0.5, posture="NO_NEW_RISK")
    with pytest.raises(UnsafeAction, match="expected less risk"):
        refuse_risk(standing, action)


verdicts = st.lists(
    st.sampled_from([BREACH, DOUBTFUL, RECOVERED, DRIFT, verdict("warming"), verdict("clear", "input")]), max_size=4
)
postures = st.sampled_from(["NORMAL", "NO_NEW_RISK", "HALTED"])


def risk(standing: Standing) -> tuple[float, int]:
    return standing.weight, -{"NORMAL": 0, "NO_NEW_RISK": 1, "HALTED": 2}[standing.posture]


@given(st.lists(verdicts, max_size=60), postures, st.sampled_from([1.0, 0.7, 0.5, 0.2, 0.0]), st.booleans())
def test_left_alone_the_policy_only_ever_lowers_risk(
    days: list[list[Verdict]], posture: str, weight: float, has_previous: bool
) -> None:
    standing = change(LIVE, posture=posture, weight=weight, previous=A if has_previous else "")
    memory = Memory()
    rollbacks: list[int] = []
    for session, today in enumerate(days):
        response = respond(IMPATIENT, standing, memory, today, session, rollbacks[-1] if rollbacks else None)
        before, memory = standing, response.memory
        assert memory.seen is not None
        standing = change(memory.seen, previous=A if has_previous else "")  # there is always one more to go back to
        assert risk(standing) <= risk(before)
        assert not response.rearmed, "its own doing is no person's"
        rollbacks += [session for action in response.actions if action.kind == "rollback"]
    assert all(later - earlier >= IMPATIENT.cooldown_sessions for earlier, later in itertools.pairwise(rollbacks))
