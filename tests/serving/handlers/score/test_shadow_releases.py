"""Every row that the live release scores is scored by its shadows too: recorded, never replied, first to be shed."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

LIVE, SHADOW, THIRD = "11" * 32, "22" * 32, "33" * 32
World = Any  # conftest's


async def settled(world: World) -> None:
    """Lets the loop turn as often as the shadow work of these tests takes."""
    for _ in range(10):
        await asyncio.sleep(0)
    shadows = world.scorer.engine.shadows
    assert (shadows.waiting, shadows.running) == (0, 0)


async def test_inline_rows_are_scored_by_every_shadow_and_recorded_for_each(world: World, make_model: Any) -> None:
    models = {LIVE: make_model(LIVE, (1, 10)), SHADOW: make_model(SHADOW, (2, 0)), THIRD: make_model(THIRD, (3, 0))}
    world.serve(models=models, shadow=(SHADOW, THIRD))
    score = await world.ask(features=[[1, 2], [3, 4]])
    assert (score.scores.tolist(), score.releases) == ([21, 43], (LIVE,))
    await settled(world)
    assert sorted((digest, scores) for digest, _, scores, _ in world.recorder.records) == [
        (LIVE, [21, 43]),
        (SHADOW, [2, 6]),
        (THIRD, [3, 9]),
    ]
    assert world.scorer.engine.shadows.scored == 4


async def test_rows_of_the_table_are_scored_by_a_shadow_once(world: World) -> None:
    world.serve(shadow=(SHADOW,))
    world.push(AAA=(1, 1), BBB=(2, 2))
    for _ in range(3):
        await world.ask("AAA", "BBB")
        await settled(world)
    world.push(sequence=1, AAA=(5, 5))
    await world.ask("AAA", "BBB")
    await settled(world)
    shadow = [(slots, scores) for digest, slots, scores, _ in world.recorder.records if digest == SHADOW]
    assert shadow == [([0, 1], [2, 4]), ([0], [10])]


async def test_what_a_shadow_was_asked_for_by_name_it_does_not_score_again(world: World) -> None:
    world.serve(shadow=(SHADOW,))
    world.push(AAA=(1, 1))
    assert (await world.ask("AAA", release=SHADOW)).scores.tolist() == [2]
    await world.ask("AAA")
    await settled(world)
    assert [digest for digest, *_ in world.recorder.records] == [SHADOW, LIVE]


async def test_a_shadow_s_failure_and_its_impossible_scores_reach_no_caller(world: World, make_model: Any) -> None:
    class Broken:
        def predict(self, rows: Any) -> Any:
            raise RuntimeError("out of order")

    class Infinite:
        def predict(self, rows: Any) -> Any:
            return np.full(len(rows), np.inf, np.float32)

    models = {
        LIVE: make_model(LIVE, (1, 0)),
        SHADOW: make_model(SHADOW, (0, 0), backend=Broken()),
        THIRD: make_model(THIRD, (0, 0), backend=Infinite()),
    }
    world.serve(models=models, shadow=(SHADOW, THIRD))
    assert (await world.ask(features=[[1, 2]])).status.tolist() == [0]
    await settled(world)
    assert (world.scorer.engine.shadows.failed, world.scorer.counts.errors) == (1, {})
    assert [(digest, status) for digest, _, _, status in world.recorder.records] == [(LIVE, [0]), (THIRD, [3])]
    assert world.scorer.counts.refused_scores == {THIRD: 1}


async def test_only_rows_of_the_live_release_have_shadows(world: World) -> None:
    world.serve(shadow=(SHADOW,))
    await world.ask(features=[[1, 2]], release=SHADOW)
    await settled(world)
    assert [digest for digest, *_ in world.recorder.records] == [SHADOW]


async def test_a_shadow_of_other_features_is_not_shown_these(world: World, make_model: Any) -> None:
    other = make_model(SHADOW, (2, 0))
    object.__setattr__(other, "feature_set_id", b"\1" * 32)
    world.serve(models={LIVE: make_model(LIVE, (1, 10)), SHADOW: other}, shadow=(SHADOW,))
    await world.ask(features=[[1, 2]])
    await settled(world)
    assert [digest for digest, *_ in world.recorder.records] == [LIVE]


async def test_a_halted_signal_s_shadows_rest(world: World) -> None:
    world.serve(shadow=(SHADOW,), posture="HALTED")
    await world.ask(features=[[1, 2]])
    await settled(world)
    assert world.recorder.records == []
