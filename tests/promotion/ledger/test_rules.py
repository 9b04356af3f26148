"""The rules of the interlocking, each held where entries are appended and where they are folded."""

from __future__ import annotations

from typing import Any

import pytest

from promotion.errors import (
    ClockWentBack,
    EntryRefused,
    GateFailed,
    NotAllowed,
    NotApproved,
    PlanMoved,
    RiskAdded,
    SignalFrozen,
)
from promotion.identity import KeyStore, Principal
from promotion.ledger.entry import place, sign
from promotion.ledger.fold import Books, apply, fold
from promotion.ledger.store import SqliteLedger
from promotion.promote import plan_promotion, promote
from promotion.release.open import open_release
from promotion.rollout import found_ledger

SIGNAL = "large_caps"


def _append(desk: Any, actor: str, role: str, kind: str, payload: dict[str, Any], **more: Any) -> Any:
    """Past every helper: what an actor with a key and no manners would write."""
    more.setdefault("time_ns", desk.clock.now_ns())
    return desk.ledger.append(sign(desk.keys.signer(actor), kind=kind, role=role, payload=payload, **more))


def _generation(desk: Any) -> int:
    generation: int = desk.ledger.state().signal(SIGNAL).generation
    return generation


# The automatic actor.


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("weight", {"weight": "1.0", "why": "looks fine"}),
        ("weight", {"weight": "0.9", "why": "same or more"}),
        ("resumed", {"why": "looks fine"}),
        ("thawed", {"why": "looks fine"}),
        ("retired", {"release": "ab" * 32, "why": "x"}),
    ],
)
def test_the_monitor_cannot_add_risk(live: Any, kind: str, payload: dict[str, Any]) -> None:
    live.rollout.set_weight(SIGNAL, 0.5, why="cut", as_="monitor")
    before = live.ledger.state()
    with pytest.raises(RiskAdded):
        _append(live, "monitor", "monitor", kind, payload, signal=SIGNAL, expected_generation=_generation(live))
    assert live.ledger.state() == before


def test_the_monitor_cannot_promote_an_approved_plan(live: Any) -> None:
    digest = live.register(slope=3.0)
    planned = plan_promotion(live.rollout, live.home, digest, as_="alice")
    live.rollout.approve(planned.hash, as_="carol")
    payload = {"plan": planned.hash, "release": digest, "stage": "live"}
    with pytest.raises(RiskAdded, match="expected a role of operator, found monitor"):
        _append(live, "monitor", "monitor", "promoted", payload, signal=SIGNAL, expected_generation=2)


def test_the_monitor_rolls_back_to_the_last_good_release_and_no_other(live: Any) -> None:
    planned = plan_promotion(live.rollout, live.home, live.register(slope=3.0), as_="alice")
    live.rollout.approve(planned.hash, as_="carol")
    promote(live.rollout, live.home, planned.hash, as_="alice")
    oldest, previous = live.ledger.state().signal(SIGNAL).good
    with pytest.raises(RiskAdded):
        live.rollout.rollback(SIGNAL, to=oldest, why="further", as_="monitor")
    live.rollout.rollback(SIGNAL, why="breach", as_="monitor")
    state = live.ledger.state().signal(SIGNAL)
    assert (state.live, state.good) == (previous, (oldest,))
    assert state.rolled_back_ns is not None


def test_the_monitor_cuts_tightens_freezes_and_halts(live: Any) -> None:
    rollout = live.rollout
    rollout.set_weight(SIGNAL, 0.5, why="breach", as_="monitor")
    rollout.set_posture(SIGNAL, "NO_NEW_RISK", why="drift", as_="monitor")
    rollout.freeze(SIGNAL, why="second breach", as_="monitor")
    rollout.halt(SIGNAL, why="no data", as_="monitor")
    state = live.ledger.state().signal(SIGNAL)
    assert (state.weight, state.posture, state.frozen, state.generation) == (0.5, "HALTED", True, 6)
    assert live.told == [1, 2, 3, 4, 5, 6]


