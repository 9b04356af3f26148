"""Does the exported model answer like the native one: on real rows, on both sides of every jump, with NaN.

The claim that is measured: same branch for every float32 row, so that what differs is only float32 summation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promotion.evidence.assess import Parity
from promotion.release.onnx_rules import check_model
from promotion.release.session import make_session, run
from training.errors import ParityError
from training.trainer import FittedModel, predict
from training.trees import branch_values

Float32 = NDArray[np.float32]
ROWS = 10_000
BATCH = 4096
SEED = 11  # fixed: the rows stand in the release


@dataclass(frozen=True)
class Comparison:
    """Rows to compare on, float32 [n, F], and the native model's scores of them, float32 [n] (NaN: no score).

    threshold_rows, missing_rows: how many of them stand beside a threshold, and how many miss a feature.
    """

    features: Float32
    native: Float32
    threshold_rows: int = 0
    missing_rows: int = 0


def comparison_rows(model: FittedModel, features: Float32, *, nan_ok: bool = False) -> Comparison:
    """`features` (float32 [n, F], without NaN), rows beside every threshold, rows with NaN; all scored natively.

    Fewer than 10,000 plain rows are filled up with mixed ones. Raises ParityError when there is no row at all.
    """
    if not len(features):
        raise ParityError("expected rows without a missing feature to compare on, found none; give more history")
    beside = threshold_rows(model, features)
    missing = missing_rows(features)
    rows = np.concatenate([features, mixed_rows(features), beside, missing])
    native = predict(model, rows, nan_ok=nan_ok).astype(np.float32)
    return Comparison(rows, native, len(beside), len(missing))


def measure(exported: bytes, rows: Comparison) -> Parity:
    """The exported model against `rows`, in score units.

    ulp: in units in the last place of the largest score compared, so that a score near 0 does not blow it up. Raises
    ParityError when one side answers NaN where the other does not.
    """
    native, answered = rows.native, run_onnx(exported, rows.features)
    differs = np.flatnonzero(np.isnan(native) != np.isnan(answered))
    if len(differs):
        at = int(differs[0])
        raise ParityError(
            f"expected NaN on both sides or on none, found {native[at]} natively and {answered[at]} exported (row {at})"
        )
    worst = float(np.nanmax(np.abs(native.astype(np.float64) - answered.astype(np.float64))))
    unit = float(np.spacing(np.nanmax(np.abs(native))))
    return Parity(rows=len(native), max_abs=worst, max_ulp=worst / unit)


def run_onnx(exported: bytes, features: Float32) -> Float32:
    """float32 [n]: the exported model's answers, by the session that serves it. The size of a batch changes none."""
    (inputs,), (outputs,) = check_model(exported)
    session = make_session(exported)
    parts = [features[at : at + BATCH] for at in range(0, len(features), BATCH)]
    return np.concatenate([run(session, inputs, outputs, part) for part in parts])


def mixed_rows(features: Float32) -> Float32:
    """float32 [10,000 − n or 0, F]: each column drawn from the real rows on its own, as no real row is."""
    generator = np.random.default_rng(SEED)
    lacking = max(0, ROWS - len(features))
    drawn = generator.integers(0, len(features), size=(lacking, features.shape[1]))
    return np.take_along_axis(features, drawn, axis=0)


def threshold_rows(model: FittedModel, features: Float32) -> Float32:
    """float32 [3·k, F]: for each of the k jumps a real row moved onto it, one float32 below, and one above."""
    rows: list[Float32] = []
    for column, values in model.thresholds().items():
        at = branch_values(values)
        sides = np.stack([np.nextafter(at, np.float32(-np.inf)), at, np.nextafter(at, np.float32(np.inf))], axis=1)
        base = features[np.linspace(0, len(features) - 1, sides.size).astype(np.int64)]
        base[:, column] = sides.reshape(-1)
        rows.append(base)
    return np.concatenate(rows) if rows else features[:0]


def missing_rows(features: Float32) -> Float32:
    """float32 [F + 1, F]: a real row with each feature missing in turn, and one with all missing."""
    columns = features.shape[1]
    rows = np.repeat(features[:1], columns + 1, axis=0)
    rows[np.arange(columns), np.arange(columns)] = np.nan
    rows[columns] = np.nan
    return rows
