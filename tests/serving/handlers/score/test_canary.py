"""A canary scores its share of a time-series signal's instruments; no cross-section is ever split."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.score import Score
from serving import errors
from serving.handlers.routes import Canary

LIVE, NEXT = "11" * 32, "22" * 32
NAMES = tuple(f"I{number}" for number in range(12))
World = Any  # conftest's
THEIRS = ("I0", "I7", "I11")  # what a share of 0.4 of `large_caps` means: it must never move


def split(world: World, share: float = 0.4, **changes: Any) -> None:
    world.serve(kind="time_series", canary=Canary(NEXT, share), universe=NAMES, **changes)


def by_release(score: Score) -> dict[str, tuple[float, float]]:
    """Instrument → which release scored it, its score and weight."""
    parts = (score.instruments, score.release_index.tolist(), score.scores.tolist(), score.weights.tolist())
    return {name: (score.releases[at], found, weight) for name, at, found, weight in zip(*parts, strict=True)}


def test_the_share_of_an_instrument_never_changes(make_world: Any) -> None:
    async def run() -> None:
        route = make_world().route(kind="time_series", canary=Canary(NEXT, 0.4), universe=NAMES)
        index = route.split(NAMES).index
        assert tuple(name for name, theirs in zip(NAMES, index, strict=True) if theirs) == THEIRS

    asyncio.run(run())


@given(st.floats(0, 1), st.floats(0, 1))
def test_an_instrument_of_a_share_is_in_every_bigger_one(make_world: Any, one: float, other: float) -> None:
    async def run() -> None:
        small, big = sorted((one, other))
        world = make_world()
        shares = [
            {
                name
                for name in NAMES
                if world.route(kind="time_series", canary=Canary(NEXT, share)).split((name,)).models[0].digest == NEXT
            }
            for share in (small, big)
        ]
        assert shares[0] <= shares[1]
        assert (one < 1 or other < 1) or shares[1] == set(NAMES)

    asyncio.run(run())


async def test_rows_of_the_table_are_scored_by_the_release_they_belong_to(world: World) -> None:
    split(world)
    world.push(**{name: (number + 1, 0.5) for number, name in enumerate(NAMES)})
    for _ in range(2):  # the second answer comes from memory
        score = await world.ask()
        assert score.releases == (LIVE, NEXT)
        found = by_release(score)
        for number, name in enumerate(NAMES):
            release, wanted = (NEXT, 2 * (number + 1)) if name in THEIRS else (LIVE, number + 1 + 5)
            assert found[name] == (release, wanted, 0.5)
    assert world.scorer.engine.counts.batches == 2
    assert sorted((digest, len(scores)) for digest, _, scores, _ in world.recorder.records) == [(LIVE, 9), (NEXT, 3)]


async def test_each_release_s_own_weight_limit_holds(world: World, make_model: Any) -> None:
    models = {LIVE: make_model(LIVE, (1, 10)), NEXT: make_model(NEXT, (2, 0), max_weight=0.25)}
    split(world, models=models)
    world.push(I0=(1, 1), I1=(1, 1))
    assert {name: each[2] for name, each in by_release(await world.ask("I0", "I1")).items()} == {"I0": 0.25, "I1": 0.5}
    inline = await world.ask("I0", "I1", features=[[1, 1], [1, 1]])
    assert inline.weights.tolist() == [0.25, 0.5]


@pytest.mark.parametrize("names", [("I0", "I7"), ("I1", "I2"), ("I0", "I1", "I7", "I3"), ("I1", "I0")])
async def test_inline_rows_go_by_the_names_they_come_with(world: World, names: tuple[str, ...]) -> None:
    split(world)
    rows = [[number + 1, 0.5] for number in range(len(names))]
    for _ in range(2):
        found = by_release(await world.ask(*names, features=rows))
        for number, name in enumerate(names):
            release, wanted = (NEXT, 2 * (number + 1)) if name in THEIRS else (LIVE, number + 1 + 5)
            assert found[name] == (release, wanted, 0.5)


async def test_rows_without_a_name_are_the_live_release_s(world: World) -> None:
    split(world, 1.0)
    score = await world.ask(features=[[1, 1]])
    assert (score.releases, score.scores.tolist(), score.weights.tolist()) == ((LIVE,), [11], [0.5])


@pytest.mark.parametrize("inline", [True, False])
async def test_a_release_asked_for_by_name_has_weight_only_where_it_is_the_one(world: World, inline: bool) -> None:
    split(world)
    world.push(I0=(1, 1), I1=(1, 1))
    features = [[1, 1], [1, 1]] if inline else None
    live = await world.ask("I0", "I1", release=LIVE, features=features)
    assert (live.scores.tolist(), live.weights.tolist(), live.releases) == ([11, 11], [0, 0.5], (LIVE,))
    canary = await world.ask("I0", "I1", release=NEXT, features=features)
    assert (canary.scores.tolist(), canary.weights.tolist(), canary.releases) == ([2, 2], [0.5, 0], (NEXT,))


async def test_a_row_that_may_not_be_run_is_named_by_its_place_in_the_request(world: World) -> None:
    split(world)
    with pytest.raises(errors.WrongValue, match=r"features\[2\]\.x"):
        await world.ask("I1", "I0", "I7", features=[[1, 1], [1, 1], [np.inf, 1]])


async def test_a_halt_between_the_two_runs_refuses_the_whole_answer(world: World) -> None:
    split(world)
    world.push(I0=(1, 1), I1=(1, 1))
    for features in (None, [[1, 1], [1, 1]]):
        split(world)
        asked = asyncio.ensure_future(world.ask("I0", "I1", features=features))
        for _ in range(2):
            await asyncio.sleep(0)
        assert not asked.done()
        world.serve(generation=8, posture="HALTED")
        score = await asked
        assert (score.generation, score.status.tolist(), score.weights.tolist()) == (8, [3, 3], [0, 0])


async def test_a_deadline_between_the_two_runs_ends_the_call(world: World) -> None:
    split(world)
    world.push(I0=(1, 1), I1=(1, 1))
    for features in (None, [[1, 1], [1, 1]]):
        split(world)
        world.now_ns = 1_000
        asked = asyncio.ensure_future(world.ask("I0", "I1", features=features, deadline_ns=2_000))
        for _ in range(2):
            await asyncio.sleep(0)
        world.now_ns = 2_000
        with pytest.raises(errors.DeadlinePassed):
            await asked
    assert world.scorer.engine.counts.expired == 2


async def test_a_canary_that_is_not_loaded_or_is_live_already_gets_nothing(world: World, make_model: Any) -> None:
    split(world, 1.0, models={LIVE: make_model(LIVE, (1, 10))})
    assert (await world.ask("I0", features=[[1, 1]])).releases == (LIVE,)
    world.serve(kind="time_series", canary=Canary(LIVE, 1.0), universe=NAMES)
    assert (await world.ask("I0", features=[[1, 1]])).weights.tolist() == [0.5]


async def test_a_canary_of_other_features_gets_no_inline_rows(world: World, make_model: Any) -> None:
    other = make_model(NEXT, (2, 0))
    object.__setattr__(other, "feature_set_id", b"\1" * 32)
    split(world, 1.0, models={LIVE: make_model(LIVE, (1, 10)), NEXT: other})
    assert (await world.ask("I0", features=[[1, 1]])).releases == (LIVE,)


def test_a_cross_section_is_not_split_nor_by_a_share_that_is_none(make_world: Any) -> None:
    async def run() -> None:
        world = make_world()
        with pytest.raises(errors.CanaryRefused, match="time-series signal to split, found a cross_sectional"):
            world.route(canary=Canary(NEXT, 0.1))
        for share in (-0.1, 1.1, float("nan")):
            with pytest.raises(errors.CanaryRefused, match="share of 0 to 1"):
                world.route(kind="time_series", canary=Canary(NEXT, share))

    asyncio.run(run())
