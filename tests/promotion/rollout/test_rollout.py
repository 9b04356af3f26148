"""What a principal does to a signal: signed, told to the scorers, and repeated safely."""

from __future__ import annotations

from typing import Any

import pytest

from promotion.config import ActionPolicy
from promotion.errors import Conflict, EntryRefused, KeyRefused, NotAllowed, ScorerUnreachable
from promotion.lineage import register, register_release
from promotion.release.files import read_release
from promotion.rollout import Rollout

SIGNAL = "large_caps"


def test_every_move_is_told_with_its_generation(live: Any) -> None:
    live.rollout.set_weight(SIGNAL, 0.5, why="w", as_="alice")
    live.rollout.freeze(SIGNAL, why="f", as_="alice")
    assert live.told == [1, 2, 3, 4]


def test_an_unreachable_scorer_does_not_undo_the_act(live: Any) -> None:
    def nobody_answers(generation: int) -> None:
        raise ScorerUnreachable(f"generation {generation}: expected an acknowledgement, found none")

    rollout = Rollout(live.ledger, live.keys, live.clock, nobody_answers)
    with pytest.raises(ScorerUnreachable):
        rollout.halt(SIGNAL, why="fire", as_="alice")
    assert live.ledger.state().signal(SIGNAL).posture == "HALTED"


def test_a_repeated_rollback_under_one_key_goes_back_once(live: Any) -> None:
    first = live.rollout.rollback(SIGNAL, why="bad", as_="monitor", key="breach-1")
    again = live.rollout.rollback(SIGNAL, why="bad", as_="monitor", key="breach-1")
    assert again == first
    assert live.ledger.state().signal(SIGNAL).generation == 3


def test_the_role_is_one_that_fits_the_act(live: Any) -> None:
    assert live.rollout.halt(SIGNAL, why="h", as_="alice").role == "operator"
    assert live.rollout.halt(SIGNAL, why="h", as_="bob").role == "approver"
    assert live.rollout.halt(SIGNAL, why="h", as_="switch").role == "kill_switch"


def test_whoever_has_no_key_here_does_nothing(live: Any) -> None:
    with pytest.raises(KeyRefused, match="keys here: alice, bob, carol, monitor, switch"):
        live.rollout.halt(SIGNAL, why="h", as_="zoe")


def test_whoever_has_a_key_and_no_role_does_nothing(live: Any) -> None:
    live.keys.create("zoe")
    with pytest.raises(NotAllowed, match="expected zoe to be a principal of this ledger"):
        live.rollout.halt(SIGNAL, why="h", as_="zoe")


def test_an_expected_generation_is_held(live: Any) -> None:
    live.rollout.set_weight(SIGNAL, 0.5, why="w", as_="alice", expect_generation=2)
    with pytest.raises(Conflict):
        live.rollout.rollback(SIGNAL, why="r", as_="alice", expect_generation=2)


def test_a_reason_is_due(live: Any) -> None:
    with pytest.raises(EntryRefused, match="length >= 1"):
        live.rollout.halt(SIGNAL, why="", as_="alice")


def test_an_action_policy_comes_into_force_by_approval(desk: Any) -> None:
    policy = ActionPolicy(cut_to=0.25)
    proposal = desk.rollout.propose_policy("action", policy, as_="alice")
    assert "action" not in desk.ledger.state().policies
    desk.rollout.approve_policy(proposal, as_="carol")
    assert desk.ledger.state().policies["action"].identity == policy.identity


def test_lineage_is_written_once(desk: Any) -> None:
    before = desk.ledger.head().sequence
    for _ in range(3):
        register(desk.rollout, "snapshot", "cd" * 32, {"rows": 7}, as_="alice")
    assert desk.ledger.head().sequence == before + 1
    assert desk.ledger.state().lineage["snapshot", "cd" * 32] == {"rows": 7}


def test_a_release_is_registered_once_by_its_validator(desk: Any) -> None:
    digest = desk.build()
    manifest = read_release(desk.home.releases / digest, digest).manifest
    with pytest.raises(NotAllowed):
        register_release(desk.rollout, manifest, as_="alice")
    first = register_release(desk.rollout, manifest, as_="bob")
    assert register_release(desk.rollout, manifest, as_="bob") == first
    assert desk.ledger.state().signal(SIGNAL).generation == 0


def test_a_release_of_another_environment_is_not_registered(desk: Any) -> None:
    digest = desk.build(environment="prod")
    manifest = read_release(desk.home.releases / digest, digest).manifest
    with pytest.raises(EntryRefused, match="expected environment replay, found prod"):
        register_release(desk.rollout, manifest, as_="bob")
