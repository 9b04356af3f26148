"""LightGBM: deterministic, one thread, so that the same rows give the same trees on every machine of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import NDArray

from training.errors import TrainerError
from training.trainer import Fragment, Parameters, Rows, choose
from training.trees import Tree, ensemble, read_trees, split_values

DEFAULTS: Parameters = {
    "trees": 80,
    "num_leaves": 8,
    "learning_rate": 0.05,
    "min_data_in_leaf": 500,
    "feature_fraction": 0.6,
    "bagging_fraction": 0.6,
    "lambda_l2": 10.0,
}
FIXED: Parameters = {
    "objective": "regression",
    "bagging_freq": 1,
    "deterministic": True,
    "force_row_wise": True,  # column-wise sums would come in another order
    "num_threads": 1,
    "verbosity": -1,
}


@dataclass(frozen=True)
class LightGBMModel:
    """A fitted booster; also how a booster from outside is taken over."""

    booster: lightgbm.Booster

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 [n]; what a NaN does is what the trees learned (see `training.trees`)."""
        return np.asarray(self.booster.predict(features, num_threads=1), dtype=np.float64)

    def fragment(self) -> Fragment:
        """One tree ensemble."""
        return ensemble(self.trees())

    def thresholds(self) -> Mapping[int, NDArray[np.float64]]:
        """Every split value, by column."""
        return split_values(self.trees())

    def native(self) -> bytes:
        """LightGBM's model text."""
        return str(self.booster.model_to_string()).encode()

    def trees(self) -> tuple[Tree, ...]:
        """The trees, node by node. Raises ExportError for what has no exact ONNX form."""
        return read_trees(self.booster.dump_model())


class LightGBMTrainer:
    """Gradient-boosted trees on squared error."""

    def fit(self, rows: Rows, parameters: Parameters, *, seed: int) -> LightGBMModel:
        """Trains `trees` trees. Raises TrainerError when no split is possible (every answer would be one number)."""
        chosen = choose(parameters, DEFAULTS, "lightgbm")
        trees = int(chosen.pop("trees"))
        data = lightgbm.Dataset(rows.features, rows.targets, feature_name=list(rows.names), free_raw_data=True)
        booster = lightgbm.train({**chosen, **FIXED, "seed": seed}, data, num_boost_round=trees)
        model = LightGBMModel(booster)
        if not model.thresholds():
            raise TrainerError(
                f"expected rows that LightGBM can split, found {len(rows.targets)} with min_data_in_leaf "
                f"{chosen['min_data_in_leaf']}; give more rows or smaller leaves"
            )
        return model

    def load(self, native: bytes) -> LightGBMModel:
        """The model of `LightGBMModel.native`. Raises TrainerError when LightGBM cannot read it."""
        try:
            return LightGBMModel(lightgbm.Booster(model_str=native.decode()))
        except (lightgbm.basic.LightGBMError, UnicodeDecodeError) as error:
            raise TrainerError(f"expected a LightGBM model text, found something else ({error})") from error
