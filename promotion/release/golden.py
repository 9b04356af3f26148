"""Golden rows: features and the scores that the release's model gave for them where it was made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from promotion.errors import GoldenRowsDiffer, ModelRefused
from promotion.release.arrays import from_npz, to_npz
from promotion.release.manifest import Manifest
from promotion.release.onnx_rules import check_model
from promotion.release.session import make_session, run

Matrix = NDArray[np.float32]
PATH = "golden.npz"


def make_golden(model: bytes, features: Matrix) -> bytes:
    """`golden.npz` of ONNX bytes `model` over `features` float32 [n, F]: what a release carries.

    ModelRefused when a golden score is not finite: choose rows that the model has a score for.
    """
    (inputs,), (outputs,) = check_model(model)
    scores = run(make_session(model), inputs, outputs, features)
    if not np.isfinite(scores).all():
        raise ModelRefused(
            f"{PATH}: expected finite scores for the golden rows, found {scores[~np.isfinite(scores)][:3]}"
        )
    return to_npz({"features": features, "scores": scores})


def read_golden(data: bytes, columns: int) -> tuple[Matrix, Matrix]:
    """(features float32 [n, F], scores float32 [n]) of `golden.npz`; at least one row."""
    arrays = from_npz(data, path=PATH)
    features, scores = arrays.get("features"), arrays.get("scores")
    if features is None or scores is None or features.ndim != 2 or scores.shape != features.shape[:1]:
        raise ModelRefused(f"{PATH}: expected `features` [n, {columns}] and `scores` [n], found {sorted(arrays)}")
    if features.dtype != np.float32 or scores.dtype != np.float32 or features.shape[1] != columns or not len(scores):
        raise ModelRefused(
            f"{PATH}: expected float32 rows of {columns} features, found {features.dtype} {features.shape}"
        )
    return features, scores


def check_golden(manifest: Manifest, expected: Matrix, found: Matrix, *, runtime: str) -> float:
    """The largest absolute difference. GoldenRowsDiffer when it is beyond what `manifest` allows for `runtime`.

    Bit-equal under the runtime fingerprint that the release was made with, else within its golden tolerance.
    """
    if np.array_equal(expected.view(np.uint32), np.ascontiguousarray(found).view(np.uint32)):
        return 0.0
    difference = float(np.max(np.abs(expected.astype(np.float64) - found.astype(np.float64))))
    same_runtime = runtime == manifest.fingerprints.runtime
    allowed = 0.0 if same_runtime else float(manifest.golden_tolerance)
    if not difference <= allowed or (same_runtime and difference == 0.0):
        raise GoldenRowsDiffer(
            f"{PATH}: expected scores within {allowed} of those recorded "
            f"({'the same' if same_runtime else 'another'} runtime), found a difference of {difference}; "
            "this machine must not serve the release: use the locked environment"
        )
    return difference
