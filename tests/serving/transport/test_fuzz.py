"""A few thousand inputs for every target of `python -m loadtests.fuzzing.run`, mutated at random from recorded traffic.

The ten million, and the guidance by coverage, are in `make long`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import settings

from loadtests.fuzzing.mutation import mutated_frames, mutated_message, random_bytes
from loadtests.fuzzing.run import PLANS
from loadtests.fuzzing.seeds import corpora
from loadtests.fuzzing.targets import TARGETS
from protos.inference import open_inference_pb2 as oip
from protos.signalbox.v1 import scorer_pb2

INPUTS = {"server": 2000, "client": 2000, "hpack": 2000, "score": 3000, "infer": 3000, "ring": 2000}
MUTATORS: dict[str, Callable[..., bytes]] = {
    "server": mutated_frames,
    "client": mutated_frames,
    "score": partial(mutated_message, kind=scorer_pb2.ScoreRequest),
    "infer": partial(mutated_message, kind=oip.ModelInferRequest),
}
MOST_KEPT = 300


@pytest.fixture(scope="module")
def seeds() -> dict[str, list[bytes]]:
    return corpora()


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_breaks(seeds: dict[str, list[bytes]], name: str) -> None:
    count = INPUTS.get(name, 5000) * settings.default.max_examples // 100
    with TARGETS[name]() as target:
        for data in inputs(name, seeds[name], count):
            try:
                target(data)
            except Exception as error:
                raise AssertionError(f"{name}: {data!r}: {error}") from error


def inputs(name: str, seeds: list[bytes], count: int) -> Iterator[bytes]:
    """The seeds, and then what becomes of them; the same from the same seeds."""
    chance = random.Random(name)
    any_bytes = random_bytes(chance)
    most = next(plan.most_bytes for plan in PLANS if plan.name == name)
    mutate = MUTATORS.get(name, lambda data, most, seed, any_bytes: any_bytes(data, most))
    pool = [seed[:most] for seed in seeds]
    yield from pool
    for _ in range(count):
        data = mutate(chance.choice(pool), most, chance.getrandbits(32), any_bytes)
        if len(pool) < MOST_KEPT and chance.random() < 0.1:
            pool.append(data)
        yield data


def test_seeds_are_what_was_said(seeds: dict[str, list[bytes]]) -> None:
    assert set(seeds) == set(TARGETS) == {plan.name for plan in PLANS}
    assert sum(plan.share for plan in PLANS) == pytest.approx(1)
    assert any(b"PRI * HTTP/2.0" in seed for seed in seeds["server"])
    assert len(seeds["server"]) >= 2
    assert all(seeds.values())
