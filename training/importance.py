"""Which features a model's scores hang on: permutation importance, on the reference rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.trainer import FittedModel, predict

ROWS = 4096
SEED = 17  # fixed, so that a report is a function of its run


def permutation_importance(model: FittedModel, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 [F]: sd of the score's change when a feature's column is shuffled, over the sd of the score.

    features: float32 [n, F]; at most 4,096 of its complete rows are used, spread evenly. It says what moves the
    score, not what earns money: a feature may move it in vain. Zeros for a model that answers one number. Source:
    Breiman, "Random Forests" (2001), section 10, with the score's own variation in place of the error.
    """
    complete = features[~np.isnan(features).any(axis=1)]
    rows = complete[np.linspace(0, len(complete) - 1, min(ROWS, len(complete))).astype(np.int64)]
    scores = predict(model, rows)
    spread = float(scores.std())
    generator = np.random.default_rng(SEED)
    changes = np.zeros(rows.shape[1])
    for column in range(rows.shape[1]):
        shuffled = rows.copy()
        shuffled[:, column] = generator.permutation(shuffled[:, column])
        changes[column] = float((predict(model, shuffled) - scores).std())
    return changes / spread if spread > 0 else changes
