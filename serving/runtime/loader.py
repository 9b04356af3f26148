"""From a release's digest to a model that answers: verified, proven and warm, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnxruntime

from promotion.errors import ModelRefused
from promotion.home import Home
from promotion.identity import Principal
from promotion.release.manifest import Manifest, Tensor
from promotion.release.open import open_release
from promotion.release.session import run
from serving.errors import ModelFailed
from serving.runtime.allowance import Allowance
from serving.runtime.backend import Model

Float32s = npt.NDArray[np.float32]

_WARM_UP_ROWS = (1, 2, 64)  # the runtime plans memory per batch size: the first caller does not pay for it


@dataclass(frozen=True, eq=False)
class OnnxBackend:
    """An ONNX Runtime session: one thread, no spinning. The release's other files are let go of."""

    session: onnxruntime.InferenceSession
    inputs: Tensor
    outputs: Tensor

    def predict(self, rows: Float32s) -> Float32s:
        """See Backend.predict."""
        try:
            return run(self.session, self.inputs, self.outputs, rows)
        except ModelRefused as error:
            raise ModelFailed(str(error)) from error


def load(home: Home, digest: str, *, environment: str, principals: Mapping[str, Principal]) -> Model:
    """Verifies, opens, proves and warms release `digest`. Raises ReleaseRefused, which names what is at fault.

    Blocks, and holds the interpreter for milliseconds while the session is made: a loop calls it in a thread.
    """
    release = open_release(home, digest, environment=environment, principals=principals)
    backend = OnnxBackend(release.session, release.manifest.inputs[0], release.manifest.outputs[0])
    model = as_model(release.digest, release.manifest, backend)
    for n in _WARM_UP_ROWS:
        backend.predict(np.zeros((n, model.columns), np.float32))
    return model


def as_model(digest: str, manifest: Manifest, backend: OnnxBackend) -> Model:
    """`backend` with what its release's manifest says about it."""
    return Model(
        digest=digest,
        feature_set_id=bytes.fromhex(manifest.feature_set_id),
        features=manifest.feature_names,
        takes_nan=np.array([column.nan_ok for column in manifest.features]),
        backend=backend,
        max_abs_score=float(manifest.limits["max_abs_score"]),
        max_weight=manifest.max_weight,
        allowance=Allowance(float(manifest.limits["max_scores_per_second"])),
        input=backend.inputs,
        output=backend.outputs,
    )
