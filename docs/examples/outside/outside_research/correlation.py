"""A trainer of one's own: every feature weighs by its correlation with the target.

What a trainer has to say: how it answers, how that looks in ONNX, where it jumps, and how it is written and read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from training.trainer import Fragment, Parameters, Rows, choose


@dataclass(frozen=True)
class CorrelationModel:
    """score = features · weights."""

    weights: NDArray[np.float64]

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 [n] for float32 [n, F]."""
        return np.asarray((features.astype(np.float64) * self.weights).sum(axis=1))

    def fragment(self) -> Fragment:
        """One product."""
        weights = numpy_helper.from_array(self.weights.astype(np.float32)[:, None], "weights")
        return Fragment((helper.make_node("MatMul", ["features", "weights"], ["raw"], name="product"),), (weights,))

    def thresholds(self) -> dict[int, NDArray[np.float64]]:
        """It never jumps."""
        return {}

    def native(self) -> bytes:
        """JSON: floats written so that they read back the same."""
        return json.dumps([weight.hex() for weight in self.weights.tolist()]).encode()


class CorrelationTrainer:
    """Weights: correlation with the target, over the feature's own spread. `shrink` pulls them to 0, from 0 to 1."""

    def fit(self, rows: Rows, parameters: Parameters, *, seed: int) -> CorrelationModel:
        """The closed form; there is no chance in it, so `seed` has nothing to act on."""
        shrink = float(choose(parameters, {"shrink": 0.0}, "correlation")["shrink"])
        features = rows.features.astype(np.float64)
        centred = features - features.mean(axis=0)
        spread = np.where(centred.std(axis=0) > 0, centred.std(axis=0), np.inf)
        target = (rows.targets - rows.targets.mean()) / rows.targets.std()
        correlation = (centred / spread * target[:, None]).mean(axis=0)
        return CorrelationModel((1 - shrink) * correlation / spread)

    def load(self, native: bytes) -> CorrelationModel:
        """The model that said `native`."""
        return CorrelationModel(np.array([float.fromhex(weight) for weight in json.loads(native)]))