def test_the_kill_switch_halts_and_does_nothing_else(live: Any) -> None:
    with pytest.raises(RiskAdded):
        live.rollout.set_weight(SIGNAL, 0.1, why="not mine", as_="switch")
    live.rollout.halt(SIGNAL, why="pulled", as_="switch")
    with pytest.raises(RiskAdded):
        live.rollout.resume(SIGNAL, why="pulled back", as_="switch")
    assert live.ledger.state().signal(SIGNAL).posture == "HALTED"


def test_a_cut_weight_stays_cut_until_a_person_raises_it(live: Any) -> None:
    live.rollout.set_weight(SIGNAL, 0.5, why="breach", as_="monitor")
    live.rollout.rollback(SIGNAL, why="breach", as_="monitor")
    assert live.ledger.state().signal(SIGNAL).weight == 0.5
    live.rollout.set_weight(SIGNAL, 0.8, why="explained", as_="alice")
    assert live.ledger.state().signal(SIGNAL).weight == 0.8


# What a person may do, and may not.


def test_a_rollback_goes_only_to_what_was_live_before(live: Any) -> None:
    state = live.ledger.state().signal(SIGNAL)
    never = live.register(slope=3.0)
    for target in (never, state.live):
        with pytest.raises(EntryRefused, match="expected a release that was live before"):
            live.rollout.rollback(SIGNAL, to=target, why="wish", as_="alice")
    live.rollout.rollback(SIGNAL, why="bad", as_="alice")
    with pytest.raises(EntryRefused, match="expected a release before the live one, found none; halt it"):
        live.rollout.rollback(SIGNAL, why="worse", as_="alice")


def test_a_release_rolled_back_from_comes_back_only_by_promotion(live: Any) -> None:
    bad = live.ledger.state().signal(SIGNAL).live
    live.rollout.rollback(SIGNAL, why="bad", as_="alice")
    assert bad not in live.ledger.state().signal(SIGNAL).good


def test_the_way_back_from_a_posture_is_resume(live: Any) -> None:
    live.rollout.set_posture(SIGNAL, "NO_NEW_RISK", why="drift", as_="monitor")
    for posture in ("NORMAL", "NO_NEW_RISK"):
        with pytest.raises(EntryRefused, match="the way back is `signalbox resume`"):
            live.rollout.set_posture(SIGNAL, posture, why="enough", as_="alice")
    live.rollout.resume(SIGNAL, why="feed repaired", as_="alice")
    assert live.ledger.state().signal(SIGNAL).posture == "NORMAL"


def test_a_frozen_signal_takes_less_risk_and_no_more(live: Any) -> None:
    live.rollout.freeze(SIGNAL, why="month end", as_="alice")
    live.rollout.set_weight(SIGNAL, 0.5, why="less is allowed", as_="alice")
    live.rollout.set_posture(SIGNAL, "NO_NEW_RISK", why="less is allowed", as_="alice")
    with pytest.raises(SignalFrozen):
        live.rollout.set_weight(SIGNAL, 0.6, why="more is not", as_="alice")
    with pytest.raises(SignalFrozen):
        live.rollout.resume(SIGNAL, why="more is not", as_="alice")
    live.rollout.rollback(SIGNAL, why="allowed in every state", as_="alice")
    live.rollout.thaw(SIGNAL, why="month begun", as_="alice")
    live.rollout.resume(SIGNAL, why="now", as_="alice")


def test_rollback_works_in_every_posture_and_while_a_plan_waits(live: Any) -> None:
    plan_promotion(live.rollout, live.home, live.register(slope=3.0), as_="alice")
    live.rollout.halt(SIGNAL, why="fire", as_="alice")
    live.rollout.rollback(SIGNAL, why="fire", as_="alice")
    assert live.ledger.state().signal(SIGNAL).posture == "HALTED"


