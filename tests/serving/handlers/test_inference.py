"""The Open Inference Protocol without a transport: every answer by the contract, every refusal by name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion.release.manifest import Tensor
from protos.inference import open_inference_pb2 as oip
from serving import errors
from serving.handlers.inference import SERVICE, Inference
from serving.transport.call import AwaitedCall

INFER = f"/{SERVICE}/ModelInfer"
NAN, INF = float("nan"), float("inf")


def request(rows: Any = ((1, 2),), **changes: Any) -> oip.ModelInferRequest:
    """What tritonclient sends for `rows`."""
    values = np.asarray(rows, "<f4")
    facts = {"model_name": "large_caps", "raw_input_contents": [values.tobytes()]}
    message = oip.ModelInferRequest(**(facts | changes))
    message.inputs.add(name="features", datatype="FP32", shape=values.shape)
    return message


async def infer(world: Any, message: Any) -> oip.ModelInferResponse:
    body = message if isinstance(message, bytes) else message.SerializeToString()
    return oip.ModelInferResponse.FromString(await world.call(INFER, body))


async def ask(world: Any, method: str, /, **fields: Any) -> Any:
    body = getattr(oip, f"{method}Request")(**fields).SerializeToString()
    return getattr(oip, f"{method}Response").FromString(await world.call(f"/{SERVICE}/{method}", body))


def scores(reply: oip.ModelInferResponse) -> list[float]:
    return [float(each) for each in np.frombuffer(reply.raw_output_contents[0], "<f4")]


async def test_raw_rows_are_scored(world: Any) -> None:
    reply = await infer(world, request([[1, 2], [3, 4]], id="q1"))
    expected = oip.ModelInferResponse(model_name="large_caps", model_version="7", id="q1")
    expected.parameters["posture"].string_param = "NORMAL"
    expected.parameters["weight"].double_param = 0.5
    expected.parameters["generation"].int64_param = 7
    expected.parameters["release"].string_param = "11" * 32
    expected.outputs.add(name="variable", datatype="FP32", shape=[2, 1])
    expected.raw_output_contents.append(np.array([21, 43], "<f4").tobytes())
    assert reply == expected


async def test_an_output_of_one_dimension_has_the_shape_of_the_file(world: Any, make_model: Callable[..., Any]) -> None:
    world.serve(model=make_model(output=Tensor(name="score", dtype="float32", shape=("N",))))
    (output,) = (await infer(world, request([[1, 2], [3, 4]]))).outputs
    assert (output.name, list(output.shape)) == ("score", [2])


async def test_typed_rows_are_scored_like_raw_ones(world: Any) -> None:
    typed = request([[1, 2], [3, 4]], raw_input_contents=[])
    typed.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
    assert await infer(world, typed) == await infer(world, request([[1, 2], [3, 4]]))


async def test_the_present_generation_and_the_one_output_may_be_named(world: Any) -> None:
    named = request(model_version="7")
    named.outputs.add(name="variable").parameters["binary_data"].bool_param = True
    assert scores(await infer(world, named)) == [21]


async def test_parameters_that_nobody_knows_are_ignored(world: Any) -> None:
    message = request()
    message.parameters["priority"].uint64_param = 1
    message.parameters["anything"].string_param = "x"
    assert scores(await infer(world, message)) == [21]


class SumOfWhatIsThere:
    def predict(self, rows: Any) -> Any:
        return np.nansum(rows, axis=1)


async def test_a_missing_value_is_taken_where_the_model_takes_one(world: Any, make_model: Callable[..., Any]) -> None:
    world.serve(model=make_model(backend=SumOfWhatIsThere()))
    assert scores(await infer(world, request([[1, NAN]]))) == [1]


def wrong(**changes: Any) -> oip.ModelInferRequest:
    """A request whose one input is changed."""
    message = request()
    for name, value in changes.items():
        if name == "shape":
            message.inputs[0].shape[:] = value
        else:
            setattr(message.inputs[0], name, value)
    return message


def both_contents() -> oip.ModelInferRequest:
    message = request()
    message.inputs[0].contents.fp32_contents.extend([1, 2])
    return message


def typed(**contents: Any) -> oip.ModelInferRequest:
    message = request(raw_input_contents=[])
    for name, values in contents.items():
        getattr(message.inputs[0].contents, name).extend(values)
    return message


def two_inputs() -> oip.ModelInferRequest:
    message = request()
    message.inputs.add(name="more", datatype="FP32", shape=[1, 2])
    return message


def wanting(*names: str, **parameters: Any) -> oip.ModelInferRequest:
    message = request()
    for name in names:
        message.outputs.add(name=name)
    for name, value in parameters.items():
        message.outputs[0].parameters[name].int64_param = value
    return message


def in_shared_memory() -> oip.ModelInferRequest:
    message = request(raw_input_contents=[])
    message.inputs[0].parameters["shared_memory_region"].string_param = "region"
    return message


def waiting(**timeout: Any) -> oip.ModelInferRequest:
    message = request()
    message.parameters["timeout"].CopyFrom(oip.InferParameter(**timeout))
    return message


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        (request(model_name="small_caps"), errors.UnknownSignal, r"served here \(large_caps\), found 'small_caps'"),
        (request(model_version="6"), errors.UnknownGeneration, "expected 7, .* found '6'"),
        (request(model_version="latest"), errors.UnknownGeneration, "found 'latest'"),
        (wrong(name="rows"), errors.WrongTensor, r"inputs\[0\].name: expected 'features', found 'rows'"),
        (wrong(datatype="FP64"), errors.WrongTensor, "expected FP32, found 'FP64'"),
        (wrong(datatype=""), errors.WrongTensor, "expected FP32, found ''"),
        (two_inputs(), errors.WrongTensor, "expected 'features' alone, found 2 tensors"),
        (oip.ModelInferRequest(model_name="large_caps"), errors.WrongTensor, "found 0 tensors"),
        (in_shared_memory(), errors.WrongTensor, "found a shared_memory_region"),
        (wrong(shape=[2]), errors.WrongShape, r"expected \[n, 2\] of at least one row, found \[2\]"),
        (wrong(shape=[1, 3]), errors.WrongShape, r"found \[1, 3\]"),
        (wrong(shape=[0, 2]), errors.WrongShape, r"found \[0, 2\]"),
        (wrong(shape=[-1, 2]), errors.WrongShape, r"found \[-1, 2\]"),
        (wrong(shape=[2, 2]), errors.WrongShape, r"expected 16 bytes \(2 rows of 2 float32\), found 8"),
        (wrong(shape=[65_537, 2]), errors.WrongShape, "at most 65536 rows, found 65537"),
        (request(raw_input_contents=[bytes(9)]), errors.WrongShape, "expected 8 bytes .* found 9"),
        (request(raw_input_contents=[bytes(4), bytes(4)]), errors.MalformedRequest, "expected one, .* found 2"),
        (request(raw_input_contents=[]), errors.MalformedRequest, "expected one, .* found 0"),
        (both_contents(), errors.MalformedRequest, r"found both \(contents.fp32_contents\)"),
        (typed(fp32_contents=[1]), errors.WrongShape, "expected 2 elements, found 1"),
        (typed(fp64_contents=[1, 2]), errors.WrongTensor, "expected fp32_contents alone, found fp64_contents"),
        (typed(fp32_contents=[1, 2], int_contents=[1]), errors.WrongTensor, "found int_contents, fp32_contents"),
        (wanting("probabilities"), errors.WrongTensor, r"outputs\[0\]: expected 'variable' .* found 'probabilities'"),
        (wanting("variable", "variable"), errors.WrongTensor, r"outputs\[1\]: expected 'variable' once"),
        (wanting("variable", classification=3), errors.WrongTensor, "found 'classification'"),
        (waiting(int64_param=-1), errors.WrongValue, "integer of 0 or more, found -1"),
        (waiting(string_param="soon"), errors.WrongValue, "found 'soon'"),
        (waiting(), errors.WrongValue, "found 'nothing'"),
        (
            request([[1, 2], [3, INF]]),
            errors.WrongValue,
            r"features\[1\].y: expected a finite number or NaN, found inf",
        ),
        (request([[NAN, 2]]), errors.WrongValue, r"features\[0\].x: expected a finite number, found nan"),
        (request([[600, 41]]), errors.ScoreRefused, r"variable\[0\]: expected a finite score .* \(1 of 1 rows\)"),
        (request([[1, 1], [3e38, 3e38]]), errors.ScoreRefused, r"variable\[1\]: .* \(1 of 2 rows\)"),
        (b"\xff", errors.MalformedRequest, r"inference.ModelInferRequest.* from protos/inference/open_inference.proto"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
async def test_what_does_not_fit_is_refused_by_name(world: Any, message: Any, kind: Any, words: str) -> None:
    with pytest.raises(kind, match=words):
        await infer(world, message)
    assert world.scorer.counts.errors[kind.__name__] == 1
    assert world.scorer.counts.requests == 1


async def test_a_file_of_so_many_rows_takes_no_others(world: Any, make_model: Callable[..., Any]) -> None:
    world.serve(model=make_model(input=Tensor(name="features", dtype="float32", shape=(1, 2))))
    assert scores(await infer(world, request([[1, 2]]))) == [21]
    with pytest.raises(errors.WrongShape, match=r"expected \[1, 2\] of at least one row, found \[2, 2\]"):
        await infer(world, request([[1, 2], [3, 4]]))


async def test_a_halted_signal_gives_no_score(world: Any) -> None:
    body = request().SerializeToString()
    await infer(world, body)
    world.serve(posture="HALTED", generation=8)
    for _ in range(2):
        with pytest.raises(errors.ScoreRefused, match="HALTED at generation 8"):
            await infer(world, body)


async def test_without_a_live_release_there_is_nothing_to_ask(world: Any) -> None:
    world.serve(live=None)
    with pytest.raises(errors.NoLiveRelease):
        await infer(world, request())


async def test_a_worker_that_drains_takes_no_more(world: Any) -> None:
    body = request().SerializeToString()
    await infer(world, body)
    world.scorer.drain()
    with pytest.raises(errors.Draining):
        await infer(world, body)


async def test_a_swap_is_in_the_next_reply_to_the_same_bytes(world: Any) -> None:
    body = request().SerializeToString()
    for _ in range(2):
        assert (await infer(world, body)).model_version == "7"
    world.serve(generation=8, weight=0.25, posture="NO_NEW_RISK")
    for _ in range(2):
        reply = await infer(world, body)
        said = reply.parameters
        assert (reply.model_version, said["weight"].double_param, said["posture"].string_param) == (
            "8",
            0.25,
            "NO_NEW_RISK",
        )


@pytest.mark.parametrize("kind", ["int64_param", "uint64_param"])
async def test_the_timeout_parameter_shortens_the_deadline(world: Any, kind: str) -> None:
    assert scores(await infer(world, waiting(**{kind: 2}))) == [21]  # µs after the call began, at 0 ns
    for _ in range(2):  # a request that came before is no other
        with pytest.raises(errors.DeadlinePassed):
            await infer(world, waiting(**{kind: 1}))
    assert scores(await infer(world, waiting(**{kind: 0}))) == [21]  # none
    with pytest.raises(errors.DeadlinePassed):
        await world.call(INFER, waiting(**{kind: 2}).SerializeToString(), deadline_ns=1_000)


finite = st.floats(-20, 20, width=32)
matrices = st.integers(1, 5).flatmap(
    lambda n: st.lists(st.lists(finite, min_size=2, max_size=2), min_size=n, max_size=n)
)


def outcome(inference: Inference, body: bytes) -> Any:
    """What becomes of `body`: the reply's bytes, or the error."""
    call = AwaitedCall(0)
    inference.infer(call, body)
    return call.reply


