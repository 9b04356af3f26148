"""Requests by instrument: what is remembered is what would be found, under every push, clock, swap and halt."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from protos.signalbox.v1 import scorer_pb2
from serving import errors
from serving.handlers.lookup import Lookups
from serving.transport.call import AwaitedCall

LIVE, SHADOW = "11" * 32, "22" * 32
NAMES = ("AAA", "BBB", "CCC")
World = Any  # conftest's


def asked(*names: str, **more: Any) -> bytes:
    return scorer_pb2.ScoreRequest(signal="large_caps", instruments=names, **more).SerializeToString()


QUESTIONS = [
    asked(),
    asked("AAA"),
    asked("BBB", "AAA", "nobody"),
    asked("AAA", release=SHADOW),
    asked("CCC", max_feature_age_ms=0),
    asked("AAA", "BBB", "CCC", max_feature_age_ms=1),
    asked("AAA", max_feature_age_ms=2**62),
]


class Machine(RuleBasedStateMachine):
    """Three scorers over one table: one remembers, one forgets everything, one is as new at every question."""

    def __init__(self, make_world: Any) -> None:
        super().__init__()
        self.make_world = make_world
        self.loop = asyncio.new_event_loop()

    def teardown(self) -> None:
        self.loop.close()

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    @initialize()
    def begin(self) -> None:
        async def make() -> None:
            self.knowing = self.make_world()
            self.tables = self.knowing.tables
            self.parsing = self.make_world(self.tables, remember=False)

        self.run(make())
        self.served: dict[str, Any] = {}
        self.known_ns = 1_000
        self.sequences = dict.fromkeys(NAMES, 0)

    @rule(
        name=st.sampled_from(NAMES),
        pair=st.tuples(st.sampled_from([1.0, 2.0, 3e38, float("nan")]), st.sampled_from([1.0, 3e38, float("nan")])),
        later_ns=st.sampled_from([0, 1, 99, 100, 101, 1_000_001]),
        valid_ns=st.sampled_from([100, 5_000_000]),
    )
    def push(self, name: str, pair: tuple[float, float], later_ns: int, valid_ns: int) -> None:
        self.known_ns += later_ns
        self.sequences[name] += 1
        self.knowing.push(self.sequences[name], known_ns=self.known_ns, valid_ns=valid_ns, **{name: pair})

    @rule(by_ns=st.sampled_from([1, 50, 100, 101, 999_999, 1_000_000]))
    def wait(self, by_ns: int) -> None:
        clock = self.tables.clock
        clock.advance_to(max(clock.now_ns(), self.known_ns) + by_ns)
        self.known_ns = clock.now_ns()

    @rule(by_ns=st.sampled_from([1, 50, 101, 1_000_000]))
    def set_the_clock_back(self, by_ns: int) -> None:
        """What no replay does, and the machine's own clock may."""
        clock = self.tables.clock
        clock._now_ns = max(0, clock._now_ns - by_ns)

    @rule(
        posture=st.sampled_from(["NORMAL", "NORMAL", "NO_NEW_RISK", "HALTED"]),
        weight=st.sampled_from([0.0, 0.25, 1.0]),
        live=st.sampled_from([LIVE, SHADOW]),
    )
    def swap(self, **served: Any) -> None:
        self.served = served
        for world in (self.knowing, self.parsing):
            world.serve(**served)

    @rule(body=st.sampled_from(QUESTIONS), calls=st.integers(1, 3))
    def ask(self, body: bytes, calls: int) -> None:
        async def compare() -> None:
            found = await asyncio.gather(*(self.knowing.reply(body) for _ in range(calls)))
            assert set(found) == {await self.parsing.reply(body)}
            fresh = self.make_world(self.tables, remember=False)
            fresh.serve(**self.served)
            assert found[0] == await fresh.reply(body)

        self.run(compare())

    @invariant()
    def nothing_stale_has_a_score(self) -> None:
        if not hasattr(self, "knowing"):
            return
        now_ns = self.tables.clock.now_ns()
        reply = scorer_pb2.ScoreReply.FromString(self.run(self.reply_to_all()))
        scores = np.frombuffer(reply.scores, "<f4")
        rows = self.tables.table(bytes.fromhex("ab" * 32), 2).rows(np.arange(3))
        assert not np.isfinite(scores[~rows.fresh(now_ns)]).any()

    async def reply_to_all(self) -> bytes:
        reply: bytes = await self.knowing.reply(QUESTIONS[0])
        return reply


def test_a_remembered_reply_is_the_one_that_would_be_made_now(make_world: Any) -> None:
    run_state_machine_as_test(
        lambda: Machine(make_world), settings=settings(max_examples=60, stateful_step_count=25, deadline=None)
    )


