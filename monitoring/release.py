"""What a release brings to its own watch: reference and null laws, out of its verified bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from monitoring.errors import ReferenceRefused
from monitoring.thresholds import Yardstick
from promotion.config import ActionPolicy
from promotion.evidence.errors import RecordError
from promotion.evidence.nulls import DriftNulls, SharpeNulls
from promotion.release.arrays import from_npz

SCORE = "score"  # the column behind the features: the release's own answers, watched like an input
_FEATURES, _NULLS = "reference/features.npz", "reference/nulls.npz"


def read_yardstick(files: Mapping[str, bytes], policy: ActionPolicy) -> Yardstick:
    """The yardstick of the release with these `files` (verified bytes by path: `promotion.release.open`).

    ReferenceRefused when it has no reference or nulls, or they do not fit each other or the policy.
    """
    missing = [path for path in (_FEATURES, _NULLS) if path not in files]
    if missing:
        raise ReferenceRefused(f"expected {' and '.join(missing)} in the release, found none; rebuild it")
    reference, nulls = (from_npz(files[path], path=path) for path in (_FEATURES, _NULLS))
    try:
        drift = DriftNulls.from_arrays(_named(nulls, "drift_"))
        sharpe = SharpeNulls.from_arrays(_named(nulls, "sharpe_"))
        names = [str(name) for name in reference["names"]]
        columns = np.concatenate([reference["features"], reference["scores"][:, :, None]], axis=2)
    except (RecordError, KeyError, ValueError) as error:
        raise ReferenceRefused(f"{_FEATURES}, {_NULLS}: expected arrays that fit, found {error}; rebuild it") from error
    return Yardstick.of([*names, SCORE], columns, drift, sharpe, policy)


def _named(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, npt.NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