async def settled(reply: Any) -> tuple[str, Any]:
    try:
        return "answered", await reply
    except errors.ServingError as error:
        return type(error).__name__, str(error)


@given(rows=matrices, again=matrices, name=st.sampled_from(["", "a", "abc" * 50]), named=st.booleans())
def test_a_recognised_request_gets_the_bytes_that_a_parsed_one_gets(
    make_world: Any, rows: Any, again: Any, name: str, named: bool
) -> None:
    async def compare() -> None:
        world = make_world()
        known = Inference(world.scorer, world.book)
        for values in (rows, again, again):
            message = request(values, id=name)
            if named:
                message.outputs.add(name="variable")
            body = message.SerializeToString()
            parsed = outcome(Inference(world.scorer, world.book), body)
            recognised = outcome(known, body)
            assert await recognised == await parsed
        shapes = {len(rows), len(again)}
        assert len(known.plans) == (0 if name else len(shapes))

    asyncio.run(compare())


def altered(bodies: list[bytes], changes: list[tuple[int, int]]) -> list[bytes]:
    """`bodies`, and copies with bytes changed, cut or grown."""
    more = []
    for body in bodies:
        for at, value in changes:
            place = at % len(body)
            changed = bytearray(body)
            changed[place] = value
            more += [bytes(changed), body[:place], body + bytes([value]), body[:place] + bytes([value]) + body[place:]]
    return bodies + more


