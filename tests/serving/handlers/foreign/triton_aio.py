"""tritonclient's asyncio client in a process of its own: `triton_aio.py ADDRESS`. Asserts; else says nothing."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException


async def score(client: Any, row: Any) -> float:
    given = triton.InferInput("features", [1, 2], "FP32")
    given.set_data_from_numpy(row[None])
    result = await client.infer("large_caps", [given], client_timeout=10.0)
    return float(result.as_numpy("variable")[0, 0])


async def main(address: str) -> None:
    async with triton.InferenceServerClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_model_ready("large_caps")
        rows = np.random.default_rng(7).normal(size=(200, 2)).astype(np.float32)
        scores = await asyncio.gather(*(score(client, row) for row in rows))
        expected = rows[:, 0] + np.float32(10) * rows[:, 1]
        assert scores == expected.tolist()
        try:
            await score(client, np.array([np.nan, 1], np.float32))
        except InferenceServerException as refused:
            assert refused.status() == "StatusCode.INVALID_ARGUMENT", refused  # noqa: PT017 - a script, not a test
            assert "features[0].x" in refused.message(), refused  # noqa: PT017 - as above
        else:
            raise AssertionError("a missing value was taken")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