async def test_an_unchanged_row_is_answered_without_a_look_at_the_table(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.push(AAA=(1, 2))
    first = await world.reply(asked("AAA"))
    monkeypatch.setattr("serving.handlers.lookup.View", None)
    assert await world.reply(asked("AAA")) == first
    world.push(sequence=1, known_ns=1_050, BBB=(1, 2))  # another's row: it still holds
    assert await world.reply(asked("AAA")) == first
    assert world.scorer.counts.rows == [3, 0, 0, 0]
    assert sum(world.scorer.counts.total.counts) == 2


async def test_a_row_that_was_stale_and_no_older_than_asked_is_so_only_while_the_clock_says_so(world: World) -> None:
    world.push(valid_ns=5_000_000, AAA=(1, 2))
    clock = world.tables.clock
    for now_ns, statuses in (
        (1_000_999, [0, 0, 1]),
        (1_001_000, [0, 0, 1]),
        (1_001_001, [0, 1, 1]),
        (5_001_000, [0, 1, 1]),
        (5_001_001, [1, 1, 1]),
        (1_001_000, [0, 0, 1]),  # the machine's clock was set back
        (1_000, [0, 0, 0]),
    ):
        clock._now_ns = now_ns
        for _ in range(2):
            found = [
                await world.ask("AAA", **age) for age in ({}, {"max_feature_age_ms": 1}, {"max_feature_age_ms": 0})
            ]
            assert [score.status[0] for score in found] == statuses


async def test_calls_of_one_turn_about_the_same_rows_have_them_scored_once(world: World) -> None:
    world.push(AAA=(1, 2), BBB=(1, 1))
    replies = [world.reply(asked("AAA", "BBB")) for _ in range(5)]
    assert len({await reply for reply in replies}) == 1
    assert world.scorer.engine.counts.rows == 2
    assert world.scorer.counts.rows == [10, 0, 0, 0]


async def test_a_row_pushed_while_a_call_waits_is_found_by_the_next_one(world: World) -> None:
    world.push(AAA=(1, 0))
    first = world.reply(asked("AAA"))
    world.push(sequence=1, known_ns=1_001, AAA=(2, 0))
    second = world.reply(asked("AAA"))
    scores = [scorer_pb2.ScoreReply.FromString(await reply).scores for reply in (first, second)]
    assert [np.frombuffer(each, "<f4").tolist() for each in scores] == [[1], [2]]
    assert [record[2] for record in world.recorder.records] == [[1], [2]]


async def test_calls_that_went_away_leave_nothing_that_a_later_one_waits_for(world: World) -> None:
    world.push(AAA=(1, 0))
    gone = [AwaitedCall(0) for _ in range(2)]
    for call in gone:
        world.scorer.score(call, asked("AAA"))
        call.cancelled = True
    for call in gone:
        with pytest.raises(errors.CallCancelled):
            await call.reply
    assert (await world.ask("AAA")).scores.tolist() == [1]
    assert world.scorer.engine.counts.rows == 1


async def test_one_that_went_away_does_not_take_the_others_with_it(world: World) -> None:
    world.push(AAA=(1, 0))
    calls = [AwaitedCall(0) for _ in range(3)]
    for call in calls:
        world.scorer.score(call, asked("AAA"))
    calls[0].cancelled = True
    with pytest.raises(errors.CallCancelled):
        await calls[0].reply
    assert await calls[1].reply == await calls[2].reply


async def test_calls_that_come_while_a_thread_scores_their_rows_wait_for_it(make_world: Any, make_model: Any) -> None:
    began, go = threading.Event(), threading.Event()

    class Held:
        def predict(self, rows: Any) -> Any:
            began.set()
            assert go.wait(5)
            return rows[:, 0].copy()

    world = make_world(stall_ns=0)
    world.serve(models={LIVE: make_model(LIVE, (1, 0), backend=Held())})
    world.push(AAA=(7, 0))
    lane = world.scorer.engine.lane(world.scorer.routes["large_caps"].models[LIVE])
    for _ in range(2):
        lane.cost.learn(1, 1_000)
    first = world.reply(asked("AAA"))
    assert await asyncio.to_thread(began.wait, 5)
    late = [AwaitedCall(0), AwaitedCall(0, 1_500)]
    for call in late:
        world.scorer.score(call, asked("AAA"))
    world.now_ns = 1_600
    go.set()
    assert await late[0].reply == await first
    with pytest.raises(errors.DeadlinePassed):
        await late[1].reply
    assert world.scorer.engine.counts.rows == 1


async def test_a_failed_run_ends_those_that_wait_and_is_tried_again_for_the_next(world: World, make_model: Any) -> None:
    outcomes = [RuntimeError("out of order"), None]

    class Moody:
        def predict(self, rows: Any) -> Any:
            error = outcomes.pop(0)
            if error is not None:
                raise error
            return rows[:, 0].copy()

    world.serve(models={LIVE: make_model(LIVE, (1, 0), backend=Moody())})
    world.push(AAA=(7, 0))
    for reply in [world.reply(asked("AAA")) for _ in range(2)]:
        with pytest.raises(errors.ModelFailed, match="out of order"):
            await reply
    assert (await world.ask("AAA")).scores.tolist() == [7]


async def test_a_table_that_is_full_lends_nobody_s_row_to_an_unknown_name(world: World) -> None:
    names = tuple(f"I{number}" for number in range(64 - 3))  # the table's first size, with the universe
    table = world.tables.table(bytes.fromhex("ab" * 32), 2)
    table.slots(names)
    world.push(**{names[-1]: (5.0, 5.0)})
    score = await world.ask("nobody")
    assert (score.status.tolist(), score.row_sequences.tolist(), score.knowledge_times_ns.tolist()) == ([2], [-1], [0])


async def test_a_swap_forgets_lookups_and_a_halt_is_answered_at_once(world: World) -> None:
    world.push(AAA=(1, 0))
    await world.ask("AAA")
    world.serve(generation=8, posture="HALTED")
    for _ in range(2):
        score = await world.ask("AAA")
        assert (score.generation, score.status.tolist(), score.row_sequences.tolist()) == (8, [3], [-1])
    world.serve(generation=9)
    assert (await world.ask("AAA")).generation == 9


def test_lookups_are_bounded_in_number_and_in_names() -> None:
    lookups: Lookups[int] = Lookups(most=3, most_names=10)
    for number in range(5):
        lookups.keep(bytes([number]), number, 3)
        assert lookups.find(bytes([number])) == number
    assert [lookups.find(bytes([number])) for number in range(5)] == [None, None, None, 3, 4]
    lookups.keep(b"wide", 9, 11)
    assert lookups.find(b"wide") is None
