"""tritonclient, blocking, in a process of its own: `triton_sync.py ADDRESS`. Asserts; says nothing when all is well."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

ROWS = np.array([[1, 2], [3, 4]], np.float32)


def tensor(rows: Any = ROWS, *, name: str = "features") -> triton.InferInput:
    given = triton.InferInput(name, rows.shape, "FP32")
    given.set_data_from_numpy(rows)
    return given


def refusal(client: Any, *args: Any, **more: Any) -> tuple[str, str]:
    try:
        client.infer(*args, **more)
    except InferenceServerException as refused:
        return refused.status(), refused.message()
    raise AssertionError(f"{args} was answered")


def what_the_server_says(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("large_caps")
    assert client.is_model_ready("large_caps", "7")
    assert client.get_server_metadata(as_json=True)["extensions"] == ["model_configuration"]
    metadata = client.get_model_metadata("large_caps", as_json=True)
    assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": ["-1", "2"]}], metadata
    config = client.get_model_config("large_caps", as_json=True)["config"]
    assert config["output"] == [{"name": "variable", "data_type": "TYPE_FP32", "dims": ["1"]}], config


def what_it_answers(client: Any) -> None:
    wanted = triton.InferRequestedOutput("variable")
    plain = client.infer("large_caps", [tensor()])
    assert plain.as_numpy("variable").tolist() == [[21.0], [43.0]]
    said = plain.get_response().parameters
    assert (said["posture"].string_param, said["weight"].double_param) == ("NORMAL", 0.5)
    assert (said["generation"].int64_param, said["release"].string_param) == (7, "11" * 32)
    more: list[dict[str, Any]] = [
        {"outputs": [wanted], "request_id": "a", "model_version": "7"},
        {"priority": 1, "timeout": 10_000_000, "parameters": {"desk": "x", "n": 3, "ok": True}},
        {"compression_algorithm": "gzip", "headers": {"traceparent": "00-1-2-01"}, "client_timeout": 10.0},
        {"sequence_id": 5, "sequence_start": True},
    ]
    for each in more:
        for _ in range(2):
            result = client.infer("large_caps", [tensor()], **each)
            assert result.as_numpy("variable").tolist() == [[21.0], [43.0]], each
            assert result.get_response().id == each.get("request_id", "")


def what_comes_by_callback(client: Any) -> None:
    done = threading.Event()
    found: list[Any] = []

    def callback(result: Any, error: Any) -> None:
        found.append(error or result.as_numpy("variable").tolist())
        done.set()

    client.async_infer("large_caps", [tensor()], callback)
    assert done.wait(10)
    assert found == [[[21.0], [43.0]]], found


def what_it_refuses(client: Any) -> None:
    assert refusal(client, "small_caps", [tensor()])[0] == "StatusCode.NOT_FOUND"
    assert refusal(client, "large_caps", [tensor()], "6")[0] == "StatusCode.NOT_FOUND"
    for given in (
        tensor(name="rows"),
        tensor(np.ones((1, 3), np.float32)),
        tensor(np.array([[np.inf, 1]], np.float32)),
    ):
        status, message = refusal(client, "large_caps", [given])
        assert status == "StatusCode.INVALID_ARGUMENT", (status, message)
        assert "expected" in message
        assert "found" in message
    status, message = refusal(client, "large_caps", [tensor(np.array([[1, 1], [600, 600]], np.float32))])
    assert (status, message[:11]) == ("StatusCode.FAILED_PRECONDITION", "variable[1]"), message
    assert refusal(client, "large_caps", [tensor()], timeout=1)[0] == "StatusCode.DEADLINE_EXCEEDED"  # µs
    try:
        client.get_inference_statistics()
    except InferenceServerException as refused:
        assert refused.status() == "StatusCode.UNIMPLEMENTED"  # noqa: PT017 - a script, not a test
    else:
        raise AssertionError("statistics came from nowhere")


if __name__ == "__main__":
    with triton.InferenceServerClient(sys.argv[1]) as its_client:
        for part in (what_the_server_says, what_it_answers, what_comes_by_callback, what_it_refuses):
            part(its_client)