def test_a_role_must_be_held_and_fit(live: Any) -> None:
    with pytest.raises(NotAllowed, match="expected bob to hold role operator, found validator, approver"):
        _append(live, "bob", "operator", "resumed", {"why": "x"}, signal=SIGNAL, expected_generation=2)
    with pytest.raises(NotAllowed, match="expected a role of operator, found validator"):
        live.rollout.resume(SIGNAL, why="x", as_="bob")


def test_an_unknown_signal_is_named(live: Any) -> None:
    with pytest.raises(EntryRefused, match=r"expected a signal of this ledger \(large_caps\), found 'small_caps'"):
        live.rollout.halt("small_caps", why="x", as_="alice")
    with pytest.raises(EntryRefused, match="found 'small_caps'"):
        _append(live, "alice", "operator", "halted", {"why": "x"}, signal="small_caps", expected_generation=0)


# Four eyes.


def test_a_proposer_does_not_approve_their_own_policy(desk: Any) -> None:
    from promotion.config import GatePolicy

    proposal = desk.rollout.propose_policy("gates.replay", GatePolicy(thresholds=()), as_="bob")
    with pytest.raises(NotApproved, match="expected another principal than the proposer bob"):
        desk.rollout.approve_policy(proposal, as_="bob")
    desk.rollout.approve_policy(proposal, as_="carol")
    assert desk.ledger.state().policies["gates.replay"].approver == "carol"


def test_a_proposer_does_not_approve_their_own_plan(live: Any) -> None:
    alice = live.keys.signer("alice").principal("researcher", "operator", "approver")
    live.rollout.approve_principal(live.rollout.propose_principal(alice, as_="bob"), as_="carol")
    planned = plan_promotion(live.rollout, live.home, live.register(slope=3.0), as_="alice")
    with pytest.raises(NotApproved, match="expected another principal than the proposer alice"):
        live.rollout.approve(planned.hash, as_="alice")


def test_an_author_does_not_approve_a_plan_for_their_own_release(live: Any) -> None:
    rollout = live.rollout
    dave = live.keys.create("dave").principal("operator")
    rollout.approve_principal(rollout.propose_principal(dave, as_="bob"), as_="carol")
    alice = live.keys.signer("alice").principal("researcher", "operator", "approver")
    rollout.approve_principal(rollout.propose_principal(alice, as_="bob"), as_="carol")
    planned = plan_promotion(rollout, live.home, live.register(slope=3.0), as_="dave")
    with pytest.raises(NotApproved, match="expected another approver than the release's author alice"):
        rollout.approve(planned.hash, as_="alice")
    rollout.approve(planned.hash, as_="bob")


def test_nobody_lets_themselves_in(desk: Any) -> None:
    sock_puppet = Principal("zed", "ab" * 32, ("approver",))
    proposal = desk.rollout.propose_principal(sock_puppet, as_="bob")
    with pytest.raises(NotApproved):
        desk.rollout.approve_principal(proposal, as_="bob")
    more = desk.keys.signer("carol").principal("approver", "operator")
    proposal = desk.rollout.propose_principal(more, as_="bob")
    with pytest.raises(NotApproved, match="expected another's approval than its own"):
        desk.rollout.approve_principal(proposal, as_="carol")


def test_two_names_are_not_two_pairs_of_eyes_on_one_key(desk: Any) -> None:
    twin = Principal("bob2", desk.keys.signer("bob").public_key, ("approver",))
    with pytest.raises(EntryRefused, match="expected one name a key and one key a name"):
        desk.rollout.propose_principal(twin, as_="carol")


def test_a_name_does_not_change_its_key(desk: Any) -> None:
    with pytest.raises(EntryRefused, match="make a new principal with a new key"):
        desk.rollout.propose_principal(Principal("bob", "ab" * 32, ("approver",)), as_="carol")


