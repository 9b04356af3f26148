"""Does the exported model answer like the native one: on real rows, on both sides of every jump, with NaN.

The claim that is measured: same branch for every float32 row, so that what differs is only float32 summation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from training.errors import ParityError
from training.export import INPUT, OUTPUT
from training.trainer import FittedModel, predict
from training.trees import branch_values

Float32 = NDArray[np.float32]
ROWS = 10_000
BATCH = 4096  # the size of a batch changes no answer; a test says so


@dataclass(frozen=True)
class Parity:
    """What was compared: rows (of them beside a threshold, with a missing feature) and how far apart, in score units.

    max_ulp: in units in the last place of the largest score compared, so that a score near 0 does not blow it up.
    """

    rows: int
    threshold_rows: int
    missing_rows: int
    max_abs_error: float
    max_ulp: float


def measure(model: FittedModel, exported: bytes, features: Float32, *, nan_ok: bool = False) -> Parity:
    """Compares on `features` (float32 [n, F], without NaN), on rows beside every threshold, and on rows with NaN.

    Raises ParityError for fewer than 10,000 plain rows, and when one side answers NaN where the other does not.
    """
    if len(features) < ROWS:
        raise ParityError(f"expected at least {ROWS} rows to compare on, found {len(features)}; give more history")
    beside = threshold_rows(model, features)
    missing = missing_rows(features)
    rows = np.concatenate([features, beside, missing])
    native = predict(model, rows, nan_ok=nan_ok).astype(np.float32)
    answered = run_onnx(exported, rows)
    differs = np.flatnonzero(np.isnan(native) != np.isnan(answered))
    if len(differs):
        at = int(differs[0])
        raise ParityError(
            f"expected NaN on both sides or on none, found {native[at]} natively and {answered[at]} exported (row {at})"
        )
    error = np.abs(native.astype(np.float64) - answered.astype(np.float64))
    worst = float(np.nanmax(error))
    unit = float(np.spacing(np.nanmax(np.abs(native))))
    return Parity(len(rows), len(beside), len(missing), worst, worst / unit)


def run_onnx(exported: bytes, features: Float32) -> Float32:
    """float32 [n]: the exported model's answers, one thread."""
    session = onnxruntime.InferenceSession(exported, _options(), providers=["CPUExecutionProvider"])
    parts = [features[at : at + BATCH] for at in range(0, len(features), BATCH)]
    return np.concatenate([session.run([OUTPUT], {INPUT: part})[0].reshape(-1) for part in parts])


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


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
