"""Scores from Signalbox with an unmodified tritonclient: `python triton_client.py HOST:PORT SIGNAL`.

To Triton's client a signal is a model and its generation the model's version. What a score is worth (posture, capital
weight, generation, release) comes back in the reply's parameters: a score without them is no basis for a trade.
"""
# ruff: noqa: T201 - a script prints what it found

from __future__ import annotations

import sys

import numpy as np
import tritonclient.grpc as triton


def main(address: str, signal: str) -> None:
    """Asks the worker at `address` about `signal`."""
    with triton.InferenceServerClient(address) as client:
        print("live", client.is_server_live(), "ready", client.is_model_ready(signal))

        # The tensors are those of the live release's model file.
        metadata = client.get_model_metadata(signal)
        (given,), (wanted,) = metadata.inputs, metadata.outputs
        most = client.get_model_config(signal).config.max_batch_size
        print(f"{signal} generation {metadata.versions[0]}: {given.name} {list(given.shape)} -> {wanted.name}")
        print(f"at most {most} rows a request")

        # One row an instrument, features in the order that `Describe` gives.
        rows = np.random.default_rng(7).normal(size=(5, given.shape[1])).astype(np.float32)
        features = triton.InferInput(given.name, rows.shape, given.datatype)
        features.set_data_from_numpy(rows)
        result = client.infer(signal, [features], request_id="monday", client_timeout=1.0)
        print("scores", result.as_numpy(wanted.name).ravel().tolist())

        reply = result.get_response()
        said = reply.parameters
        print("posture", said["posture"].string_param, "weight", said["weight"].double_param)
        print("generation", said["generation"].int64_param, "release", said["release"].string_param[:12])

        # What cannot be answered is refused by name.
        try:
            client.infer(signal, [features], model_version="0")
        except triton.InferenceServerException as refused:
            print(refused.status(), refused.message())


if __name__ == "__main__":
    main(*sys.argv[1:])
