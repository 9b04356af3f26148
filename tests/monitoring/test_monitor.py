"""The monitor, session by session, over the real store, rings, books and policy; scorer and ledger are scripted."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.errors import (
    BackwardSession,
    DoubledSession,
    LateDecision,
    OtherUniverse,
    RestatedOutcome,
    UnknownSession,
)
from promotion.errors import LedgerUnreadable

B, A = "b" * 64, "a" * 64


async def played(desk, sessions):  # type: ignore[no-untyped-def]
    return [await desk.play(session) for session in sessions]


async def test_a_skilled_release_is_left_alone(desk) -> None:  # type: ignore[no-untyped-def]
    async with desk:
        records = await played(desk, range(60))
    assert not desk.actuator.taken
    assert records[-1].rows == 10
    assert records[-1].scored == 10
    assert records[-1].missed == 0
    assert sum(record.net for record in records[5:]) > 0.1
    assert {verdict.rule for verdict in records[-1].verdicts} == {"desk", "calibrated"}


async def test_a_release_that_lost_its_skill_is_cut_and_then_rolled_back(desk) -> None:  # type: ignore[no-untyped-def]
    desk.world.skill = lambda release, session: 1.0 if release == A or session < 30 else -3.0
    async with desk:
        records = await played(desk, range(80))
    actions = [(planned.action.kind, planned.action.after) for record in records for planned in record.actions]
    assert actions == [("cut", "0.5"), ("rollback", A)]
    assert desk.actuator.state.live == A
    assert desk.actuator.state.weight == 0.5, "the cut stays until a person raises it"
    (cut,) = (planned for record in records for planned in record.actions if planned.action.kind == "cut")
    assert cut.done == "done: generation 3"
    assert "sharpe of net return is -" in cut.action.reason
    assert "calibrated threshold" in cut.action.reason


async def test_a_feature_off_its_distribution_means_no_new_risk_and_the_operator_rearms(desk) -> None:  # type: ignore[no-untyped-def]
    desk.world.feature = lambda session, values: values * ([1, 100, 1] if session >= 20 else 1)
    async with desk:
        records = await played(desk, range(28))
        (planned,) = (planned for record in records for planned in record.actions)
        assert (planned.action.kind, planned.action.after) == ("posture", "NO_NEW_RISK")
        assert "momentum" in planned.action.reason
        desk.world.feature = lambda session, values: values
        desk.actuator.move(posture="NORMAL")
        resumed = await played(desk, range(28, 50))
    assert resumed[0].rearmed == {"input"}
    assert not any(record.actions for record in resumed), "what the operator has seen does not count again"


async def test_a_person_who_raises_the_weight_gives_the_release_a_fresh_window(desk) -> None:  # type: ignore[no-untyped-def]
    desk.world.skill = lambda release, session: 1.0 if session < 30 or session > 40 else -3.0
    async with desk:
        records = await played(desk, range(30))
        session = 30
        while desk.actuator.state.weight == 1.0:
            await desk.play(session)
            session += 1
        desk.actuator.move(weight=1.0)
        records = await played(desk, range(session, session + 3))
    assert records[0].rearmed == {"model"}
    assert all(
        verdict.state == "warming" for record in records for verdict in record.verdicts if verdict.fault == "model"
    )


@pytest.mark.parametrize("missing", ["answers", "outcomes"])
async def test_silence_beyond_its_grace_is_a_breach(desk, missing: str) -> None:  # type: ignore[no-untyped-def]
    setattr(desk.world, missing, lambda session: session < 10)
    async with desk:
        records = await played(desk, range(14))
    assert [bool(record.actions) for record in records[9:]] == [False, False, False, True, False]
    (planned,) = records[12].actions
    assert planned.action.after == "NO_NEW_RISK"
    assert "for 3 sessions, grace 2" in planned.action.reason


async def test_a_monitor_that_was_away_beyond_its_grace_is_a_breach(desk) -> None:  # type: ignore[no-untyped-def]
    async with desk:
        await played(desk, range(10))
        (record,) = await played(desk, [13])
    assert "no monitor for 3 sessions, grace 2" in record.actions[0].action.reason


async def test_a_weekend_is_no_silence(desk) -> None:  # type: ignore[no-untyped-def]
    async with desk:
        assert not any(record.actions for record in await played(desk, range(25)))


async def test_refusals_by_name(desk) -> None:  # type: ignore[no-untyped-def]
    async with desk:
        await played(desk, range(5))
        with pytest.raises(DoubledSession):
            await desk.play(4)
        with pytest.raises(RestatedOutcome):
            await desk.monitor.session(desk.close_of(4), desk.world.moves[4] + 0.01)
        with pytest.raises(BackwardSession):
            await desk.monitor.session(desk.close_of(3), desk.world.moves[3])
        with pytest.raises(OtherUniverse):
            await desk.monitor.session(desk.close_of(5), np.zeros(3))
        with pytest.raises(UnknownSession, match="the close of a session of XNYS"):
            await desk.monitor.session(desk.close_of(5) + 1, desk.world.moves[5])
        desk.clock.advance_to(desk.close_of(6))
        with pytest.raises(LateDecision):
            await desk.monitor.session(desk.close_of(5), desk.world.moves[5])
        assert desk.monitor.last_session_ns == desk.close_of(4)


async def test_a_session_that_failed_is_watched_as_if_it_had_not(desk, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    desk.actuator.move(shadow=(A,))
    honest = desk.world.scores
    async with desk:
        await played(desk, range(12))
        desk.world.scores = lambda release: honest(release) if release == B else [0.0]
        with pytest.raises(OtherUniverse):
            await desk.play(12)
        desk.world.scores = honest
        record = await desk.monitor.session(desk.close_of(12), desk.world.moves[12])
        assert record.rows == 10
        again = await desk.play(13)
    undisturbed = type(desk)(tmp_path_factory.mktemp("other"), desk.world, desk.yardstick)
    undisturbed.actuator.move(shadow=(A,))
    async with undisturbed:
        expected = await played(undisturbed, range(14))
    assert [record.net, again.net] == [each.net for each in expected[12:]]
    assert [record.verdicts, again.verdicts] == [each.verdicts for each in expected[12:]]


async def test_an_action_that_the_ledger_could_not_take_is_tried_again(desk) -> None:  # type: ignore[no-untyped-def]
    desk.world.feature = lambda session, values: values * ([1, 100, 1] if session >= 10 else 1)
    take = desk.actuator.act

    async def unreadable(planned):  # type: ignore[no-untyped-def]
        raise LedgerUnreadable("disk full")

    async with desk:
        desk.actuator.act = unreadable
        with pytest.raises(LedgerUnreadable):
            await played(desk, range(20))
        assert len(desk.store.pending("pair")) == 1
    desk.actuator.act = take
    async with desk:
        assert desk.actuator.state.posture == "NO_NEW_RISK"
        assert desk.store.pending("pair") == []


async def test_an_action_that_was_superseded_is_no_persons_rearming(desk) -> None:  # type: ignore[no-untyped-def]
    desk.world.skill = lambda release, session: 1.0 if session < 30 else -3.0
    take = desk.actuator.act

    async def too_late(planned):  # type: ignore[no-untyped-def]
        desk.actuator.move(weight=0.8)
        desk.actuator.act = take
        return await take(planned)

    async with desk:
        desk.actuator.act = too_late
        records = await played(desk, range(50))
    first, second = [index for index, record in enumerate(records) if record.actions][:2]
    assert records[first].actions[0].done.startswith("superseded")
    assert not records[first + 1].rearmed
    assert (second, records[second].actions[0].action.before) == (first + 1, "0.8")


async def test_a_restart_goes_on_where_it_stopped_and_counts_no_row_twice(desk, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    async with desk:
        await played(desk, range(12))
        desk.store.__exit__(None, None, None)
        second = type(desk)(desk.folder, desk.world, desk.yardstick, actuator=desk.actuator, keep_ring=True)
        second.ring = desk.ring
        async with second:
            assert second.monitor.last_session_ns == desk.close_of(11)
            records = await played(second, range(12, 20))
    assert [record.rows for record in records] == [10] * 8
    undisturbed = type(desk)(tmp_path_factory.mktemp("other"), desk.world, desk.yardstick)
    async with undisturbed:
        expected = (await played(undisturbed, range(20)))[12:]
    assert [record.verdicts for record in records] == [record.verdicts for record in expected]
    assert [record.net for record in records] == [record.net for record in expected]


async def test_a_restart_remembers_what_a_person_rearmed(desk, tmp_path_factory) -> None:  # type: ignore[no-untyped-def]
    async def until_rearmed(watched) -> None:  # type: ignore[no-untyped-def]
        await played(watched, range(12))
        watched.actuator.move(weight=0.6)
        await played(watched, [12])
        watched.actuator.move(weight=1.0)
        await played(watched, [13, 14])

    async with desk:
        await until_rearmed(desk)
    async with desk:
        records = await played(desk, range(15, 20))
    undisturbed = type(desk)(tmp_path_factory.mktemp("other"), desk.world, desk.yardstick)
    async with undisturbed:
        await until_rearmed(undisturbed)
        expected = await played(undisturbed, range(15, 20))
    filled = [m.filled for record in records for m in record.measurements if m.detector == "sharpe"]
    assert filled == [3, 4, 5, 5, 5]
    assert [record.verdicts for record in records] == [record.verdicts for record in expected]


async def test_what_was_counted_is_not_kept(desk) -> None:  # type: ignore[no-untyped-def]
    async with desk:
        await played(desk, range(3))
        assert desk.collector.collect().rows == {}


async def test_a_release_that_comes_back_starts_with_an_empty_book(desk) -> None:  # type: ignore[no-untyped-def]
    async with desk:
        await played(desk, range(10))
        desk.actuator.move(live=A, previous="")
        await played(desk, range(10, 20))
        desk.actuator.move(live=B, previous=A)
        records = await played(desk, range(20, 30))
    assert records[0].rearmed == {"model"}
    assert [bool(np.isfinite(record.net)) for record in records[:4]] == [False, False, True, True]
    sharpe = [next(m for m in record.measurements if m.detector == "sharpe").filled for record in records]
    assert sharpe == [0, 0, 1, 2, 3, 4, 5, 5, 5, 5]


async def test_a_shadow_is_recorded_and_has_evidence_when_it_goes_live(desk) -> None:  # type: ignore[no-untyped-def]
    desk.actuator.move(shadow=(A,))
    async with desk:
        await played(desk, range(10))
        assert len([past for past in desk.store.past("pair", A, 0) if past.scores is not None]) == 10
        assert desk.store.run_start_ns("pair", A) == desk.close_of(0)


async def test_scores_that_are_not_finite_hold_nothing(desk) -> None:  # type: ignore[no-untyped-def]
    honest = desk.world.scores
    desk.world.scores = lambda release: [float("inf"), *honest(release)[1:]]
    async with desk:
        records = await played(desk, range(10))
    assert records[-1].scored == 9
    assert np.isfinite(records[-1].net)


async def test_a_return_that_is_not_known_leaves_the_session_without_a_result(desk) -> None:  # type: ignore[no-untyped-def]
    gap = np.where(np.arange(10) == 3, np.nan, desk.world.moves[7])
    known = desk.world.returns
    desk.world.returns = lambda session: gap if session == 7 else known(session)
    async with desk:
        records = await played(desk, range(10))
    assert [bool(np.isfinite(record.net)) for record in records] == [False, False, *[True] * 5, False, True, True]


async def test_without_a_live_release_there_is_nothing_to_watch(desk) -> None:  # type: ignore[no-untyped-def]
    desk.actuator.move(live="", previous="")
    async with desk:
        (record,) = await played(desk, [0])
    assert (record.verdicts, record.answer, record.actions) == ((), None, ())


async def test_both_rules_are_reported_and_the_one_in_force_acts(desk) -> None:  # type: ignore[no-untyped-def]
    desk.world.skill = lambda release, session: 0.3
    async with desk:
        records = await played(desk, range(100))
    alarms = [verdict for record in records for verdict in record.alarms]
    assert {verdict.rule for verdict in alarms} >= {"desk"}
    acted = [record for record in records if record.actions]
    assert all(
        any(verdict.rule == "calibrated" and verdict.breached for verdict in record.verdicts) for record in acted
    )
