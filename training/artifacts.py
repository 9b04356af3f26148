"""The files of a run: the exported model, its book, the trials' returns, the rows it was compared on, its reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.canonical import decimal
from promotion.release.arrays import to_npz
from training.backtest.account import Backtest
from training.export import export
from training.parity import comparison_rows, measure
from training.samples import Samples
from training.trainer import FittedModel

PARITY_ROWS = 20_000


@dataclass(frozen=True)
class Artifacts:
    """files: bytes by name. parity: what the export's comparison showed, as canonical JSON types."""

    files: Mapping[str, bytes]
    parity: Mapping[str, Any]


def make_artifacts(
    samples: Samples,
    model: FittedModel,
    backtest: Backtest,
    *,
    trial_ids: Iterable[str],
    trial_returns: NDArray[np.float64],
    reference_sessions: int,
    nan_ok: bool = False,
) -> Artifacts:
    """Exports `model`, compares it with itself, and gathers what evidence is computed from.

    trial_returns: float64 [T, trials]. The reference is the newest `reference_sessions` scored sessions. Raises
    ExportError or ParityError when the model cannot travel as ONNX unchanged.
    """
    exported = export(model, columns=len(samples.names), nan_ok=nan_ok)
    rows = comparison_rows(model, samples.features[samples.complete][-PARITY_ROWS:], nan_ok=nan_ok)
    parity = measure(exported, rows)
    files = {
        "model.onnx": exported,
        "model.native": model.native(),
        "backtest.npz": to_npz(_book(backtest) | {"instruments": _texts(samples.instruments)}),
        "trials.npz": to_npz({"returns": trial_returns, "ids": _texts(trial_ids)}),
        "parity.npz": to_npz({"features": rows.features, "native": rows.native}),
        "reference.npz": to_npz(_reference(samples, backtest, reference_sessions)),
    }
    return Artifacts(
        files,
        {
            "rows": parity.rows,
            "threshold_rows": rows.threshold_rows,
            "missing_rows": rows.missing_rows,
            "max_abs": decimal(parity.max_abs),
            "max_ulp": decimal(parity.max_ulp),
        },
    )


def _book(backtest: Backtest) -> dict[str, NDArray[Any]]:
    record = backtest.record
    return {
        "sessions_ns": backtest.sessions_ns,
        "scores": backtest.scores,
        "weights": backtest.weights,
        "asset_returns": backtest.asset_returns,
        "history": backtest.history,
        "net": record.net,
        "gross": record.gross,
        "turnover": record.turnover,
        "cost_spread": record.cost_spread,
        "cost_impact": record.cost_impact,
        "exposure": record.exposure,
        "net_exposure": record.net_exposure,
    }


def _reference(samples: Samples, backtest: Backtest, length: int) -> dict[str, NDArray[Any]]:
    """The newest sessions that were scored out of sample, whole: what drift is measured against.

    Scores are those of the walk-forward, not the released model's answers to rows it was trained on: in sample a
    model is surer than it will ever be again, and live scores would seem to have drifted from the first day on.
    """
    scored = backtest.sessions_ns[np.isfinite(backtest.scores).all(axis=1)]
    whole = samples.event_times_ns[samples.complete.all(axis=1)]
    sessions_ns = np.intersect1d(scored, whole)[-length:]
    return {
        "sessions_ns": sessions_ns,
        "features": samples.features[np.searchsorted(samples.event_times_ns, sessions_ns)],
        "scores": backtest.scores[np.searchsorted(backtest.sessions_ns, sessions_ns)].astype(np.float32),
        "names": _texts(samples.names),
        "instruments": _texts(samples.instruments),
    }


def _texts(values: Iterable[str]) -> NDArray[np.str_]:
    return np.array(list(values), dtype=np.str_)
