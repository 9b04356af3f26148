"""Many requests at once with tritonclient's asyncio client: `python triton_client_async.py HOST:PORT SIGNAL`.

Signalbox scores together what arrives together, so a client that asks for several things at once need not wait for one
answer before it sends the next question.
"""
# ruff: noqa: T201 - a script prints what it found

from __future__ import annotations

import asyncio
import sys

import numpy as np
import tritonclient.grpc.aio as triton

REQUESTS = 64


async def main(address: str, signal: str) -> None:
    """Asks the worker at `address` for scores of REQUESTS rows, each in a request of its own."""
    async with triton.InferenceServerClient(address) as client:
        metadata = await client.get_model_metadata(signal)
        (given,), (wanted,) = metadata.inputs, metadata.outputs
        rows = np.random.default_rng(7).normal(size=(REQUESTS, given.shape[1])).astype(np.float32)

        async def score(row: np.ndarray) -> float:
            features = triton.InferInput(given.name, [1, len(row)], given.datatype)
            features.set_data_from_numpy(row[None])
            result = await client.infer(signal, [features], client_timeout=1.0)
            return float(result.as_numpy(wanted.name).ravel()[0])

        scores = await asyncio.gather(*map(score, rows))
        print(len(scores), "scores", scores[:5])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
