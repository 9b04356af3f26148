"""A request recognised by its bytes gets the reply that a parsed one gets: byte for byte, whatever the bytes."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.signalbox.v1 import scorer_pb2
from serving.errors import ServingError
from serving.handlers.plan import Plans, prefix_of

FEATURES = scorer_pb2.ScoreRequest.FEATURES_FIELD_NUMBER
LIVE, SHADOW = "11" * 32, "22" * 32
World = Any  # conftest's

values = st.floats(width=32) | st.sampled_from([0.0, -0.0, float("nan"), float("inf"), 3e38])
inline = st.lists(st.tuples(values, values), min_size=1, max_size=3).map(lambda rows: np.array(rows, "<f4").tobytes())
names = st.lists(st.sampled_from(["AAA", "BBB", "new", "ä"]), max_size=3)
requests = st.builds(
    lambda **facts: scorer_pb2.ScoreRequest(**facts).SerializeToString(),
    signal=st.sampled_from(["large_caps", "other", ""]),
    instruments=names,
    features=inline | st.binary(max_size=20) | st.just(b""),
    release=st.sampled_from(["", LIVE, SHADOW, "none"]),
    max_feature_age_ms=st.none() | st.integers(-1, 5),
)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field of up to 127 bytes."""
    return bytes([number << 3 | 2, len(payload)]) + payload


FRAGMENTS = [
    field(1, b"large_caps"),
    field(2, b"AAA"),
    field(2, b"\xff"),  # no UTF-8
    field(3, np.array([1, 2], "<f4").tobytes()),
    field(3, np.array([3, 4], "<f4").tobytes()),
    field(3, b""),
    field(4, b""),
    b"\x1a\x88\x00" + np.array([5, 6], "<f4").tobytes(),  # a length that is longer than it need be
    field(15, np.array([1, 2], "<f4").tobytes()),  # the same bytes as features, of another field
    field(15, field(3, np.array([7, 8], "<f4").tobytes())),  # features within a field that nobody knows
    field(15, field(3, np.array([9, 1], "<f4").tobytes())[:-1]),
    b"\x7b" + field(3, np.array([7, 8], "<f4").tobytes()) + b"\x7c",  # features within a group
    b"\x7b",
    b"\x28\x05",  # max_feature_age_ms
    b"\x3d\x1a\x08\x00\x00",  # 32 bits that look like features
    b"",
    b"\x1a",
    b"\xff",
]
patchworks = st.lists(st.sampled_from(FRAGMENTS), max_size=6).map(b"".join)
changes = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3)


def changed(body: bytes, places: list[tuple[int, int]]) -> bytes:
    """`body` with some bytes replaced."""
    data = bytearray(body)
    for at, value in places:
        if at < len(data):
            data[at] = value
    return bytes(data)


async def outcome(world: World, body: bytes) -> tuple[str, Any]:
    try:
        return "answered", await world.reply(body)
    except ServingError as error:
        return type(error).__name__, str(error)


@settings(max_examples=150)
@given(st.lists(st.tuples(requests | patchworks, changes), min_size=1, max_size=6))
def test_recognised_and_parsed_get_the_same_reply(make_world: Any, asked: list[tuple[bytes, Any]]) -> None:
    """Each body, and the body with some bytes changed, of a scorer that has seen it and of one that forgets."""

    async def compare() -> None:
        knowing, parsing = make_world(), make_world(remember=False)
        for body, places in asked:
            for each in (body, body, changed(body, places), body):
                assert await outcome(knowing, each) == await outcome(parsing, each)
        assert len(parsing.scorer._plans) == 0

    asyncio.run(compare())


@given(patchworks, st.binary(min_size=8, max_size=8))
def test_a_plan_s_prefix_says_the_same_of_other_features(body: bytes, other: bytes) -> None:
    try:
        message = scorer_pb2.ScoreRequest.FromString(body)
    except DecodeError:
        return
    prefix = prefix_of(scorer_pb2.ScoreRequest, FEATURES, body, message.features)
    if prefix is None or len(message.features) != len(other):
        return
    again = scorer_pb2.ScoreRequest.FromString(prefix + other)
    message.features = other
    assert again == message


