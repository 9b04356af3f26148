"""KServe's client in an environment of its own: `kserve_client.py ADDRESS`. Asserts; else says nothing."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferOutput, InferRequest


def request(rows: Any, *, name: str = "large_caps", raw: bool = True, **more: Any) -> InferRequest:
    given = InferInput("features", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows, binary_data=raw)
    return InferRequest(model_name=name, infer_inputs=[given], **more)


async def scores(client: Any, rows: Any, **more: Any) -> list[float]:
    reply = await client.infer(request(rows, **more))
    (found,) = reply.outputs
    assert (found.name, found.datatype, list(found.shape)) == ("variable", "FP32", [len(rows), 1])
    said = reply.parameters  # the weight is a double, which KServe's proto has no parameter for
    assert (said["posture"].string_param, said["generation"].int64_param) == ("NORMAL", 7), said
    return list(found.as_numpy()[:, 0].tolist())


async def what_it_answers(client: Any) -> None:
    rows = np.random.default_rng(7).normal(size=(200, 2)).astype(np.float32)
    expected = (rows[:, 0] + np.float32(10) * rows[:, 1]).tolist()
    assert await scores(client, rows) == expected
    assert await scores(client, rows, raw=False) == expected
    each = await asyncio.gather(*(scores(client, row[None], request_id=str(at)) for at, row in enumerate(rows)))
    assert [one for (one,) in each] == expected
    wanted = [InferOutput("variable", [1, 1], "FP32")]
    assert await scores(client, rows[:1], request_outputs=wanted) == expected[:1]


async def what_it_refuses(client: Any) -> None:
    for wrong, code, words in (
        (request(np.ones((1, 2), np.float32), name="small_caps"), grpc.StatusCode.NOT_FOUND, "'small_caps'"),
        (request(np.ones((1, 3), np.float32)), grpc.StatusCode.INVALID_ARGUMENT, "inputs[0].shape: expected [n, 2]"),
        (request(np.array([[np.nan, 1]], np.float32)), grpc.StatusCode.INVALID_ARGUMENT, "features[0].x: expected"),
        (request(np.full((1, 2), 600, np.float32)), grpc.StatusCode.FAILED_PRECONDITION, "variable[0]: expected"),
    ):
        try:
            await client.infer(wrong)
        except grpc.RpcError as refused:
            assert refused.code() is code, refused  # noqa: PT017 - a script, not a test
            assert words in refused.details(), refused  # noqa: PT017 - as above
        else:
            raise AssertionError(f"{wrong} was answered")


async def main(address: str) -> None:
    async with InferenceGRPCClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("large_caps")
        await what_it_answers(client)
        await what_it_refuses(client)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
