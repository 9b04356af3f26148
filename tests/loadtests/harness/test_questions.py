"""Answers are held to ONNX Runtime's, bit by bit, before anything is measured."""

from __future__ import annotations

import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from loadtests.harness.model import COLUMNS, BenchModel, make_rows
from loadtests.harness.questions import (
    EchoQuestion,
    InferQuestion,
    Question,
    ScoreQuestion,
    WrongAnswer,
    framed,
    varied,
)
from protos.signalbox.v1 import scorer_pb2

ROWS = make_rows(3)


def score_reply(scores: np.ndarray, status: bytes) -> bytes:
    return bytes(scorer_pb2.ScoreReply(scores=scores.astype("<f4").tobytes(), status=status).SerializeToString())


def test_rows_are_all_different_and_always_the_same() -> None:
    rows = make_rows(5000)
    assert rows.dtype == np.float32
    assert len(np.unique(rows, axis=0)) == 5000
    assert np.array_equal(rows[:10], make_rows(10))


def test_a_score_request_says_what_the_model_is_asked(model: BenchModel) -> None:
    request = scorer_pb2.ScoreRequest.FromString(ScoreQuestion(model, ROWS).message)
    assert request.signal == "sum"
    assert np.array_equal(np.frombuffer(request.features, "<f4").reshape(ROWS.shape), ROWS)


def test_right_scores_pass(model: BenchModel) -> None:
    ScoreQuestion(model, ROWS).check(score_reply(model.scores(ROWS), bytes(3)))


@pytest.mark.parametrize("status", [b"\0\0", b"\0\1\0", b""])
def test_a_status_that_is_not_ok_is_wrong(model: BenchModel, status: bytes) -> None:
    with pytest.raises(WrongAnswer, match="status OK"):
        ScoreQuestion(model, ROWS).check(score_reply(model.scores(ROWS), status))


def test_one_bit_is_wrong(model: BenchModel) -> None:
    off = np.nextafter(model.scores(ROWS), np.float32(np.inf))
    with pytest.raises(WrongAnswer, match="ONNX Runtime's scores"):
        ScoreQuestion(model, ROWS).check(score_reply(off, bytes(3)))


def test_bytes_that_are_no_reply_are_wrong(model: BenchModel) -> None:
    with pytest.raises(WrongAnswer, match="bytes that are none"):
        InferQuestion(model, ROWS).check(b"\xff\xff")


@pytest.mark.parametrize("raw", [True, False])
def test_infer_takes_raw_and_typed_contents(model: BenchModel, raw: bool) -> None:
    request = service_pb2.ModelInferRequest.FromString(InferQuestion(model, ROWS).message)
    assert (request.inputs[0].name, list(request.inputs[0].shape)) == ("features", [3, COLUMNS])
    assert request.outputs[0].name == "score"
    reply = service_pb2.ModelInferResponse()
    output = reply.outputs.add(name="score", datatype="FP32", shape=[3, 1])
    if raw:
        reply.raw_output_contents.append(model.scores(ROWS).tobytes())
    else:
        output.contents.fp32_contents.extend(model.scores(ROWS).tolist())
    InferQuestion(model, ROWS).check(reply.SerializeToString())
    with pytest.raises(WrongAnswer):
        InferQuestion(model, ROWS[::-1]).check(reply.SerializeToString())


def test_varied_questions_differ(model: BenchModel) -> None:
    questions: list[Question] = list(varied(ScoreQuestion, model, ROWS))
    assert len({question.message for question in questions}) == 3
    assert all(question.rows == 1 for question in questions)


def test_an_echo_is_held_to_its_bytes() -> None:
    EchoQuestion(b"abc").check(b"abc")
    with pytest.raises(WrongAnswer):
        EchoQuestion(b"abc").check(b"abd")


def test_a_message_is_framed_as_grpc_says() -> None:
    assert framed(b"abc") == b"\x00\x00\x00\x00\x03abc"
