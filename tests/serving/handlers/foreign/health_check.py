"""grpc_health's stub in a process of its own: `health_check.py ADDRESS`. A line for each state that it is told."""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

States = health_pb2.HealthCheckResponse.ServingStatus


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def check(stub: health_pb2_grpc.HealthStub, service: str) -> str:
    try:
        reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
    except grpc.RpcError as refused:
        return str(refused.code().name)
    return States.Name(reply.status)


def main(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        say(f"checked {check(stub, '')} {check(stub, 'large_caps')} {check(stub, 'small_caps')}")
        for reply in stub.Watch(health_pb2.HealthCheckRequest(service="large_caps"), timeout=30):
            say(f"watched {States.Name(reply.status)}")
        say("over")


if __name__ == "__main__":
    main(sys.argv[1])
