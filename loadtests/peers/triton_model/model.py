"""Triton's Python backend running ONNX Runtime: all requests of a batch are scored in one run.

Runs in Triton's stub process, in the peer's own environment; `triton_python_backend_utils` is the stub's.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance: a session with one thread that does not spin, the settings that Signalbox serves with."""

    def initialize(self, args: dict[str, str]) -> None:
        """Makes the session from the ONNX file beside this one."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name

    def execute(self, requests: list[Any]) -> list[Any]:
        """Scores every row of `requests`; one response a request."""
        parts = [pb_utils.get_input_tensor_by_name(request, self.input).as_numpy() for request in requests]
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        (scores,) = self.session.run([self.output], {self.input: rows})
        responses, start = [], 0
        for part in parts:
            tensor = pb_utils.Tensor(self.output, scores[start : start + len(part)])
            responses.append(pb_utils.InferenceResponse(output_tensors=[tensor]))
            start += len(part)
        return responses
