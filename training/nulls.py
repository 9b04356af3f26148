"""What the monitors' statistics do when nothing is wrong: null distributions of one release, made from its own data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promotion.config import Config
from promotion.evidence.assess import Evidence
from promotion.evidence.deflation import deflated_threshold
from promotion.evidence.nulls import drift_nulls, sharpe_nulls
from promotion.evidence.sharpe import SharpeLevel
from promotion.release.arrays import to_npz

DRAWS = 400
DEFLATION = ("sharpe_per_period", "trial_sharpe_variance", "trials")
SEED = 20_150_824  # fixed, so that a release is a function of its run


def reference_nulls(
    config: Config,
    reference: Mapping[str, NDArray[Any]],
    backtest: Mapping[str, NDArray[Any]],
    evidence: Evidence,
) -> bytes:
    """`reference/nulls.npz`: drift of features and score over the reference, Sharpe of the backtest's net returns.

    Windows and desk rules are those of the action policy; the score stands behind the features as one
    more column. The arrays are those of DriftNulls and SharpeNulls (`to_arrays`), their names begun with `drift_` and
    `sharpe_`.
    """
    action = config.action
    watched = np.concatenate([reference["features"], reference["scores"][:, :, None]], axis=2)
    drift = drift_nulls(
        watched,
        window_sessions=action.drift_window_sessions,
        draws=DRAWS,
        seed=SEED,
        desk_psi=action.desk_psi,
        desk_ks_p=action.desk_ks_p,
    )
    sharpe = sharpe_nulls(
        backtest["net"],
        window=action.sharpe_window_sessions,
        level=deflated_level(evidence),
        draws=DRAWS,
        seed=SEED,
        desk_sds=action.desk_sharpe_sds,
    )
    named = {f"drift_{name}": array for name, array in drift.to_arrays().items()}
    return to_npz(named | {f"sharpe_{name}": array for name, array in sharpe.to_arrays().items()})


def deflated_level(evidence: Evidence) -> SharpeLevel | None:
    """What a selected trial may be expected to go on with: its ratio less what the best of so many shows by luck.

    At least 0. None, the sample's own ratio, where the evidence has no deflation.
    """
    if not evidence.metrics.keys() >= set(DEFLATION):
        return None
    ratio, variance, trials = (evidence.metrics[name] for name in DEFLATION)
    luck = deflated_threshold(trial_sharpe_variance=variance, trials=trials, variant="exact").value
    return SharpeLevel(max(0.0, ratio - luck))
