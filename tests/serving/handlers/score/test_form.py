"""Replies from a template are the protocol's writer's own, byte for byte; whatever is not plain goes to the writer."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.signalbox.v1 import scorer_pb2
from serving import errors
from serving.handlers.form import Form, template
from serving.handlers.wire import Answer, RowStatus, write_answer
from serving.transport.call import AwaitedCall

LIVE, SHADOW = "11" * 32, "22" * 32
World = Any  # conftest's

scores = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=70)
postures = st.sampled_from(["NORMAL", "NO_NEW_RISK"])
generations = st.sampled_from([1, 127, 128, 2**31, 2**62])


def body_of(rows: Any) -> bytes:
    features = np.asarray(rows, "<f4").tobytes()
    return scorer_pb2.ScoreRequest(signal="large_caps", features=features).SerializeToString()


@given(scores, postures, st.floats(0, 1, width=32), generations)
def test_a_template_gives_the_writer_s_own_bytes(
    make_world: Any, make_model: Any, values: list[float], posture: Any, weight: float, generation: int
) -> None:
    async def compare() -> None:
        world = make_world()
        route = world.route(posture=posture, weight=weight, generation=generation)
        form = Form(world.scorer, route, route.models[LIVE], len(values), write_answer, weight)
        head, tail = template(form)
        found = np.array(values, "<f4")
        answer = Answer(generation, posture, LIVE, found, np.zeros(len(values), np.uint8), weight)
        assert head + found.tobytes() + tail == write_answer(answer)

    asyncio.run(compare())


@given(st.lists(scores.map(lambda values: values[:9]), min_size=1, max_size=8), st.booleans())
def test_every_call_gets_what_the_writer_would_have_written(
    make_world: Any, requests: list[list[float]], together: bool
) -> None:
    """Requests of many sizes, in one turn or each in its own: the first of a shape is written, later ones are not."""

    async def compare() -> None:
        world = make_world()
        replies = []
        for values in [*requests, *requests]:
            replies.append(world.reply(body_of([(value, 0) for value in values])))
            if not together:
                await replies[-1]
        for values, reply in zip([*requests, *requests], replies, strict=True):
            found = np.array(values, np.float32) + np.float32(0)  # the fake's sum makes −0 a 0
            status = np.zeros(len(values), np.uint8)
            assert await reply == write_answer(Answer(7, "NORMAL", LIVE, found, status, 0.5))
        assert world.scorer.counts.rows == [2 * sum(map(len, requests)), 0, 0, 0]

    asyncio.run(compare())


def test_a_writer_that_scatters_the_scores_is_found_out(make_world: Any) -> None:
    async def run() -> None:
        world = make_world()
        route = world.route()

        def halves(answer: Answer) -> bytes:
            return answer.scores[:1].tobytes() + b"-" + answer.scores[1:].tobytes()

        for write in (halves, lambda answer: b"nothing"):
            form = Form(world.scorer, route, route.models[LIVE], 2, write, 0.5)
            with pytest.raises(ValueError, match="in one piece"):
                template(form)

    asyncio.run(run())


async def test_one_score_that_may_not_leave_harms_no_other_of_its_turn(world: World, make_model: Any) -> None:
    world.serve(models={LIVE: make_model(LIVE, (1, 0), max_abs_score=5.0)})
    for _ in range(2):
        replies = [world.reply(body_of([[value, 0]])) for value in (1, 6, -5, 7)]
        found = [scorer_pb2.ScoreReply.FromString(await reply) for reply in replies]
        assert [each.status[0] for each in found] == [0, 3, 0, 3]
        assert [each.weights for each in found] == [np.float32(value).tobytes() for value in (0.5, 0, 0.5, 0)]
    assert world.scorer.counts.rows == [4, 0, 0, 4]
    assert world.scorer.counts.refused_scores == {LIVE: 4}
    assert [record[3] for record in world.recorder.records] == [[0, 3, 0, 3]] * 2


async def test_a_halt_while_rows_wait_refuses_them_and_a_swap_does_not(world: World) -> None:
    for _ in range(2):  # the second reply is the template's
        await world.ask(features=[[1, 0]])
    waiting = world.reply(body_of([[1, 0]]))
    world.serve(generation=8, weight=0.1, live=SHADOW)
    score = scorer_pb2.ScoreReply.FromString(await waiting)
    assert (score.generation, score.releases, score.status) == (7, [LIVE], b"\0")
    for _ in range(2):
        await world.ask(features=[[1, 0]])
    waiting = world.reply(body_of([[1, 0]]))
    world.serve(generation=9, posture="HALTED")
    refused = scorer_pb2.ScoreReply.FromString(await waiting)
    assert (refused.generation, refused.posture, refused.status) == (9, scorer_pb2.POSTURE_HALTED, b"\3")
    assert refused.weights == np.float32(0).tobytes()
    assert np.isnan(np.frombuffer(refused.scores, "<f4")).all()


@given(st.integers(1, 9), generations)
def test_a_halted_signal_s_answer_is_the_writer_s_own_every_time(make_world: Any, rows: int, generation: int) -> None:
    async def compare() -> None:
        world = make_world()
        world.serve(posture="HALTED", generation=generation)
        status = np.full(rows, RowStatus.REFUSED, np.uint8)
        expected = write_answer(Answer(generation, "HALTED", None, np.full(rows, np.nan, np.float32), status, 0.0))
        for value in (1, 2, float("inf")):
            assert await world.reply(body_of([[value, 0]] * rows)) == expected
        assert world.scorer.engine.counts.batches == 0
        assert world.scorer.counts.rows == [0, 0, 0, 3 * rows]

    asyncio.run(compare())


async def test_a_deadline_holds_for_a_halted_signal_s_answer_too(world: World) -> None:
    world.serve(posture="HALTED")
    for _ in range(2):
        with pytest.raises(errors.DeadlinePassed):
            await world.reply(body_of([[1, 0]]), deadline_ns=1_000)


async def test_a_writer_that_refuses_ends_its_call_alone(world: World) -> None:
    """What another protocol does with a score that may not leave."""
    route = world.scorer.routes["large_caps"]

    def write(answer: Answer) -> bytes:
        if answer.status.any():
            raise errors.WrongValue("no")
        return answer.scores.tobytes()

    form = world.scorer.form(route, route.models[LIVE], 1, write)
    for _ in range(3):
        calls = [AwaitedCall(0) for _ in range(3)]
        for call, value in zip(calls, (1, 3e38, 2), strict=True):
            form.take(call, np.array([value, value], "<f4").tobytes())
        assert np.frombuffer(await calls[0].reply, "<f4").tolist() == [11]
        with pytest.raises(errors.WrongValue):
            await calls[1].reply
        assert np.frombuffer(await calls[2].reply, "<f4").tolist() == [22]
    world.serve(posture="HALTED")
    halted = world.scorer.form(world.scorer.routes["large_caps"], route.models[LIVE], 1, write)
    call = AwaitedCall(0)
    halted.take(call, np.ones(2, "<f4").tobytes())
    with pytest.raises(errors.WrongValue):
        await call.reply


async def test_bytes_that_are_no_whole_rows_of_the_form_are_refused(world: World) -> None:
    route = world.scorer.routes["large_caps"]
    form = world.scorer.form(route, route.models[LIVE], 2, write_answer)
    call, fine = AwaitedCall(0), AwaitedCall(0)
    form.take(call, np.ones(3, "<f4").tobytes())
    form.take(fine, np.ones(4, "<f4").tobytes())
    with pytest.raises(errors.WrongShape, match="expected 2 rows of 2 float32, found 12 bytes"):
        await call.reply
    assert len(await fine.reply)


async def test_a_call_that_fails_on_its_way_out_harms_no_other(world: World) -> None:
    class Broken(AwaitedCall):
        def answer(self, body: bytes) -> None:
            raise ZeroDivisionError

    await world.ask(features=[[1, 0]])
    calls = [AwaitedCall(0), Broken(0), AwaitedCall(0)]
    for call in calls:
        world.scorer.score(call, body_of([[1, 0]]))
    with pytest.raises(errors.ModelFailed, match="could not be made"):
        await calls[1].reply
    assert await calls[0].reply == await calls[2].reply


async def test_forms_are_shared_by_requests_that_differ_in_names_alone(world: World) -> None:
    for name in ("AAA", "BBB", "CCC"):
        await world.ask(name, features=[[1, 0]])
    await world.ask("AAA", features=[[1, 0]], release=SHADOW)
    assert len(world.scorer._forms) == 2


async def test_rows_of_calls_that_were_let_go_do_not_wait_any_more(make_world: Any) -> None:
    world = make_world(max_waiting_rows=10)
    gone = [AwaitedCall(0) for _ in range(10)]
    for call in gone:
        world.scorer.score(call, body_of([(1, 2)]))
        call.cancelled = True
    honest = AwaitedCall(0)
    world.scorer.score(honest, body_of([(1, 2)]))
    assert world.scorer.engine.lane(world.scorer.routes["large_caps"].models[LIVE]).waiting == 1
    assert scorer_pb2.ScoreReply.FromString(await honest.reply).status == bytes((RowStatus.OK,))
    for call in gone:
        with pytest.raises(errors.CallCancelled):
            await call.reply
