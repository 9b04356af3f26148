"""From verified bytes to an ONNX Runtime session, and what this machine's runtime computes.

One thread, no spinning, from bytes and never from a path (design D3, D8).
"""

from __future__ import annotations

import platform

import numpy as np
from numpy.typing import NDArray

from features.canonical import identity
from promotion.errors import ModelRefused
from promotion.release.manifest import Tensor
from promotion.release.runtime import onnxruntime

Matrix = NDArray[np.float32]
_SEVERE = 4  # the runtime's own messages: only what ends the process; what it refuses comes as an exception


def make_session(model: bytes) -> onnxruntime.InferenceSession:
    """A session over `model` on one CPU thread. Creating it holds the GIL; ModelRefused when the runtime will not."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _SEVERE
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except RUNTIME_ERRORS as error:
        raise ModelRefused(f"model.onnx: expected a model that ONNX Runtime loads, found: {error}") from error


def run(session: onnxruntime.InferenceSession, inputs: Tensor, outputs: Tensor, features: Matrix) -> Matrix:
    """Scores float32 [n] of `features` float32 [n, F]. A NaN or infinite score is returned as it is."""
    try:
        (scores,) = session.run([outputs.name], {inputs.name: features})
    except RUNTIME_ERRORS as error:
        raise ModelRefused(
            f"model.onnx: expected scores of float32 {inputs.shape}, found shape {features.shape}: {error}"
        ) from error
    if scores.dtype != np.float32 or scores.size != len(features):
        raise ModelRefused(
            f"model.onnx: expected {len(features)} float32 scores, found {scores.dtype} of shape {scores.shape}"
        )
    flat: Matrix = scores.reshape(-1)
    return flat


def runtime_fingerprint() -> str:
    """64 hex digits: the runtime, its build and the CPU features its kernels may choose by. Equal means equal bits."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    return identity(
        {
            "runtime": f"onnxruntime {onnxruntime.__version__}",
            "build": onnxruntime.get_build_info(),
            "architecture": platform.machine(),
            "cpu_features": [*simd.get("baseline", ()), *simd.get("found", ())],
        }
    )


def _runtime_errors() -> tuple[type[Exception], ...]:
    states = onnxruntime.capi.onnxruntime_pybind11_state
    named = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    own = (*named, "RuntimeException", "EPFail", "ModelLoaded", "NoModel", "EngineError")
    return (*(getattr(states, name) for name in own), RuntimeError, ValueError, TypeError)


RUNTIME_ERRORS = _runtime_errors()  # ONNX Runtime's exceptions share no base but Exception
