"""grpcio's asyncio client in a process of its own: `grpcio_aio.py ADDRESS`. Asserts; else says nothing."""

from __future__ import annotations

import asyncio
import sys

import grpc
import numpy as np

from protos.signalbox.v1 import scorer_pb2


async def main(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        score = channel.unary_unary("/signalbox.v1.Scorer/Score")

        async def ask(row: np.ndarray) -> float:
            asked = scorer_pb2.ScoreRequest(signal="large_caps", features=row.tobytes()).SerializeToString()
            reply = scorer_pb2.ScoreReply.FromString(await score(asked, timeout=10))
            return float(np.frombuffer(reply.scores, "<f4")[0])

        rows = np.random.default_rng(7).normal(size=(200, 2)).astype("<f4")
        scores = await asyncio.gather(*map(ask, rows))
        assert scores == (rows[:, 0] + np.float32(10) * rows[:, 1]).tolist()

        subscribe = channel.unary_stream("/signalbox.v1.Scorer/Subscribe")
        subscription = subscribe(scorer_pb2.SubscribeRequest(signal="large_caps").SerializeToString())
        first = scorer_pb2.ScoreReply.FromString(await subscription.read())
        assert first.generation == 7
        subscription.cancel()
        unknown = subscribe(scorer_pb2.SubscribeRequest(signal="small_caps").SerializeToString())
        try:
            await unknown.read()
        except grpc.aio.AioRpcError as refused:
            assert refused.code() is grpc.StatusCode.NOT_FOUND  # noqa: PT017 - a script, not a test
        else:
            raise AssertionError("an unknown signal was subscribed to")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