def test_features_that_only_seem_to_be_the_last_field_make_no_plan() -> None:
    features = np.array([1, 2], "<f4").tobytes()
    first = field(1, b"s") + field(3, features)
    inside = field(3, features)
    for after in (field(4, b"x"), field(15, features), field(15, inside), b"\x7b" + inside, b"\x7b" + inside + b"\x7c"):
        body = first + after
        assert prefix_of(scorer_pb2.ScoreRequest, FEATURES, body, features) is None
    assert prefix_of(scorer_pb2.ScoreRequest, FEATURES, first, features) == field(1, b"s") + b"\x1a\x08"


def test_a_known_prefix_with_more_behind_it_than_it_says_is_another_request() -> None:
    plans: Plans[str] = Plans()
    for name, features in ((b"A", b"8" * 8), (b"B", b"6" * 16)):
        plans.learn(scorer_pb2.ScoreRequest, FEATURES, field(1, name) + field(3, features), features, "form")
    assert plans.find(field(1, b"A") + field(3, b"x" * 8))
    assert plans.find(field(1, b"A") + field(3, b"x" * 8) + b"x" * 8) is None


async def test_a_request_of_a_known_shape_is_not_parsed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    body = scorer_pb2.ScoreRequest(signal="large_caps", features=np.array([1, 2], "<f4").tobytes()).SerializeToString()
    other = body[:-8] + np.array([3, 4], "<f4").tobytes()
    assert await world.reply(body)
    monkeypatch.setattr("serving.handlers.scorer.read_question", None)
    reply = scorer_pb2.ScoreReply.FromString(await world.reply(other))
    assert np.frombuffer(reply.scores, "<f4").tolist() == [43]


async def test_shapes_of_the_same_length_are_told_apart(world: World) -> None:
    for _ in range(2):
        for name in ("AAA", "BBB", "CCC"):
            assert (await world.ask(name, features=[[1, 2]])).scores.tolist() == [21]
    assert len(world.scorer._plans) == 3


async def test_a_swap_forgets_what_was_known(world: World) -> None:
    assert (await world.ask(features=[[1, 2]])).generation == 7
    world.serve(generation=8, live=SHADOW)
    score = await world.ask(features=[[1, 2]])
    assert (score.generation, score.scores.tolist(), score.releases) == (8, [2], (SHADOW,))


async def test_a_draining_worker_recognises_nothing(world: World) -> None:
    await world.ask(features=[[1, 2]])
    world.scorer.drain()
    with pytest.raises(ServingError, match="stopping"):
        await world.ask(features=[[1, 2]])


def test_plans_are_bounded_in_number_and_in_bytes() -> None:
    plans: Plans[str] = Plans(most=3, most_bytes=40)
    bodies = [field(1, bytes([65 + at])) + field(3, b"12345678") for at in range(5)]
    for body in bodies:
        plans.learn(scorer_pb2.ScoreRequest, FEATURES, body, b"12345678", "form")
        assert 1 <= len(plans) <= 3
        assert plans.find(body)
    long = field(1, b"x" * 50) + field(3, b"12345678")
    plans.learn(scorer_pb2.ScoreRequest, FEATURES, long, b"12345678", "form")
    assert plans.find(long) is None
    plans.close()
    plans.learn(scorer_pb2.ScoreRequest, FEATURES, bodies[0], b"12345678", "form")
    assert len(plans) == 0


def test_a_plan_learned_twice_counts_once() -> None:
    plans: Plans[str] = Plans(most=2, most_bytes=10)
    body = field(1, b"A") + field(3, b"12345678")
    for form in ("old", "new"):
        plans.learn(scorer_pb2.ScoreRequest, FEATURES, body, b"12345678", form)
    plan = plans.find(body)
    assert plan is not None
    assert plan.form == "new"