def test_a_revoked_principal_acts_no_more_and_their_releases_stay_valid(live: Any) -> None:
    gone = live.keys.signer("alice").principal()
    live.rollout.approve_principal(live.rollout.propose_principal(gone, as_="bob"), as_="carol")
    with pytest.raises(NotAllowed):
        live.rollout.halt(SIGNAL, why="still here?", as_="alice")
    state = live.ledger.state()
    digest = state.signal(SIGNAL).live
    assert open_release(live.home, digest, environment="replay", principals=state.principals).digest == digest


def test_a_ledger_with_one_approver_is_not_founded(desk: Any, tmp_path: Any) -> None:
    with (
        SqliteLedger(tmp_path / "ledger.db") as ledger,
        pytest.raises(NotAllowed, match="expected two founding principals with role approver, found 1"),
    ):
        found_ledger(
            ledger, KeyStore(tmp_path), environment="prod", principals={"solo": ("approver",)}, clock=desk.clock
        )


# What the plan says is what is done.


def _plan_payload(desk: Any, **changes: Any) -> dict[str, Any]:
    state = desk.ledger.state()
    signal = state.signal(SIGNAL)
    plan = {
        "signal": SIGNAL, "release": signal.live, "stage": "live", "environment": "replay",
        "generation": signal.generation, "replaces": signal.live, "weight": "1.0",
        "policy": state.policies["gates.replay"].identity, "trials": 1, "passed": True, "measured": {},
    }  # fmt: skip
    return {**plan, **changes}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"passed": False}, GateFailed),
        ({"generation": 1}, PlanMoved),
        ({"policy": "ab" * 32}, PlanMoved),
        ({"environment": "prod"}, PlanMoved),
        ({"replaces": ""}, PlanMoved),
        ({"release": "ab" * 32}, EntryRefused),
        ({"weight": "1.01"}, EntryRefused),
        ({"weight": "nan"}, EntryRefused),
        ({"weight": "-0.1"}, EntryRefused),
        ({"signal": "other"}, EntryRefused),
        ({"surprise": 1}, EntryRefused),
    ],
)
def test_a_forged_plan_is_refused(live: Any, changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        _append(live, "alice", "operator", "plan_proposed", _plan_payload(live, **changes), signal=SIGNAL)


def test_a_promotion_does_what_its_plan_says(live: Any) -> None:
    digest = live.register(slope=3.0)
    planned = plan_promotion(live.rollout, live.home, digest, as_="alice", stage="shadow")
    live.rollout.approve(planned.hash, as_="carol")
    payload = {"plan": planned.hash, "release": digest, "stage": "live"}
    with pytest.raises(PlanMoved, match="expected what plan"):
        _append(live, "alice", "operator", "promoted", payload, signal=SIGNAL, expected_generation=2)


# Time, shape, and the fold itself.


def test_a_clock_that_went_back_adds_no_risk_but_still_reduces_it(live: Any) -> None:
    past = live.clock.now - 3_600_000_000_000
    payload = {"weight": "1.0", "why": "clock"}
    with pytest.raises(ClockWentBack, match="set the clock of alice's machine"):
        _append(live, "alice", "operator", "weight", payload, signal=SIGNAL, expected_generation=2, time_ns=past)
    _append(live, "alice", "operator", "halted", {"why": "x"}, signal=SIGNAL, expected_generation=2, time_ns=past)


def test_a_floating_number_is_never_signed(desk: Any) -> None:
    with pytest.raises(EntryRefused, match="expected no float"):
        desk.rollout.append("lineage", {"subject": "run", "id": "x", "facts": {"sharpe": 1.5}}, as_="alice")


def test_an_unknown_kind_is_refused(desk: Any) -> None:
    with pytest.raises(EntryRefused, match="expected a kind of opened"):
        _append(desk, "alice", "researcher", "abolished", {})


def test_a_kind_that_moves_nothing_carries_no_generation(desk: Any) -> None:
    payload = {"subject": "run", "id": "x", "facts": {}}
    with pytest.raises(EntryRefused, match=r"expected generation -1"):
        _append(desk, "alice", "researcher", "lineage", payload, expected_generation=0)


def test_a_ledger_is_opened_once(desk: Any) -> None:
    entry = desk.ledger.entries()[0]
    with pytest.raises(EntryRefused, match="expected a ledger's first entry, and no other"):
        _append(desk, "bob", "approver", "opened", entry.payload)


def test_what_cannot_be_appended_cannot_be_folded(live: Any) -> None:
    """The same rules stand where the history is read: a store that took a forbidden entry does not help."""
    entries = live.ledger.entries()
    forbidden = sign(
        live.keys.signer("monitor"), kind="weight", role="monitor", signal=SIGNAL, expected_generation=2,
        payload={"weight": "1.0", "why": "up"}, time_ns=live.clock.now_ns(),
    )  # fmt: skip
    entry = place(forbidden, sequence=len(entries) + 1, previous=entries[-1].hash)
    with pytest.raises(RiskAdded):
        fold([*entries, entry])


def test_a_refused_entry_leaves_the_books_as_they_were(live: Any) -> None:
    books = Books()
    for entry in live.ledger.entries():
        apply(books, entry)
    before = books.state()
    bad = place(
        sign(
            live.keys.signer("alice"), kind="weight", role="operator", signal=SIGNAL, expected_generation=2,
            payload={"weight": "7", "why": "up"}, time_ns=live.clock.now_ns(),
        ),
        sequence=before.sequence + 1,
        previous=before.head,
    )  # fmt: skip
    with pytest.raises(EntryRefused):
        apply(books, bad)
    assert books.state() == before


def test_the_state_is_a_value_of_its_own(live: Any) -> None:
    state = live.ledger.state()
    live.rollout.halt(SIGNAL, why="later", as_="alice")
    assert state.signal(SIGNAL).posture == "NORMAL"
    with pytest.raises(TypeError):
        state.signals["other"] = state.signal(SIGNAL)


# Releases come in by their validator, once, and by two principals.


def _facts(desk: Any, **changes: Any) -> dict[str, Any]:
    facts = {
        "release": "ab" * 32, "environment": "replay", "author": "alice", "validator": "bob", "snapshot_id": "s",
        "feature_set_id": "cd" * 32, "max_weight": "1.0", "as_of_ns": 1,
    }  # fmt: skip
    return {**facts, **changes}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"validator": "carol"}, NotApproved, "expected the validator to register it"),
        ({"author": "bob"}, NotApproved, "another principal to be its author"),
        ({"author": "carol"}, NotAllowed, "expected author carol to hold role researcher"),
        ({"author": "nobody"}, NotAllowed, "expected author nobody to hold role researcher"),
        ({"environment": "prod"}, EntryRefused, "expected environment replay, found prod"),
    ],
)
def test_a_release_is_registered_rightly(
    desk: Any, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _append(desk, "bob", "validator", "release_registered", _facts(desk, **changes), signal=SIGNAL)
    assert desk.ledger.state().releases == {}


def test_a_release_is_registered_once_and_for_a_signal(desk: Any) -> None:
    with pytest.raises(EntryRefused, match="expected the signal it is for, found none"):
        _append(desk, "bob", "validator", "release_registered", _facts(desk))
    _append(desk, "bob", "validator", "release_registered", _facts(desk), signal=SIGNAL)
    with pytest.raises(EntryRefused, match="it is there already"):
        _append(desk, "bob", "validator", "release_registered", _facts(desk), signal="other")


def test_a_halt_by_a_clock_far_ahead_bars_nobody(live: Any) -> None:
    future = live.clock.now + 10**18
    _append(live, "alice", "operator", "halted", {"why": "x"}, signal=SIGNAL, expected_generation=2, time_ns=future)
    live.rollout.resume(SIGNAL, why="the clock was wrong, the fire is out", as_="alice")
