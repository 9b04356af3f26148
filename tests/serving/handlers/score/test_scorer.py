"""The handlers without any transport: bytes in, bytes out, every refusal by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.score import Score, read_score
from protos.signalbox.v1 import scorer_pb2
from serving import errors
from serving.runtime.allowance import Allowance
from serving.transport.call import AwaitedCall

UNIVERSE = ("AAA", "BBB", "CCC")
LIVE, SHADOW = "11" * 32, "22" * 32
SET_ID = bytes.fromhex("ab" * 32)
World = Any  # conftest's


async def test_the_universe_is_scored_when_nobody_is_named(world: World) -> None:
    world.push(AAA=(1, 2), CCC=(3, 4))
    score = await world.ask()
    assert score.instruments == UNIVERSE
    assert score.status.tolist() == [0, 1, 0]
    assert score.scores[[0, 2]].tolist() == [21, 43]
    assert score.weights.tolist() == [0.5, 0, 0.5]
    assert score.row_sequences.tolist() == [0, -1, 0]
    assert score.knowledge_times_ns.tolist() == [1_000, 0, 1_000]
    assert (score.generation, score.posture, score.releases) == (7, "NORMAL", (LIVE,))


async def test_instruments_come_back_in_the_order_asked_and_unknown_ones_have_a_status(world: World) -> None:
    world.push(AAA=(1, 0), BBB=(2, 0))
    score = await world.ask("BBB", "ZZZ", "AAA")
    assert score.scores[[0, 2]].tolist() == [2, 1]
    assert score.status.tolist() == [0, 2, 0]
    assert np.isnan(score.scores[1])
    assert score.row_sequences.tolist() == [0, -1, 0]


async def test_rows_of_the_request_are_scored_and_have_no_time(world: World) -> None:
    score = await world.ask(features=[[1, 2], [3, 4]])
    assert score.scores.tolist() == [21, 43]
    assert score.knowledge_times_ns.tolist() == [0, 0]
    assert score.row_sequences.tolist() == [-1, -1]
    named = await world.ask("new1", "new2", features=[[1, 2], [3, 4]])
    assert named.scores.tolist() == [21, 43]


async def test_a_row_that_ran_out_is_stale_and_never_scored(world: World) -> None:
    world.push(AAA=(1, 1))
    world.push(sequence=1, known_ns=1_101, BBB=(1, 1))  # the clock follows: AAA was valid until 1,100
    score = await world.ask("AAA", "BBB")
    assert score.status.tolist() == [1, 0]
    assert np.isnan(score.scores[0])
    assert score.weights.tolist() == [0, 0.5]
    assert world.scorer.engine.counts.rows == 1


async def test_a_row_older_than_asked_is_stale(world: World) -> None:
    world.push(known_ns=1_000_000_000, AAA=(1, 1))
    world.push(known_ns=1_000_000_050, BBB=(1, 1))
    assert (await world.ask("AAA", "BBB", max_feature_age_ms=0)).status.tolist() == [1, 0]
    assert (await world.ask("AAA", "BBB", max_feature_age_ms=1)).status.tolist() == [0, 0]


async def test_an_unchanged_row_is_scored_and_recorded_once_per_release(world: World) -> None:
    world.push(AAA=(1, 1), BBB=(2, 2))
    for _ in range(3):
        assert (await world.ask("AAA", "BBB")).scores.tolist() == [11, 22]
    assert world.scorer.engine.counts.rows == 2
    world.push(sequence=1, AAA=(5, 5))
    assert (await world.ask("AAA", "BBB")).scores.tolist() == [55, 22]
    assert world.scorer.engine.counts.rows == 3
    await world.ask("AAA", release=SHADOW)
    digests = [(digest, slots, scores) for digest, slots, scores, _ in world.recorder.records]
    assert digests == [(LIVE, [0, 1], [11, 22]), (LIVE, [0], [55]), (SHADOW, [0], [10])]


async def test_two_calls_of_one_turn_record_their_common_row_once(world: World) -> None:
    world.push(AAA=(1, 1))
    await asyncio.gather(world.ask("AAA"), world.ask("AAA"))
    assert world.scorer.engine.counts.batches == 1
    assert [scores for _, _, scores, _ in world.recorder.records] == [[11]]


async def test_inline_rows_are_recorded_every_time(world: World) -> None:
    for _ in range(2):
        await world.ask(features=[[1, 1]])
    assert [(slots, scores) for _, slots, scores, _ in world.recorder.records] == [(None, [11]), (None, [11])]


async def test_another_release_than_the_live_one_has_no_weight(world: World) -> None:
    world.push(AAA=(1, 1))
    score = await world.ask("AAA", release=SHADOW)
    assert (score.scores.tolist(), score.weights.tolist(), score.releases) == ([2], [0], (SHADOW,))


async def test_no_weight_above_the_limit_of_the_release_leaves(world: World, make_model: Any) -> None:
    world.serve(weight=1.0, models={LIVE: make_model(LIVE, (1, 1), max_weight=0.25)})
    world.push(AAA=(1, 1))
    assert (await world.ask("AAA")).weights.tolist() == [0.25]


async def test_no_new_risk_changes_neither_score_nor_weight(world: World) -> None:
    world.serve(posture="NO_NEW_RISK")
    world.push(AAA=(1, 1))
    score = await world.ask("AAA")
    assert (score.posture, score.scores.tolist(), score.weights.tolist()) == ("NO_NEW_RISK", [11], [0.5])


@pytest.mark.parametrize("features", [None, [[1.0, 2.0]]])
async def test_a_halted_signal_refuses_every_row(world: World, features: Any) -> None:
    world.push(AAA=(1, 1))
    world.serve(posture="HALTED")
    score = await world.ask(*([] if features else ["AAA"]), features=features)
    assert (score.posture, score.status.tolist(), score.weights.tolist()) == ("HALTED", [3], [0])
    assert np.isnan(score.scores).all()
    assert world.scorer.engine.counts.rows == 0


async def test_a_halt_that_comes_while_rows_are_scored_refuses_them(world: World) -> None:
    world.push(AAA=(1, 1))
    asked = asyncio.ensure_future(world.ask("AAA"))
    asyncio.get_running_loop().call_soon(lambda: world.serve(posture="HALTED", generation=8))
    score = await asked
    assert (score.generation, score.posture, score.status.tolist()) == (8, "HALTED", [3])
    assert np.isnan(score.scores).all()


async def test_a_reply_keeps_the_generation_it_was_asked_in(world: World, make_model: Any) -> None:
    world.push(AAA=(1, 1))
    asked = asyncio.ensure_future(world.ask("AAA"))
    asyncio.get_running_loop().call_soon(
        lambda: world.serve(generation=8, weight=0.1, live=SHADOW, models={SHADOW: make_model(SHADOW, (2, 0))})
    )
    score = await asked
    assert (score.generation, score.releases, score.scores.tolist(), score.weights.tolist()) == (
        7,
        (LIVE,),
        [11],
        [0.5],
    )
    after = await world.ask("AAA")
    assert (after.generation, after.releases, after.scores.tolist()) == (8, (SHADOW,), [2])


@pytest.mark.parametrize(("pair", "limit"), [((3e38, 3e38), float("inf")), ((6, 0), 5.0), ((-6, 0), 5.0)])
async def test_a_score_that_may_not_leave_is_refused_and_counted(
    world: World, make_model: Any, pair: Any, limit: float
) -> None:
    world.serve(models={LIVE: make_model(LIVE, (1, 10), max_abs_score=limit)})
    world.push(AAA=pair, BBB=(1, 0))
    for _ in range(2):  # the second answer comes from memory
        score = await world.ask("AAA", "BBB")
        assert score.status.tolist() == [3, 0]
        assert np.isnan(score.scores[0])
        assert score.weights.tolist() == [0, 0.5]
    assert world.scorer.counts.rows == [2, 0, 0, 2]
    assert world.recorder.records[0][3] == [3, 0]


async def test_a_missing_feature_is_scored_only_where_the_model_takes_it(world: World) -> None:
    world.push(AAA=(1, float("nan")), BBB=(float("nan"), 1))
    score = await world.ask("AAA", "BBB")
    assert score.status.tolist() == [3, 3]  # AAA: the linear fake answers NaN; BBB: never asked
    assert world.scorer.engine.counts.rows == 1


BAD: list[tuple[str, type[errors.ServingError], str, Callable[[World], Any]]] = [
    ("bytes", errors.MalformedRequest, "ScoreRequest", lambda w: w.ask_bytes(b"\xff\xff")),
    ("signal", errors.UnknownSignal, "large_caps.*found 'small_caps'", lambda w: w.ask(signal="small_caps")),
    ("no signal", errors.UnknownSignal, "found ''", lambda w: w.ask(signal="")),
    ("release", errors.UnknownRelease, "found 'beef'", lambda w: w.ask(release="beef")),
    ("twice", errors.DuplicateInstrument, "'AAA' twice", lambda w: w.ask("AAA", "BBB", "AAA")),
    ("shape", errors.WrongShape, r"multiple of 8 bytes.*found 12", lambda w: w.ask(features=[1.0, 2.0, 3.0])),
    ("names", errors.WrongShape, "expected 2 rows.*found 1", lambda w: w.ask("A", "B", features=[[1.0, 2.0]])),
    ("infinity", errors.WrongValue, r"features\[1\]\.y.*inf", lambda w: w.ask(features=[[1, 2], [1, np.inf]])),
    ("nan", errors.WrongValue, r"features\[0\]\.x: .*, found nan", lambda w: w.ask(features=[[np.nan, 1]])),
    ("age", errors.WrongValue, "0 or more, found -1", lambda w: w.ask(max_feature_age_ms=-1)),
    ("late", errors.DeadlinePassed, "deadline", lambda w: w.ask(features=[[1, 2]], deadline_ns=999)),
]  # fmt: skip


@pytest.mark.parametrize(("error", "words", "ask"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
async def test_a_bad_question_is_refused_by_name(
    world: World, error: type[errors.ServingError], words: str, ask: Callable[[World], Any]
) -> None:
    world.push(AAA=(1, 1))
    with pytest.raises(error, match=words):
        await ask(world)
    assert world.scorer.counts.errors[error.__name__] == 1
    assert (await world.ask("AAA")).status.tolist() == [0]


async def test_a_late_answer_from_memory_is_no_answer_either(world: World) -> None:
    world.push(AAA=(1, 1))
    await world.ask("AAA")
    with pytest.raises(errors.DeadlinePassed):
        await world.ask("AAA", deadline_ns=1_000)


async def test_nan_is_taken_inline_where_the_model_takes_it(world: World) -> None:
    assert (await world.ask(features=[[1, np.nan]])).status.tolist() == [3]  # scored: the fake has no answer to it


async def test_too_many_rows_and_too_many_scores_are_refused(world: World, make_model: Any) -> None:
    world.serve(models={LIVE: make_model(LIVE, (1, 1), allowance=Allowance(2))})
    world.push(AAA=(1, 1), BBB=(1, 1), CCC=(1, 1))
    with pytest.raises(errors.TooManyScores, match="at most 2 new scores a second"):
        await world.ask()
    await world.ask("AAA", "BBB")
    with pytest.raises(errors.TooManyScores):
        await world.ask("CCC")
    assert (await world.ask("AAA", "BBB")).status.tolist() == [0, 0]  # from memory: nothing new
    world.now_ns += 500_000_000
    assert (await world.ask("CCC")).status.tolist() == [0]
    names = [f"I{number}" for number in range(65_537)]
    with pytest.raises(errors.WrongShape, match="at most 65536"):
        await world.ask(*names)


async def test_without_a_live_release_there_is_no_answer(world: World, make_model: Any) -> None:
    world.serve(live=None, models={SHADOW: make_model(SHADOW, (1, 1))})
    with pytest.raises(errors.NoLiveRelease, match="promote one"):
        await world.ask("AAA")
    world.serve(live=None, models={SHADOW: make_model(SHADOW, (1, 1))}, posture="HALTED", reason="no ledger")
    assert (await world.ask("AAA")).status.tolist() == [3]
    with pytest.raises(errors.NoLiveRelease, match=r"no ledger.*how wide"):
        await world.ask(features=[[1, 2]])


async def test_a_draining_worker_takes_nothing_new_and_answers_what_it_took(world: World) -> None:
    world.push(AAA=(1, 1))
    asked = asyncio.ensure_future(world.ask("AAA"))
    await asyncio.sleep(0)
    world.scorer.drain()
    assert (await asked).status.tolist() == [0]
    with pytest.raises(errors.Draining):
        await world.ask("AAA")


async def test_a_cancelled_call_is_not_scored(world: World) -> None:
    call = AwaitedCall(0)
    body = scorer_pb2.ScoreRequest(signal="large_caps", features=np.ones(2, "<f4").tobytes()).SerializeToString()
    world.scorer.score(call, body)
    call.cancelled = True
    with pytest.raises(errors.CallCancelled):
        await call.reply
    assert world.scorer.engine.counts.rows == 0


async def test_describe_says_what_is_served(world: World) -> None:
    reply = scorer_pb2.DescribeReply.FromString(world.scorer.describe(b""))
    (each,) = reply.signals
    assert (each.signal, each.generation, each.live, each.weight) == ("large_caps", 7, LIVE, 0.5)
    assert tuple(each.releases) == (LIVE, SHADOW)
    assert tuple(each.features) == ("x", "y")
    assert tuple(each.instruments) == UNIVERSE
    assert each.feature_set_id == SET_ID
    with pytest.raises(errors.UnknownSignal):
        world.scorer.describe(scorer_pb2.DescribeRequest(signal="other").SerializeToString())


async def test_a_subscriber_gets_the_present_and_then_what_changes(world: World) -> None:
    world.push(AAA=(1, 0))
    body = scorer_pb2.SubscribeRequest(signal="large_caps", instruments=["AAA"]).SerializeToString()
    stream = world.scorer.subscribe(body)

    async def next_score() -> Score:
        reply = scorer_pb2.ScoreReply.FromString(await asyncio.wait_for(anext(stream), 5))
        return read_score("large_caps", ("AAA",), reply)

    assert (await next_score()).scores.tolist() == [1]
    world.push(sequence=1, AAA=(2, 0))
    world.push(sequence=2, AAA=(3, 0))
    assert (await next_score()).scores.tolist() == [3]  # the newest state, not every state
    world.serve(weight=0.1)
    assert (await next_score()).weights.tolist() == [np.float32(0.1)]
    world.scorer.drain()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_subscriber_is_told_when_its_row_runs_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.handlers.scorer.RECHECK_SECONDS", 0.01)
    world.push(AAA=(1, 0))
    stream = world.scorer.subscribe(
        scorer_pb2.SubscribeRequest(signal="large_caps", instruments=["AAA"]).SerializeToString()
    )
    assert scorer_pb2.ScoreReply.FromString(await anext(stream)).status == b"\0"
    world.tables.clock.advance_to(2_000)  # type: ignore[attr-defined]
    reply = scorer_pb2.ScoreReply.FromString(await asyncio.wait_for(anext(stream), 5))
    assert reply.status == b"\1"
    await stream.aclose()


async def test_a_handler_that_blocks_the_loop_would_be_noticed(world: World, make_model: Any, honest_loop: Any) -> None:
    import time

    from blockbuster import BlockingError

    class Sleepy:
        def predict(self, rows: Any) -> Any:
            time.sleep(0.001)
            return np.zeros(len(rows), np.float32)

    world.serve(models={LIVE: replace(make_model(LIVE, (1, 1)), backend=Sleepy())})
    with pytest.raises((errors.ModelFailed, BlockingError), match=r"BlockingError|sleep"):
        await world.ask(features=[[1, 1]])


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.tuples(st.floats(-1e3, 1e3, width=32), st.floats(-1e3, 1e3, width=32)), min_size=1, max_size=20),
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=20),
)
def test_a_rows_score_has_the_same_bits_whatever_company_it_came_in(
    make_world: Any, values: Any, cuts: list[int]
) -> None:
    async def scores_in_parts() -> tuple[list[float], list[float]]:
        world = make_world()
        whole = await world.ask(features=values)
        parts, at = [], 0
        while at < len(values):
            size = cuts[len(parts) % len(cuts)]
            parts.append(world.ask(features=values[at : at + size]))
            at += size
        answers = await asyncio.gather(*parts)
        return whole.scores.tolist(), [score for answer in answers for score in answer.scores.tolist()]

    whole, parts = asyncio.run(scores_in_parts())
    assert whole == parts
