"""From a release's digest to a model that answers: verified, proven and warm, or refused by name."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from promotion.home import Home
from promotion.identity import Principal
from promotion.release.manifest import Manifest
from promotion.release.open import open_release
from serving.runtime.allowance import Allowance
from serving.runtime.backend import Backend, Model
from serving.runtime.onnx_backend import OnnxBackend
from serving.runtime.warm_up import warm_up


def load(home: Home, digest: str, *, environment: str, principals: Mapping[str, Principal]) -> Model:
    """Verifies, opens, proves and warms release `digest`. Raises ReleaseRefused, which names what is at fault.

    Blocks, and holds the interpreter for milliseconds while the session is made: a loop calls it in a thread.
    """
    release = open_release(home, digest, environment=environment, principals=principals)
    backend = OnnxBackend(release.session, release.manifest.inputs[0].name, release.manifest.outputs[0].name)
    return warm_up(as_model(release.digest, release.manifest, backend))


def as_model(digest: str, manifest: Manifest, backend: Backend) -> Model:
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
        input=manifest.inputs[0],
        output=manifest.outputs[0],
    )
