"""`inference.GRPCInferenceService`: the Open Inference Protocol v2, and Triton's ModelConfig, over the same signals.

A model is a signal, its version the signal's generation, its tensors those of the live release's model file.

    live    this worker takes requests
    ready   server: what health checks say of the worker as a whole; model: it can answer with scores, that is, its
            live release is loaded and proven, and it is not halted
"""

from __future__ import annotations

from importlib.metadata import version

from promotion.release.manifest import Tensor
from protos.inference import open_inference_pb2 as oip
from serving.errors import ServingError
from serving.handlers.health import HealthBook
from serving.handlers.inference_wire import FP32, MAX_ROWS, WriteReply, check_version, read_features, timeout_ns
from serving.handlers.routes import Route
from serving.handlers.scorer import Scorer
from serving.handlers.wire import parse
from serving.runtime.backend import Model
from serving.runtime.lane import Caller
from serving.transport.call import Bytes, Call

SERVICE: str = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
PLATFORM = "onnx_onnxv1"  # the protocol's name for ONNX files (inference_grpc.md, "Platforms")
BACKEND = "onnxruntime"  # Triton's name for what runs them
EXTENSIONS = ("model_configuration",)
_NAME = "signalbox"
_VERSION = version(_NAME)
_VARIES = -1
_RAW = oip.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER


class Inference:
    """The handlers of the Open Inference Protocol. Lives as long as the worker.

    plans: requests recognised by their bytes (`serving.handlers.plan`).
    """

    def __init__(self, scorer: Scorer, book: HealthBook) -> None:
        self.plans = scorer.plans()
        self._scorer = scorer
        self._book = book

    def infer(self, call: Call, body: bytes) -> None:
        """Answers a `ModelInferRequest`."""
        self._scorer.counts.requests += 1
        plan = self.plans.find(body)
        if plan is not None:
            plan.form.take(call, body[plan.at :])
            return
        try:
            self._infer(call, body)
        except ServingError as error:
            self._scorer.refuse(call, error)

    def infer_all(self, calls: Caller, bodies: Bytes) -> bool:
        """Answers many calls: see Unary.answer_all."""
        return self._scorer.take_all(self.plans, calls, bodies)

    def server_live(self, body: bytes) -> bytes:
        """Answers a `ServerLiveRequest`."""
        parse(oip.ServerLiveRequest, body)
        return oip.ServerLiveResponse(live=not self._scorer.draining).SerializeToString()

    def server_ready(self, body: bytes) -> bytes:
        """Answers a `ServerReadyRequest`."""
        parse(oip.ServerReadyRequest, body)
        return oip.ServerReadyResponse(ready=self._book.serving("")).SerializeToString()

    def model_ready(self, body: bytes) -> bytes:
        """Answers a `ModelReadyRequest`. UnknownSignal or UnknownGeneration for what there is none of."""
        request = parse(oip.ModelReadyRequest, body)
        route = self._route(request.name, request.version)
        return oip.ModelReadyResponse(ready=route.live in route.models and not route.halted).SerializeToString()

    def server_metadata(self, body: bytes) -> bytes:
        """Answers a `ServerMetadataRequest`."""
        parse(oip.ServerMetadataRequest, body)
        reply = oip.ServerMetadataResponse(name=_NAME, version=_VERSION, extensions=EXTENSIONS)
        return reply.SerializeToString()

    def model_metadata(self, body: bytes) -> bytes:
        """Answers a `ModelMetadataRequest`. As model_ready, and NoLiveRelease where no release has tensors."""
        request = parse(oip.ModelMetadataRequest, body)
        route = self._route(request.name, request.version)
        model = route.model("")
        reply = oip.ModelMetadataResponse(name=route.signal, versions=[str(route.generation)], platform=PLATFORM)
        reply.inputs.add(name=model.input.name, datatype=FP32, shape=_dims(model.input))
        reply.outputs.add(name=model.output.name, datatype=FP32, shape=_dims(model.output))
        return reply.SerializeToString()

    def model_config(self, body: bytes) -> bytes:
        """Answers a `ModelConfigRequest`. As model_metadata."""
        request = parse(oip.ModelConfigRequest, body)
        route = self._route(request.name, request.version)
        reply = oip.ModelConfigResponse(config=_config(route, route.model("")))
        return reply.SerializeToString()

    def _infer(self, call: Call, body: bytes) -> None:
        request = parse(oip.ModelInferRequest, body)
        route = self._route(request.model_name, request.model_version)
        model = route.model("")
        rows, features = read_features(request, model)
        timeout = timeout_ns(request)
        if timeout:
            call.deadline_ns = min(call.deadline_ns, call.began_ns + timeout)
        form = self._scorer.form(route, model, rows, WriteReply(route.signal, request.id, model.output))
        if not (request.id or timeout):  # an id differs from call to call, and a form knows no deadline
            self.plans.learn(oip.ModelInferRequest, _RAW, body, features, form)
        form.take(call, features)

    def _route(self, name: str, version: str) -> Route:
        route = self._scorer.route(name)
        check_version(version, route)
        return route


def _dims(tensor: Tensor) -> list[int]:
    """A shape as the protocol has it: −1 for a length that varies."""
    return [length if isinstance(length, int) else _VARIES for length in tensor.shape]


def _config(route: Route, model: Model) -> oip.ModelConfig:
    """Triton's configuration of a model: its dimensions are without the rows', unless the file fixes their number."""
    config = oip.ModelConfig(name=route.signal, platform=PLATFORM, backend=BACKEND)
    taken = config.input.add(name=model.input.name, data_type=oip.TYPE_FP32, dims=_dims(model.input))
    given = config.output.add(name=model.output.name, data_type=oip.TYPE_FP32, dims=_dims(model.output))
    if isinstance(model.input.shape[0], str):
        config.max_batch_size = MAX_ROWS
        del taken.dims[0]
        del given.dims[0]
    if not given.dims:  # Triton has no tensor without dimensions: it writes [1], reshaped to none
        given.dims.append(1)
        given.reshape.SetInParent()
    return config
