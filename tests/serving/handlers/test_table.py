"""The table of a worker: every method that the protos of the data plane declare, of the kind that they declare."""

from __future__ import annotations

from typing import Any

from grpc_health.v1 import health_pb2

from protos.inference import open_inference_pb2
from protos.signalbox.v1 import scorer_pb2
from serving.transport.methods import Streaming, Unary

SERVICES = (
    scorer_pb2.DESCRIPTOR.services_by_name["Scorer"],
    open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
    health_pb2.DESCRIPTOR.services_by_name["Health"],
)


async def test_every_declared_method_is_served_and_no_other(world: Any) -> None:
    declared = {
        f"/{service.full_name}/{method.name}": Streaming if method.server_streaming else Unary
        for service in SERVICES
        for method in service.methods
    }
    assert {path: type(method) for path, method in world.methods.items()} == declared
