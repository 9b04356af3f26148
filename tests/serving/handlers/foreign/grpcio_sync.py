"""grpcio's blocking client in a process of its own: `grpcio_sync.py ADDRESS`. Asserts; else says nothing."""

from __future__ import annotations

import sys
from typing import Any

import grpc
import numpy as np

from protos.signalbox.v1 import scorer_pb2


def method(channel: grpc.Channel, name: str, *, service: str = "signalbox.v1.Scorer") -> Any:
    return channel.unary_unary(f"/{service}/{name}")


def refusal(call: Any, body: bytes, **more: Any) -> Any:
    try:
        call(body, **more)
    except grpc.RpcError as refused:
        return refused
    raise AssertionError("it was answered")


def main(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        rows = np.array([[1, 2], [3, 4]], "<f4").tobytes()
        asked = scorer_pb2.ScoreRequest(signal="large_caps", features=rows).SerializeToString()
        score = method(channel, "Score")
        for _ in range(3):
            reply = scorer_pb2.ScoreReply.FromString(score(asked, timeout=10))
            assert np.frombuffer(reply.scores, "<f4").tolist() == [21, 43]
        described = scorer_pb2.DescribeReply.FromString(method(channel, "Describe")(b"", timeout=10))
        assert [each.signal for each in described.signals] == ["large_caps"]

        unknown = refusal(score, scorer_pb2.ScoreRequest(signal="small_caps").SerializeToString(), timeout=10)
        assert unknown.code() is grpc.StatusCode.NOT_FOUND
        assert dict(unknown.trailing_metadata())["signalbox-retry"] == "0"
        nowhere = refusal(method(channel, "Guess"), asked, timeout=10)
        assert nowhere.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "/signalbox.v1.Scorer/Guess" in nowhere.details(), nowhere.details()
        assert refusal(score, b"\xff", timeout=10).code() is grpc.StatusCode.INVALID_ARGUMENT


if __name__ == "__main__":
    main(sys.argv[1])
