"""ONNX Runtime behind the `Backend` protocol (design D3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from promotion.release.runtime import onnxruntime
from promotion.release.session import RUNTIME_ERRORS
from serving.errors import ModelFailed

Float32s = npt.NDArray[np.float32]

_FLOAT32 = np.dtype(np.float32)


class OnnxBackend:
    """A session made by `promotion.release.session`: one thread, no spinning. Lives as long as its model.

    input_name, output_name: the tensors that hold float32 rows [n, feature] and their scores, [n] or [n, 1].
    """

    def __init__(self, session: onnxruntime.InferenceSession, input_name: str, output_name: str) -> None:
        self.session = session
        self._input_name = input_name
        self._output_names = [output_name]
        # `InferenceSession.run` looks the input's name up in a list and then calls this object's `run` of the same
        # arguments: a microsecond in five for one row. Without it (it has no public name) the session does as well.
        self._run = getattr(session, "_sess", session).run

    def predict(self, rows: Float32s) -> Float32s:
        """See Backend.predict."""
        try:
            scores = self._run(self._output_names, {self._input_name: rows}, None)[0]
        except RUNTIME_ERRORS as error:
            raise ModelFailed(
                f"model.onnx: expected rows that it takes, found float32 of shape {rows.shape}: {error}"
            ) from error
        if scores.dtype != _FLOAT32 or scores.size != len(rows):
            raise ModelFailed(
                f"model.onnx: expected {len(rows)} float32 scores, found {scores.dtype} of shape {scores.shape}"
            )
        flat: Float32s = scores.reshape(-1)
        return flat