@given(rows=matrices, changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=8))
def test_no_bytes_get_another_answer_because_like_ones_are_known(
    make_world: Any, rows: Any, changes: list[tuple[int, int]]
) -> None:
    async def compare() -> None:
        world = make_world()
        known = Inference(world.scorer, world.book)
        named = request(rows)
        named.outputs.add(name="variable")
        features_first = oip.ModelInferRequest(raw_input_contents=request(rows).raw_input_contents).SerializeToString()
        features_first += request(rows, raw_input_contents=[]).SerializeToString()
        bodies = altered([request(rows).SerializeToString(), named.SerializeToString(), features_first], changes)
        for body in [*bodies, *bodies]:
            recognised = outcome(known, body)
            parsed = outcome(Inference(world.scorer, world.book), body)
            assert await settled(recognised) == await settled(parsed)

    asyncio.run(compare())


@given(body=st.binary(max_size=200))
def test_any_bytes_get_an_answer_or_a_refusal(make_world: Any, body: bytes) -> None:
    async def send() -> None:
        world = make_world()
        for path in world.methods:
            if path.startswith(f"/{SERVICE}/"):
                try:
                    await world.call(path, body)
                except errors.ServingError as error:
                    assert str(error)  # noqa: PT017 - whichever it is

    asyncio.run(send())


