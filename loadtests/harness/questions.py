"""What benches ask: one unary call of a protocol, its message, and the check of its answer against ONNX Runtime.

A `Question` holds one message, so that a client that can send only one body (h2load) can be given it; `varied` makes
as many different ones as a client of our own wants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from google.protobuf.message import DecodeError

from loadtests.harness.model import INPUT, BenchModel, Float32s

GRPC_PREFIX_BYTES = 5


class WrongAnswer(Exception):
    """An answer that is not the one ONNX Runtime gives for the same rows."""


class Question(Protocol):
    """One unary call. path: "/service/method". rows: how many are scored by it. message: its protobuf bytes."""

    @property
    def path(self) -> str:
        """See the class."""
        ...

    @property
    def rows(self) -> int:
        """See the class."""
        ...

    @property
    def message(self) -> bytes:
        """See the class."""
        ...

    def check(self, reply: bytes) -> None:
        """WrongAnswer unless `reply` is right."""
        ...


@runtime_checkable
class ManyQuestions(Question, Protocol):
    """Many questions of one kind, as one: `message` and `check` are the first one's."""

    @property
    def messages(self) -> Sequence[bytes]:
        """Each one's message."""
        ...

    def check_one(self, number: int, reply: bytes) -> None:
        """WrongAnswer unless `reply` is right for question `number`."""
        ...


class FirstOfMany:
    """What is alike in ManyQuestions."""

    @property
    def message(self: ManyQuestions) -> bytes:
        """See Question."""
        return self.messages[0]

    def check(self: ManyQuestions, reply: bytes) -> None:
        """See Question."""
        self.check_one(0, reply)


@dataclass(frozen=True, eq=False)
class ScoreQuestion:
    """`signalbox.v1.Scorer/Score` with inline features [n, 32]: every request is scored, none is remembered."""

    model: BenchModel
    features: Float32s
    path: str = "/signalbox.v1.Scorer/Score"

    @property
    def rows(self) -> int:
        """See Question."""
        return len(self.features)

    @property
    def message(self) -> bytes:
        """See Question."""
        from protos.signalbox.v1 import scorer_pb2

        request = scorer_pb2.ScoreRequest(signal=self.model.name, features=self.features.astype("<f4").tobytes())
        return bytes(request.SerializeToString())

    def check(self, reply: bytes) -> None:
        """See Question: every status OK, every score bit-equal."""
        from protos.signalbox.v1 import scorer_pb2

        answer = _parsed(scorer_pb2.ScoreReply, reply)
        if any(answer.status) or len(answer.status) != self.rows:
            raise WrongAnswer(f"expected {self.rows} rows of status OK, found {list(answer.status)[:8]}")
        _compare(np.frombuffer(answer.scores, "<f4"), self.model.scores(self.features))


@dataclass(frozen=True, eq=False)
class InferQuestion:
    """Open Inference Protocol `ModelInfer` with raw contents, as tritonclient sends it."""

    model: BenchModel
    features: Float32s
    path: str = "/inference.GRPCInferenceService/ModelInfer"

    @property
    def rows(self) -> int:
        """See Question."""
        return len(self.features)

    @property
    def message(self) -> bytes:
        """See Question."""
        from tritonclient.grpc import service_pb2

        request = service_pb2.ModelInferRequest(model_name=self.model.name)
        request.inputs.add(name=INPUT, datatype="FP32", shape=list(self.features.shape))
        request.outputs.add(name=self.model.output)
        request.raw_input_contents.append(self.features.astype("<f4").tobytes())
        return bytes(request.SerializeToString())

    def check(self, reply: bytes) -> None:
        """See Question. Contents may be raw or typed: MLServer answers with `fp32_contents`."""
        from tritonclient.grpc import service_pb2

        answer = _parsed(service_pb2.ModelInferResponse, reply)
        if answer.raw_output_contents:
            scores = np.frombuffer(answer.raw_output_contents[0], "<f4")
        else:
            typed = [output.contents.fp32_contents for output in answer.outputs]
            scores = np.array(typed[0] if typed else (), np.float32)
        _compare(scores, self.model.scores(self.features))


@dataclass(frozen=True)
class EchoQuestion:
    """A call that gives its own bytes back: what a transport costs when nothing is scored."""

    message: bytes
    path: str = "/bench.Echo/Echo"
    rows: int = 1

    def check(self, reply: bytes) -> None:
        """See Question."""
        if reply != self.message:
            raise WrongAnswer(f"expected the {len(self.message)} bytes that were sent, found {len(reply)} others")


def varied(kind: type[ScoreQuestion] | type[InferQuestion], model: BenchModel, rows: Float32s) -> Iterator[Question]:
    """One question a row of `rows`, in their order."""
    for at in range(len(rows)):
        yield kind(model, rows[at : at + 1])


def framed(message: bytes) -> bytes:
    """`message` as gRPC sends it in DATA frames: not compressed, length-prefixed (gRPC over HTTP/2, "Length-Prefixed-
    Message").
    """
    return b"\0" + len(message).to_bytes(GRPC_PREFIX_BYTES - 1, "big") + message


def _parsed(kind: Any, reply: bytes) -> Any:
    try:
        return kind.FromString(reply)
    except DecodeError as error:
        raise WrongAnswer(f"expected a {kind.DESCRIPTOR.full_name}, found {len(reply)} bytes that are none") from error


def _compare(scores: Float32s, expected: Float32s) -> None:
    """Bit-equal: one intra-op thread gives every server the same sums (design D3)."""
    if not np.array_equal(scores, expected):
        raise WrongAnswer(
            f"expected ONNX Runtime's scores {expected[:3].tolist()}... of {len(expected)} rows, "
            f"found {scores[:3].tolist()}... of {len(scores)}"
        )
