"""Every call and every row is counted once, whichever way it was answered."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.signalbox.v1 import scorer_pb2
from serving.errors import ServingError
from serving.feed.row_feed import FeedStatistics
from serving.statistics import WorkerStatistics, worker_statistics
from serving.transport.call import AwaitedCall

LIVE = "11" * 32
World = Any  # conftest's

BODIES = {
    "inline": scorer_pb2.ScoreRequest(signal="large_caps", features=np.ones(2, "<f4").tobytes()),
    "three rows": scorer_pb2.ScoreRequest(signal="large_caps", features=np.ones(6, "<f4").tobytes()),
    "no finite score": scorer_pb2.ScoreRequest(signal="large_caps", features=np.float32([3e38, 3e38]).tobytes()),
    "infinite row": scorer_pb2.ScoreRequest(signal="large_caps", features=np.float32([np.inf, 0]).tobytes()),
    "table": scorer_pb2.ScoreRequest(signal="large_caps", instruments=["AAA", "BBB", "nobody"]),
    "unknown": scorer_pb2.ScoreRequest(signal="nobody's"),
}
ROWS = {"inline": (1, 0, 0, 0), "three rows": (3, 0, 0, 0), "no finite score": (0, 0, 0, 1), "table": (1, 1, 1, 0)}


def counted(world: World) -> WorkerStatistics:
    return worker_statistics(world.scorer.counts, world.scorer.engine, FeedStatistics())


@given(st.lists(st.lists(st.sampled_from(list(BODIES)), min_size=1, max_size=5), min_size=1, max_size=6))
def test_calls_rows_errors_and_latencies_add_up(make_world: Any, turns: list[list[str]]) -> None:
    async def run() -> None:
        world = make_world()
        world.push(AAA=(1, 2))
        for turn in turns:
            calls = [AwaitedCall(0) for _ in turn]
            for call, name in zip(calls, turn, strict=True):
                world.scorer.score(call, BODIES[name].SerializeToString())
            await asyncio.gather(*(call.reply for call in calls), return_exceptions=True)
        asked = [name for turn in turns for name in turn]
        said = counted(world)
        assert said.requests == len(asked)
        assert said.rows == tuple(np.sum([ROWS.get(name, (0,) * 4) for name in asked], axis=0, dtype=int).tolist())
        assert sum(said.errors.values()) == asked.count("unknown") + asked.count("infinite row")
        assert said.refused_scores.get(LIVE, 0) == asked.count("no finite score")
        assert sum(said.latencies) == len(asked) - sum(said.errors.values())
        assert {sum(stage.counts) for stage in said.stages.values()} == {sum(said.stages["queue"].counts)}
        assert sum(said.batch_rows) == said.batches
        assert said.in_flight == 0

    asyncio.run(run())


async def test_what_waits_is_in_flight(world: World) -> None:
    world.push(AAA=(1, 2))
    replies = [world.reply(BODIES[name].SerializeToString()) for name in ("inline", "inline", "table", "table")]
    assert counted(world).in_flight == 4
    for reply in replies:
        await reply
    assert counted(world).in_flight == 0


async def test_a_shed_call_is_an_error_and_is_counted_as_shed(make_world: Any) -> None:
    world = make_world(max_waiting_rows=1)
    replies = [world.reply(BODIES["inline"].SerializeToString()) for _ in range(2)]
    with pytest.raises(ServingError, match="at most 1 rows in waiting"):
        await replies[1]
    await replies[0]
    said = counted(world)
    assert (said.shed, said.errors, said.requests) == (1, {"Overloaded": 1}, 2)


async def test_shadow_rows_are_counted_apart(world: World) -> None:
    world.serve(shadow=("22" * 32,))
    await world.ask(features=[[1, 2], [3, 4]])
    assert (counted(world).shadow_waiting, counted(world).shadow_rows) == (2, 0)
    await world.ask(features=[[1, 2]], release="22" * 32)  # a turn or two later
    said = counted(world)
    assert (said.shadow_rows, said.shadow_shed, said.shadow_failures, said.rows_scored) == (2, 0, 0, 3)
