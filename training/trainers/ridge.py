"""Ridge regression on standardised features: the baseline that every model must beat."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from features.canonical import canonical_json, decimal
from training.errors import TrainerError
from training.trainer import Fragment, Parameters, Rows, choose

DEFAULTS: Parameters = {"penalty": 1000.0}


@dataclass(frozen=True)
class RidgeModel:
    """score = features · slopes + intercept, in the features' own units."""

    slopes: NDArray[np.float64]  # [F]
    intercept: float

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 [n]; a row with NaN is answered NaN."""
        # a sum over the last axis: the answer for a row does not depend on the rows beside it, as a BLAS product's may
        return np.asarray((features.astype(np.float64) * self.slopes).sum(axis=1) + self.intercept)

    def fragment(self) -> Fragment:
        """One product and one sum in float32."""
        slopes = numpy_helper.from_array(self.slopes.astype(np.float32)[:, None], "slopes")
        intercept = numpy_helper.from_array(np.array([self.intercept], dtype=np.float32), "intercept")
        nodes = (
            helper.make_node("MatMul", ["features", "slopes"], ["product"], name="product"),
            helper.make_node("Add", ["product", "intercept"], ["raw"], name="sum"),
        )
        return Fragment(nodes, (slopes, intercept))

    def thresholds(self) -> Mapping[int, NDArray[np.float64]]:
        """A line never jumps."""
        return {}

    def native(self) -> bytes:
        """Canonical JSON of slopes and intercept."""
        return canonical_json({"slopes": [decimal(s) for s in self.slopes], "intercept": decimal(self.intercept)})


class RidgeTrainer:
    """Least squares with an L2 penalty on the slopes of standardised features; the intercept is not penalised.

    `penalty` is in rows: it weighs like so many rows of unit variance. A constant feature gets slope 0.
    """

    def fit(self, rows: Rows, parameters: Parameters, *, seed: int) -> RidgeModel:
        """The closed form; `seed` has nothing to act on."""
        penalty = float(choose(parameters, DEFAULTS, "ridge")["penalty"])
        if not penalty > 0 or len(rows.targets) == 0:
            raise TrainerError(f"expected a penalty above 0 and some rows, found {penalty} and {len(rows.targets)}")
        features = rows.features.astype(np.float64)
        mean, deviation = features.mean(axis=0), features.std(axis=0)
        scale = np.where(deviation > 0, deviation, np.inf)  # a constant feature is scaled away
        standard = (features - mean) / scale
        # einsum, not a BLAS product: its bits do not depend on how many threads a machine lends
        gram = np.einsum("ni,nj->ij", standard, standard) + penalty * np.eye(len(mean))
        moments = np.einsum("ni,n->i", standard, rows.targets - rows.targets.mean())
        slopes = np.linalg.solve(gram, moments) / scale
        return RidgeModel(slopes, float(rows.targets.mean() - mean @ slopes))

    def load(self, native: bytes) -> RidgeModel:
        """The model of `RidgeModel.native`."""
        stated = json.loads(native)
        return RidgeModel(np.array([float(slope) for slope in stated["slopes"]]), float(stated["intercept"]))
