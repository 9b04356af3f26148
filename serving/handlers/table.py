"""Every method of the data plane, by path: what a worker hands to its transport."""

from __future__ import annotations

from collections.abc import Callable

from protos.signalbox.v1 import scorer_pb2
from serving.errors import ServingError
from serving.handlers import health, inference
from serving.handlers.health import HealthBook
from serving.handlers.inference import Inference
from serving.handlers.scorer import Scorer
from serving.transport.call import Call
from serving.transport.methods import Methods, Streaming, Unary

SCORER: str = scorer_pb2.DESCRIPTOR.services_by_name["Scorer"].full_name


def data_plane(scorer: Scorer, book: HealthBook) -> Methods:
    """The methods of a worker that has these handlers."""
    models = Inference(scorer, book)
    return {
        f"/{SCORER}/Score": Unary(scorer.score, scorer.score_all),
        f"/{SCORER}/Subscribe": Streaming(scorer.subscribe),
        f"/{SCORER}/Describe": answering(scorer, scorer.describe),
        f"/{inference.SERVICE}/ModelInfer": Unary(models.infer, models.infer_all),
        f"/{inference.SERVICE}/ServerLive": answering(scorer, models.server_live),
        f"/{inference.SERVICE}/ServerReady": answering(scorer, models.server_ready),
        f"/{inference.SERVICE}/ModelReady": answering(scorer, models.model_ready),
        f"/{inference.SERVICE}/ServerMetadata": answering(scorer, models.server_metadata),
        f"/{inference.SERVICE}/ModelMetadata": answering(scorer, models.model_metadata),
        f"/{inference.SERVICE}/ModelConfig": answering(scorer, models.model_config),
        f"/{health.SERVICE}/Check": answering(scorer, book.check),
        f"/{health.SERVICE}/Watch": Streaming(book.watch),
    }


def answering(scorer: Scorer, reply: Callable[[bytes], bytes]) -> Unary:
    """The method whose answer is known at once; what it refuses is counted like any other refusal."""

    def answer(call: Call, body: bytes) -> None:
        try:
            call.answer(reply(body))
        except ServingError as error:
            scorer.refuse(call, error)

    return Unary(answer)
