"""Plans and promotions: judged anew, approved by another, void once anything moved."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from features.canonical import canonical_json
from promotion.config import GatePolicy, Threshold
from promotion.errors import Conflict, EntryRefused, GateFailed, NotApproved, PlanMoved, ReleaseRefused, SignalFrozen
from promotion.evidence.assess import Evidence
from promotion.ledger.trials import declare_trials
from promotion.lineage import release_facts
from promotion.promote import judge_release, plan_promotion, promote
from promotion.release.arrays import from_npz, to_npz
from promotion.release.files import read_release
from promotion.rollout import gate_policy_in_force

STRICT = GatePolicy(thresholds=(Threshold(metric="sharpe_annual", at_least=50.0),))


def test_a_release_goes_live_by_plan_approval_and_promotion(desk: Any) -> None:
    desk.put_policy_in_force()
    digest = desk.register()
    planned = plan_promotion(desk.rollout, desk.home, digest, as_="alice", weight=0.75)
    desk.rollout.approve(planned.hash, as_="carol")
    entry = promote(desk.rollout, desk.home, planned.hash, as_="alice")
    state = desk.ledger.state().signal("large_caps")
    assert (state.live, state.weight, state.generation, state.posture) == (digest, 0.75, 1, "NORMAL")
    assert (entry.kind, desk.told) == ("promoted", [1])


def test_the_second_release_keeps_the_first_to_go_back_to(live: Any) -> None:
    state = live.ledger.state().signal("large_caps")
    assert state.previous is not None
    assert state.previous != state.live
    assert live.told == [1, 2]


def test_a_gate_that_fails_is_refused_with_reasons_and_the_refusal_is_history(desk: Any) -> None:
    desk.put_policy_in_force(STRICT)
    digest = desk.register()
    with pytest.raises(GateFailed, match=r"sharpe_annual: expected at least 50, found"):
        plan_promotion(desk.rollout, desk.home, digest, as_="alice")
    last = desk.ledger.entries()[-1]
    assert last.kind == "plan_refused"
    assert last.payload["reasons"][0].startswith("sharpe_annual")


def test_without_a_policy_in_force_nothing_is_planned(desk: Any) -> None:
    digest = desk.register()
    with pytest.raises(PlanMoved, match=r"gates.replay: expected a gate policy in force, found none"):
        plan_promotion(desk.rollout, desk.home, digest, as_="alice")


def test_a_policy_edited_on_disk_is_not_the_policy_in_force(desk: Any) -> None:
    desk.put_policy_in_force()
    digest = desk.register()
    with pytest.raises(PlanMoved, match="undo the edit, or propose"):
        plan_promotion(desk.rollout, desk.home, digest, as_="alice", configured=STRICT)


def test_the_policy_in_force_reads_back_as_it_was_proposed(desk: Any) -> None:
    desk.put_policy_in_force(STRICT)
    policy, hashed = gate_policy_in_force(desk.ledger.state())
    assert (policy, hashed) == (STRICT, STRICT.identity)


def test_an_unapproved_plan_is_not_carried_out(desk: Any) -> None:
    desk.put_policy_in_force()
    planned = plan_promotion(desk.rollout, desk.home, desk.register(), as_="alice")
    with pytest.raises(NotApproved, match="waits for approval"):
        promote(desk.rollout, desk.home, planned.hash, as_="alice")


def test_a_plan_is_void_once_its_signal_moved(live: Any) -> None:
    digest = live.register(slope=3.0)
    planned = plan_promotion(live.rollout, live.home, digest, as_="alice")
    live.rollout.approve(planned.hash, as_="carol")
    live.rollout.set_weight("large_caps", 0.5, why="cut", as_="monitor")
    with pytest.raises((PlanMoved, Conflict)):
        promote(live.rollout, live.home, planned.hash, as_="alice")
    assert live.ledger.state().signal("large_caps").weight == 0.5


def test_a_plan_is_void_once_the_policy_changed(desk: Any) -> None:
    desk.put_policy_in_force()
    planned = plan_promotion(desk.rollout, desk.home, desk.register(), as_="alice")
    desk.rollout.approve(planned.hash, as_="carol")
    desk.put_policy_in_force(STRICT)
    with pytest.raises(PlanMoved, match="policy"):
        promote(desk.rollout, desk.home, planned.hash, as_="alice")


def test_a_plan_is_void_once_more_trials_were_opened(desk: Any) -> None:
    desk.put_policy_in_force()
    planned = plan_promotion(desk.rollout, desk.home, desk.register(), as_="alice")
    desk.rollout.approve(planned.hash, as_="carol")
    desk.try_once()
    with pytest.raises(PlanMoved, match="expected 1 trials, found 2 by now"):
        promote(desk.rollout, desk.home, planned.hash, as_="alice")


def test_later_trials_count_against_a_release_made_before_them(desk: Any) -> None:
    digest = desk.register()
    for _ in range(4):
        desk.try_once()
    judgement = judge_release(desk.home, desk.ledger.state(), digest, policy=STRICT)
    assert judgement.trials == 5
    assert judgement.evidence.metrics["trials"] == 5


def test_promoting_twice_under_one_key_is_promoting_once(desk: Any) -> None:
    desk.put_policy_in_force()
    planned = plan_promotion(desk.rollout, desk.home, desk.register(), as_="alice")
    desk.rollout.approve(planned.hash, as_="carol")
    first = promote(desk.rollout, desk.home, planned.hash, as_="alice", key="go-live-1")
    again = promote(desk.rollout, desk.home, planned.hash, as_="alice", key="go-live-1")
    assert again == first
    assert desk.ledger.state().signal("large_caps").generation == 1


def test_a_frozen_signal_takes_no_promotion(live: Any) -> None:
    live.rollout.freeze("large_caps", why="release freeze", as_="alice")
    planned = plan_promotion(live.rollout, live.home, live.register(slope=3.0), as_="alice")
    live.rollout.approve(planned.hash, as_="carol")
    with pytest.raises(SignalFrozen, match="thaw it first"):
        promote(live.rollout, live.home, planned.hash, as_="alice")


def test_a_shadow_carries_no_weight_and_leaves_the_live_release_alone(live: Any) -> None:
    before = live.ledger.state().signal("large_caps")
    digest = live.register(slope=3.0)
    planned = plan_promotion(live.rollout, live.home, digest, as_="alice", stage="shadow")
    live.rollout.approve(planned.hash, as_="carol")
    promote(live.rollout, live.home, planned.hash, as_="alice")
    after = live.ledger.state().signal("large_caps")
    assert (after.live, after.weight, after.shadow) == (before.live, before.weight, (digest,))
    live.rollout.retire("large_caps", digest, why="seen enough", as_="alice")
    assert live.ledger.state().signal("large_caps").shadow == ()


def test_evidence_that_its_own_arrays_do_not_give_is_refused(desk: Any, make_parts: Any) -> None:
    stated = make_parts().files["evidence.json"]
    better = stated.replace(b'"sharpe_annual":"', b'"sharpe_annual":"9')
    digest = desk.register(files={"evidence.json": better})
    with pytest.raises(ReleaseRefused, match=r"evidence.json: .*sharpe_annual"):
        judge_release(desk.home, desk.ledger.state(), digest, policy=STRICT)


def test_returns_that_the_positions_do_not_earn_are_refused(desk: Any, make_parts: Any) -> None:
    book = dict(from_npz(make_parts().files["backtest.npz"]))
    book["net"] = book["net"] + 0.001
    digest = desk.register(files={"backtest.npz": to_npz(book)})
    with pytest.raises(ReleaseRefused, match=r"backtest.npz: expected the net returns that its positions earn"):
        judge_release(desk.home, desk.ledger.state(), digest, policy=STRICT)


def test_trial_returns_that_the_ledger_never_saw_are_refused(desk: Any, make_parts: Any) -> None:
    tried = dict(from_npz(make_parts().files["trials.npz"]))
    tried["returns"] = tried["returns"] + 1e-6
    digest = desk.register(files={"trials.npz": to_npz(tried)})
    with pytest.raises(ReleaseRefused, match=r"trials.npz: expected what trial .* was closed with"):
        judge_release(desk.home, desk.ledger.state(), digest, policy=STRICT)


def test_a_trial_that_the_ledger_never_saw_is_refused(desk: Any, make_parts: Any) -> None:
    tried = {**from_npz(make_parts().files["trials.npz"]), "ids": np.array(["f" * 16])}
    digest = desk.register(files={"trials.npz": to_npz(tried)})
    with pytest.raises(ReleaseRefused, match="expected trials of this ledger"):
        judge_release(desk.home, desk.ledger.state(), digest, policy=STRICT)


def test_parity_is_measured_on_the_rows_that_the_release_carries(desk: Any, make_parts: Any) -> None:
    features = np.ones((5000, 3), dtype=np.float32)
    native = np.full(5000, 3.5, dtype=np.float32)  # the model says 3.0
    rows = to_npz({"features": features, "native": native})
    digest = desk.register(files={"parity.npz": rows})
    with pytest.raises(ReleaseRefused, match=r"parity_max_abs: 0\.0? ≠ 0\.5|parity_max_abs"):
        judge_release(desk.home, desk.ledger.state(), digest, policy=STRICT)


def test_an_unregistered_release_is_not_planned(desk: Any) -> None:
    desk.put_policy_in_force()
    digest = desk.build()
    with pytest.raises(EntryRefused):
        plan_promotion(desk.rollout, desk.home, digest, as_="alice")


def test_a_weight_beyond_the_release_s_limit_is_refused(desk: Any) -> None:
    desk.put_policy_in_force()
    with pytest.raises(EntryRefused, match=r"expected a weight of 0 to 1\.0"):
        plan_promotion(desk.rollout, desk.home, desk.register(), as_="alice", weight=1.5)


def test_measured_numbers_travel_as_decimal_strings(desk: Any) -> None:
    desk.put_policy_in_force()
    planned = plan_promotion(desk.rollout, desk.home, desk.register(), as_="alice")
    assert all(isinstance(value, str) for value in planned.plan.measured.values())
    assert canonical_json(desk.ledger.entries()[-1].payload)


def test_a_declared_release_stands_on_what_was_declared(desk: Any, make_parts: Any) -> None:
    policy = GatePolicy(thresholds=(), declared_trials_suffice=True)
    returns = from_npz(make_parts().files["trials.npz"])["returns"]
    stated = Evidence.read(make_parts().files["evidence.json"])
    metrics = {**stated.metrics, "trials_declared": 1.0}
    evidence = msgspec.structs.replace(stated, metrics=metrics).canonical()
    digest = desk.register(declared=True, files={"evidence.json": evidence})
    with pytest.raises(ReleaseRefused, match=r"expected the returns that the model's author declared"):
        judge_release(desk.home, desk.ledger.state(), digest, policy=policy)
    alice, family = desk.keys.signer("alice"), make_parts().trials
    declare_trials(desk.ledger, family, number=12, returns=returns.tobytes(), signer=alice, clock=desk.clock)
    judgement = judge_release(desk.home, desk.ledger.state(), digest, policy=policy)
    assert judgement.trials == 13
    assert judgement.verdict.passed
    refusing = judge_release(desk.home, desk.ledger.state(), digest, policy=GatePolicy(thresholds=()))
    assert refusing.verdict.reasons[0].startswith("trials_declared: expected trials counted in the ledger")


def test_a_release_registered_with_other_facts_than_its_manifest_s_is_refused(desk: Any) -> None:
    digest = desk.build()
    facts = {**release_facts(read_release(desk.home.releases / digest, digest).manifest), "as_of_ns": 1}
    desk.rollout.append("release_registered", facts, as_="bob", signal="large_caps")
    with pytest.raises(ReleaseRefused, match="expected it registered as its manifest says"):
        judge_release(desk.home, desk.ledger.state(), digest, policy=STRICT)


@pytest.mark.parametrize("limit", ["1.5", "-1.0", "1e9"])
def test_a_registered_weight_limit_is_a_share(desk: Any, limit: str) -> None:
    digest = desk.build()
    facts = {**release_facts(read_release(desk.home.releases / digest, digest).manifest), "max_weight": limit}
    with pytest.raises(EntryRefused, match="expected a largest weight of 0 to 1"):
        desk.rollout.append("release_registered", facts, as_="bob", signal="large_caps")
