"""`ModelInfer` requests read and replies written (Open Inference Protocol v2; docs/contracts.md, "ModelInfer")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from promotion.release.manifest import Tensor
from protos.inference.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from serving.errors import MalformedRequest, ScoreRefused, UnknownGeneration, WrongShape, WrongTensor, WrongValue
from serving.handlers.routes import Route
from serving.handlers.wire import Answer, RowStatus
from serving.runtime.backend import Model

FP32 = "FP32"
MAX_ROWS = 65_536  # in one request
_FLOAT_BYTES = 4
_NS_PER_US = 1000
_ELSEWHERE = ("classification", "shared_memory_region")  # what Triton takes of an output, and Signalbox does not


@dataclass(frozen=True, slots=True)
class WriteReply:
    """The reply to a `ModelInfer` request about `signal`. id: the request's. Equal ones write equal replies."""

    signal: str
    id: str
    output: Tensor

    def __call__(self, answer: Answer) -> bytes:
        """The `ModelInferResponse` that says `answer`. ScoreRefused unless every score may leave."""
        self._check(answer)
        reply = ModelInferResponse(model_name=self.signal, model_version=str(answer.generation), id=self.id)
        reply.parameters["posture"].string_param = answer.posture
        reply.parameters["weight"].double_param = answer.weight
        reply.parameters["generation"].int64_param = answer.generation
        reply.parameters["release"].string_param = answer.release or ""
        shape = [len(answer.scores), *[1] * (len(self.output.shape) - 1)]
        reply.outputs.add(name=self.output.name, datatype=FP32, shape=shape)
        reply.raw_output_contents.append(answer.scores.astype("<f4", copy=False).tobytes())
        return reply.SerializeToString(deterministic=True)

    def _check(self, answer: Answer) -> None:
        if answer.posture == "HALTED":
            raise ScoreRefused(
                f"signal {self.signal!r}: expected one that is not halted, found it HALTED at generation "
                f"{answer.generation}; keep its positions as they are until a person resumes it"
            )
        refused = np.flatnonzero(answer.status != RowStatus.OK)
        if len(refused):
            raise ScoreRefused(
                f"{self.output.name}[{refused[0]}]: expected a finite score within the release's limit, found another "
                f"({len(refused)} of {len(answer.status)} rows); leave the row out, or ask Score: its status is by row"
            )


def check_version(version: str, route: Route) -> None:
    """UnknownGeneration unless `version` is empty or the route's generation."""
    if version not in ("", str(route.generation)):
        raise UnknownGeneration(
            f"model_version: expected {route.generation}, the present generation of {route.signal!r}, or none, found "
            f"{version[:20]!r}; leave it out"
        )


def read_features(request: ModelInferRequest, model: Model) -> tuple[int, bytes]:
    """How many rows `request` brings, and their bytes: little-endian float32 [rows, feature].

    WrongTensor, WrongShape or MalformedRequest when it does not fit the model. Values are not looked at.
    """
    _check_outputs(request, model)
    if len(request.inputs) != 1:
        raise WrongTensor(f"inputs: expected {model.input.name!r} alone, found {len(request.inputs)} tensors")
    given = request.inputs[0]
    if given.name != model.input.name:
        raise WrongTensor(f"inputs[0].name: expected {model.input.name!r}, found {given.name[:80]!r}; rename it")
    if given.datatype != FP32:
        raise WrongTensor(
            f"inputs[0].datatype: expected FP32, found {given.datatype[:20]!r}; cast it before it is sent"
        )
    if "shared_memory_region" in given.parameters:
        raise WrongTensor("inputs[0]: expected its contents in the request, found a shared_memory_region; send them")
    rows = _rows(list(given.shape), model)
    return rows, _contents(request, rows, model.columns)


def timeout_ns(request: ModelInferRequest) -> int:
    """How long the caller is ready to wait: the parameter `timeout`, which is in microseconds; 0 where it sets none.

    WrongValue for one that is negative or no integer.
    """
    if "timeout" not in request.parameters:
        return 0
    given = request.parameters["timeout"]
    kind = given.WhichOneof("parameter_choice")
    if kind not in ("int64_param", "uint64_param") or getattr(given, kind) < 0:
        found = getattr(given, kind) if kind else "nothing"
        raise WrongValue(f"parameters.timeout: expected microseconds as an integer of 0 or more, found {found!r}")
    return int(getattr(given, kind)) * _NS_PER_US


def _check_outputs(request: ModelInferRequest, model: Model) -> None:
    for at, wanted in enumerate(request.outputs):
        if wanted.name != model.output.name or at:
            raise WrongTensor(
                f"outputs[{at}]: expected {model.output.name!r} once, or none, found {wanted.name[:80]!r}"
            )
        for parameter in _ELSEWHERE:
            if parameter in wanted.parameters:
                raise WrongTensor(f"outputs[{at}].parameters: expected none, found {parameter!r}; scores come as FP32")


def _rows(shape: list[int], model: Model) -> int:
    wanted = model.input.shape[0]
    if len(shape) != 2 or shape[1] != model.columns or shape[0] < 1 or (isinstance(wanted, int) and shape[0] != wanted):
        first = wanted if isinstance(wanted, int) else "n"
        raise WrongShape(f"inputs[0].shape: expected [{first}, {model.columns}] of at least one row, found {shape}")
    if shape[0] > MAX_ROWS:
        raise WrongShape(f"inputs[0].shape: expected at most {MAX_ROWS} rows, found {shape[0]}; ask in parts")
    return shape[0]


def _contents(request: ModelInferRequest, rows: int, columns: int) -> bytes:
    typed = request.inputs[0].contents
    given = [field.name for field, _ in typed.ListFields()]
    if given and request.raw_input_contents:
        raise MalformedRequest(f"expected raw_input_contents or contents, found both (contents.{given[0]}); send one")
    if given:
        return _typed(typed.fp32_contents, given, rows * columns)
    if len(request.raw_input_contents) != 1:
        found = len(request.raw_input_contents)
        raise MalformedRequest(f"raw_input_contents: expected one, as there is one input, found {found}")
    raw = request.raw_input_contents[0]
    size = rows * columns * _FLOAT_BYTES
    if len(raw) != size:
        raise WrongShape(
            f"raw_input_contents[0]: expected {size} bytes ({rows} rows of {columns} float32), found {len(raw)}"
        )
    return raw


def _typed(values: object, given: list[str], count: int) -> bytes:
    if given != ["fp32_contents"]:
        raise WrongTensor(f"inputs[0].contents: expected fp32_contents alone, found {', '.join(given)}")
    elements = np.asarray(values, "<f4")
    if len(elements) != count:
        raise WrongShape(f"inputs[0].contents.fp32_contents: expected {count} elements, found {len(elements)}")
    return elements.tobytes()
