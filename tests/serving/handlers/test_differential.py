"""The real handlers on both transports: the same bodies, well and badly formed, the same replies and the same words.

Whatever is refused is refused by name: what was expected, and what was found.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import uvloop
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from protos.inference import open_inference_pb2 as oip
from protos.signalbox.v1 import scorer_pb2
from serving.transport.http2.limits import Limits

from ..transport.asking import both

SCORER, INFERENCE, HEALTH = "signalbox.v1.Scorer", "inference.GRPCInferenceService", "grpc.health.v1.Health"
SCORE, INFER = f"/{SCORER}/Score", f"/{INFERENCE}/ModelInfer"
OTHERS = [
    f"/{SCORER}/Describe",
    f"/{HEALTH}/Check",
    *(f"/{INFERENCE}/{name}" for name in ("ModelReady", "ModelMetadata", "ModelConfig", "ServerLive", "ServerReady")),
]
MESSAGE_BYTES = 600_000
LIVE = "11" * 32
NAN, INF = float("nan"), float("inf")


class Said(NamedTuple):
    """How a call ended. retry: what the trailer says of sending it again."""

    code: grpc.StatusCode
    words: str
    retry: str
    reply: bytes


Question = tuple[str, bytes]  # path and body


class Pair:
    """One client of each transport, in front of the same handlers."""

    def __init__(self, native: grpc.aio.Channel, grpcio: grpc.aio.Channel) -> None:
        self.channels = native, grpcio

    @classmethod
    @asynccontextmanager
    async def of(cls, world: Any) -> AsyncIterator[Pair]:
        world.book.set_serving("large_caps", True)
        whole = (("grpc.max_send_message_length", -1),)
        async with (
            both(world.methods, Limits(message_bytes=MESSAGE_BYTES)) as (native, grpcio),
            grpc.aio.insecure_channel(native.address, options=whole) as ours,
            grpc.aio.insecure_channel(grpcio.address, options=whole) as theirs,
        ):
            yield cls(ours, theirs)

    async def ask(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Said, Said]]:
        """Asks all of them, on both at once."""
        ours, theirs = self.channels
        said = [asyncio.gather(*(_ask(channel, *each) for each in questions)) for channel in (ours, theirs)]
        return zip(questions, *await asyncio.gather(*said), strict=True)


async def _ask(channel: grpc.aio.Channel, path: str, body: bytes) -> Said:
    call = channel.unary_unary(path)(body, timeout=30)
    code = await call.code()
    reply = bytes(await call) if code is grpc.StatusCode.OK else b""
    trailers = dict(await call.trailing_metadata())
    return Said(code, await call.details() or "", str(trailers.get("signalbox-retry", "")), reply)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="module")
def pair(runner: asyncio.Runner, make_world: Any) -> Iterator[Pair]:
    async def world() -> Any:
        return make_world(time.monotonic_ns)

    context = Pair.of(runner.run(world()))
    yield runner.run(context.__aenter__())
    runner.run(context.__aexit__(None, None, None))


# Questions, most of them wrong in one place, some in several.

numbers = st.sampled_from([0.0, 1.0, -2.5, 7.0, 1e6, 3e38, NAN, INF, -INF]) | st.floats(-99, 99, width=32)
counts = st.sampled_from([0, 1, 1, 2, 2, 3, 40])
names = st.sampled_from(["large_caps"] * 9 + ["small_caps", "", "é" * 99, "x" * 5000])
instruments = st.lists(st.sampled_from(["AAA", "BBB", "CCC", "", "é", "x" * 200]), max_size=4)
strays = st.sampled_from([0] * 9 + [-1, 1, 2, 4])


@st.composite
def rows(draw: Any, count: int) -> bytes:
    values = draw(st.lists(numbers, min_size=2 * count, max_size=2 * count))
    made = np.array(values, "<f4").tobytes()
    stray = draw(strays)
    return made[:stray] if stray < 0 else made + bytes(stray)


@st.composite
def score_bodies(draw: Any) -> bytes:
    named = draw(instruments)
    asked = scorer_pb2.ScoreRequest(
        signal=draw(names),
        instruments=named if draw(st.booleans()) else (),
        features=draw(rows(draw(st.just(len(named)) | counts))),
        release=draw(st.sampled_from([""] * 6 + [LIVE, "22" * 32, "x"])),
    )
    age = draw(st.sampled_from([None] * 6 + [0, -1, 2**50]))
    if age is not None:
        asked.max_feature_age_ms = age
    return bytes(asked.SerializeToString())


@st.composite
def infer_bodies(draw: Any) -> bytes:
    count = draw(counts)
    features = draw(rows(count))
    asked = oip.ModelInferRequest(
        model_name=draw(names),
        model_version=draw(st.sampled_from([""] * 6 + ["7", "6", "latest"])),
        id=draw(st.sampled_from(["", "", "a", "x" * 3000])),
    )
    for _ in range(draw(st.sampled_from([1] * 9 + [0, 2]))):
        given = asked.inputs.add(
            name=draw(st.sampled_from(["features"] * 9 + ["rows", ""])),
            datatype=draw(st.sampled_from(["FP32"] * 9 + ["FP64", "BYTES", ""])),
            shape=draw(st.sampled_from([[count, 2]] * 9 + [[2], [count, 3], [-1, 2], [2**62, 2], [], [count, 2, 1]])),
        )
        if draw(st.sampled_from([False] * 5 + [True])):
            given.contents.fp32_contents.extend(draw(st.lists(numbers, max_size=2 * count + 1)))
        if draw(st.sampled_from([False] * 9 + [True])):
            given.contents.int64_contents.extend([1, 2])
        if draw(st.sampled_from([False] * 9 + [True])):
            given.parameters["shared_memory_region"].string_param = "region"
    asked.raw_input_contents.extend([features] * draw(st.sampled_from([1] * 9 + [0, 2])))
    for name in draw(st.sampled_from([[]] * 5 + [["variable"], ["variable", "variable"], ["x"]])):
        asked.outputs.add(name=name)
    if draw(st.sampled_from([False] * 7 + [True])):
        asked.parameters["timeout"].int64_param = draw(st.sampled_from([-1, 10**7, 2**60]))
    return bytes(asked.SerializeToString())


@st.composite
def spoilt(draw: Any, body: bytes) -> bytes:
    """Cut, longer, or with a byte that is another."""
    at = draw(st.integers(0, max(0, len(body) - 1)))
    how = draw(st.sampled_from(["cut", "longer", "byte", "twice"]))
    if how == "cut":
        return body[:at]
    if how == "longer":
        return body + draw(st.binary(min_size=1, max_size=9))
    if how == "twice":
        return body + body[at:]
    return body[:at] + draw(st.binary(min_size=1, max_size=1)) + body[at + 1 :]


@st.composite
def questions(draw: Any) -> Question:
    path = draw(st.sampled_from([SCORE] * 4 + [INFER] * 4 + OTHERS))
    body = draw(infer_bodies() if path == INFER else score_bodies())
    if draw(st.sampled_from([False, False, True])):
        body = draw(spoilt(body))
    return path, body


CALLERS_FAULT = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}


# One question is named, so there is no shrinking; batches travel at once.
@settings(max_examples=settings.default.max_examples // 2, phases=(Phase.reuse, Phase.generate))
@given(asked=st.lists(questions(), min_size=8, max_size=30))
def test_any_body_is_answered_alike(runner: asyncio.Runner, pair: Pair, asked: list[Question]) -> None:
    for question, ours, theirs in runner.run(pair.ask(asked)):
        assert ours == theirs, question
        if ours.code is not grpc.StatusCode.OK:
            assert ours.code in CALLERS_FAULT, (question, ours)
            assert "expected" in ours.words, (question, ours)
            assert "found" in ours.words, (question, ours)
            assert ours.retry == "0", (question, ours)


def one_row(**changes: Any) -> bytes:
    row = np.array([[1, 2]], "<f4").tobytes()
    return bytes(scorer_pb2.ScoreRequest(**({"signal": "large_caps", "features": row} | changes)).SerializeToString())


def infer(rows: Any, **changes: Any) -> bytes:
    values = np.asarray(rows, "<f4")
    asked = oip.ModelInferRequest(model_name="large_caps", raw_input_contents=[values.tobytes()], **changes)
    asked.inputs.add(name="features", datatype="FP32", shape=values.shape)
    return bytes(asked.SerializeToString())


REFUSED = [
    (SCORE, one_row(signal="small_caps"), "NOT_FOUND", "signal: expected one that is served here (large_caps), found"),
    (SCORE, one_row(release="22" * 32), "NOT_FOUND", "expected a loaded release (111111111111), found '2222"),
    (SCORE, one_row(instruments=["A", "A"]), "INVALID_ARGUMENT", "instruments: expected each once, found 'A' twice"),
    (
        SCORE,
        one_row(instruments=["A", "B"]),
        "INVALID_ARGUMENT",
        "features: expected 2 rows, one per instrument, found 1",
    ),
    (SCORE, one_row(features=bytes(9)), "INVALID_ARGUMENT", "features: expected a multiple of 8 bytes"),
    (
        SCORE,
        one_row(features=np.array([1, INF], "<f4").tobytes()),
        "INVALID_ARGUMENT",
        "features[0].y: expected a finite",
    ),
    (
        SCORE,
        one_row(features=np.array([NAN, 1], "<f4").tobytes()),
        "INVALID_ARGUMENT",
        "features[0].x: expected a finite",
    ),
    (SCORE, one_row(features=b"", max_feature_age_ms=-1), "INVALID_ARGUMENT", "max_feature_age_ms: expected 0 or more"),
    (SCORE, b"\xff\xff", "INVALID_ARGUMENT", "expected a signalbox.v1.ScoreRequest, found 2 bytes"),
    (
        INFER,
        infer([[1, 2, 3]]),
        "INVALID_ARGUMENT",
        "inputs[0].shape: expected [n, 2] of at least one row, found [1, 3]",
    ),
    (INFER, infer([[1, -INF]]), "INVALID_ARGUMENT", "features[0].y: expected a finite number or NaN, found -inf"),
    (INFER, infer([[600, 600]]), "FAILED_PRECONDITION", "variable[0]: expected a finite score"),
    (INFER, infer([[1, 2]], model_version="6"), "NOT_FOUND", "model_version: expected 7"),
    (INFER, infer([[1, 2]])[:-1], "INVALID_ARGUMENT", "expected a inference.ModelInferRequest, found"),
]


@pytest.mark.parametrize(("path", "body", "code", "words"), REFUSED, ids=[words[:40] for *_, words in REFUSED])
def test_what_is_wrong_is_named(
    runner: asyncio.Runner, pair: Pair, path: str, body: bytes, code: str, words: str
) -> None:
    """The same at any time: before the shape of the request is known, and after."""
    good = one_row() if path == SCORE else infer([[1, 2]])
    heard = list(runner.run(pair.ask([(path, body), (path, good), (path, good), (path, body)])))
    assert [ours.code is grpc.StatusCode.OK for _, ours, _ in heard] == [False, True, True, False]
    for _, ours, theirs in heard:
        assert ours == theirs
        if ours.code is not grpc.StatusCode.OK:
            assert ours.code.name == code
            assert words in ours.words


def test_a_huge_message_is_refused_and_one_just_as_large_as_allowed_is_not(runner: asyncio.Runner, pair: Pair) -> None:
    rows = MESSAGE_BYTES // 8 - 9
    largest, huge = (one_row(features=bytes(8 * count)) for count in (rows, rows + 20))
    assert len(largest) < MESSAGE_BYTES < len(huge)
    scored = [runner.run(_ask(channel, SCORE, largest)) for channel in pair.channels]  # one after the other: it is work
    assert scored[0] == scored[1]
    assert len(scorer_pb2.ScoreReply.FromString(scored[0].reply).status) == rows
    for channel in pair.channels:
        said = runner.run(_ask(channel, SCORE, huge))
        assert said.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(len(huge)) in said.words, "each in its own words"