async def test_live_until_it_drains(world: Any) -> None:
    assert (await ask(world, "ServerLive")).live
    world.scorer.drain()
    assert not (await ask(world, "ServerLive")).live


async def test_the_server_is_ready_when_health_says_so(world: Any) -> None:
    assert not (await ask(world, "ServerReady")).ready
    world.book.set_serving("", True)
    assert (await ask(world, "ServerReady")).ready
    world.book.shutdown()
    assert not (await ask(world, "ServerReady")).ready


async def test_a_model_is_ready_when_it_can_answer_with_scores(world: Any) -> None:
    assert (await ask(world, "ModelReady", name="large_caps")).ready
    assert (await ask(world, "ModelReady", name="large_caps", version="7")).ready
    world.serve(posture="NO_NEW_RISK")
    assert (await ask(world, "ModelReady", name="large_caps")).ready
    for changes in ({"posture": "HALTED"}, {"live": None}, {"models": {}}):
        world.serve(**changes)
        assert not (await ask(world, "ModelReady", name="large_caps")).ready


async def test_metadata_is_the_model_files(world: Any, make_model: Callable[..., Any]) -> None:
    metadata = await ask(world, "ModelMetadata", name="large_caps")
    expected = oip.ModelMetadataResponse(name="large_caps", versions=["7"], platform="onnx_onnxv1")
    expected.inputs.add(name="features", datatype="FP32", shape=[-1, 2])
    expected.outputs.add(name="variable", datatype="FP32", shape=[-1, 1])
    assert metadata == expected
    world.serve(model=make_model(input=Tensor(name="rows", dtype="float32", shape=(1, 2))))
    (given,) = (await ask(world, "ModelMetadata", name="large_caps", version="7")).inputs
    assert (given.name, list(given.shape)) == ("rows", [1, 2])


async def test_the_configuration_is_what_triton_would_say(world: Any, make_model: Callable[..., Any]) -> None:
    config = (await ask(world, "ModelConfig", name="large_caps")).config
    assert (config.name, config.backend, config.max_batch_size) == ("large_caps", "onnxruntime", 65_536)
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [("features", 11, [2])]
    assert [(each.name, each.data_type, list(each.dims)) for each in config.output] == [("variable", 11, [1])]
    assert not config.output[0].HasField("reshape")

    world.serve(model=make_model(output=Tensor(name="score", dtype="float32", shape=("N",))))
    (score,) = (await ask(world, "ModelConfig", name="large_caps")).config.output
    assert (list(score.dims), score.HasField("reshape"), list(score.reshape.shape)) == ([1], True, [])

    fixed = Tensor(name="features", dtype="float32", shape=(1, 2))
    world.serve(model=make_model(input=fixed, output=Tensor(name="score", dtype="float32", shape=(1, 1))))
    config = (await ask(world, "ModelConfig", name="large_caps")).config
    assert (config.max_batch_size, list(config.input[0].dims), list(config.output[0].dims)) == (0, [1, 2], [1, 1])


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "ModelConfig"])
async def test_models_that_there_are_none_of_are_refused(world: Any, method: str) -> None:
    with pytest.raises(errors.UnknownSignal, match="'small_caps'"):
        await ask(world, method, name="small_caps")
    with pytest.raises(errors.UnknownGeneration, match=r"expected 7, .* found '1'"):
        await ask(world, method, name="large_caps", version="1")
    assert sum(world.scorer.counts.errors.values()) == 2
    if method != "ModelReady":
        world.serve(live=None)
        with pytest.raises(errors.NoLiveRelease):
            await ask(world, method, name="large_caps")


async def test_the_server_names_itself_and_its_extensions(world: Any) -> None:
    said = await ask(world, "ServerMetadata")
    assert (said.name, list(said.extensions)) == ("signalbox", ["model_configuration"])
    assert said.version
