"""What the monitors' statistics do when nothing is wrong: null distributions of one release, made from its own data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promotion.config import Config
from promotion.evidence.nulls import drift_nulls, sharpe_nulls
from promotion.release.arrays import to_npz

DRAWS = 400
SEED = 20_150_824  # fixed, so that a release is a function of its run


def reference_nulls(
    config: Config, reference: Mapping[str, NDArray[Any]], backtest: Mapping[str, NDArray[Any]]
) -> bytes:
    """`reference/nulls.npz`: drift of features and score over the reference, Sharpe of the backtest's net returns.

    Windows are those of the action policy; the score stands behind the features as one more column. The arrays are
    those of DriftNulls and SharpeNulls (`to_arrays`), their names begun with `drift_` and `sharpe_`.
    """
    action = config.action
    watched = np.concatenate([reference["features"], reference["scores"][:, :, None]], axis=2)
    drift = drift_nulls(watched, window_sessions=action.drift_window_sessions, draws=DRAWS, seed=SEED)
    sharpe = sharpe_nulls(backtest["net"], window=action.sharpe_window_sessions, draws=DRAWS, seed=SEED)
    named = {f"drift_{name}": array for name, array in drift.to_arrays().items()}
    return to_npz(named | {f"sharpe_{name}": array for name, array in sharpe.to_arrays().items()})
