"""Validation: another person recomputes what a run claims, and packages it with that evidence as a release.

Nothing the author said is believed: the book is accounted again from scores and returns, parity is measured again on
the native model, the trials are counted in the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promotion.config import Config, Signal, canonical_form
from promotion.evidence import deflation
from promotion.evidence.assess import AssessmentInputs, Evidence, Parity, assess
from promotion.evidence.performance import positions
from promotion.home import Home
from promotion.identity import Signer
from promotion.ledger.trials import Family, count
from promotion.release.build import ReleaseParts, build_release
from promotion.release.golden import make_golden
from training.card import render_card
from training.errors import RunError
from training.importance import permutation_importance
from training.nulls import reference_nulls
from training.parity import Comparison, measure
from training.report import ReportInputs, render
from training.run import Run
from training.sweep import Actor
from training.trainer import FittedModel, load_trainer, predict

GOLDEN_ROWS = 256
SESSIONS_PER_YEAR = 252


@dataclass(frozen=True)
class Validated:
    """What came of a validation: the release's digest and the evidence in it."""

    digest: str
    evidence: Evidence


def validate_run(home: Home, config: Config, run: Run, *, author: Signer, validator: Actor) -> Validated:
    """Recomputes the evidence of `run` and builds the release, signed by `author` and by another, the validator.

    Raises RunError when the run was made under another configuration or its book is not what its scores give, and
    ReleaseRefused when author and validator are one.
    """
    signal = _signal(config, run)
    model = load_trainer(run.record["trainer"]).load(run.read("model.native"))
    backtest = _rechecked(signal, run.arrays("backtest.npz"))
    evidence = assess(_assessment(signal, run, backtest, model, validator))
    files = _files(config, signal, run, model, backtest, evidence)
    parts = ReleaseParts(
        signal=run.record["signal"],
        environment=config.environment,
        config=signal,
        files=files,
        feature_set_id=run.record["feature_set_id"],
        snapshot_id=run.record["snapshot_id"],
        kernel_fingerprint=run.record["kernel_fingerprint"],
        as_of_ns=run.record["as_of_ns"],
        trials=_family(run),
        commit=run.record["commit"],
        lock_hash=run.record["lock_hash"],
        nan_ok=frozenset(signal.features) if run.record["nan_ok"] else frozenset(),
        declared=run.record["declared"],
    )
    return Validated(build_release(home, parts, author=author, validator=validator.signer), evidence)


def _signal(config: Config, run: Run) -> Signal:
    name = run.record["signal"]
    signal = config.signals.get(name)
    if signal is None or canonical_form(signal) != run.record["config"]:
        raise RunError(
            f"expected {name} to be configured as when the run was made, found it "
            f"{'missing' if signal is None else 'changed'}; train again under this configuration"
        )
    return signal


def _rechecked(signal: Signal, arrays: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    weights = positions(arrays["scores"].astype(np.float64), signal.construction)
    if not np.array_equal(weights, arrays["weights"]):
        raise RunError("expected the weights that the run's scores give, found others; the backtest was altered")
    return arrays


def _family(run: Run) -> Family:
    stated = run.record["family"]
    return Family(label=stated["label"], universe=tuple(stated["universe"]), data=stated["data"])


def _assessment(
    signal: Signal, run: Run, backtest: Mapping[str, NDArray[Any]], model: FittedModel, validator: Actor
) -> AssessmentInputs:
    trial_returns = run.arrays("trials.npz")["returns"]
    opened = count(validator.ledger.state(), _family(run)).total
    return AssessmentInputs(
        sessions_ns=backtest["sessions_ns"],
        weights=backtest["weights"],
        asset_returns=backtest["asset_returns"],
        costs=signal.costs,
        trial_returns=trial_returns,
        trials_opened=opened,
        parity=_parity(run, model),
        declared=run.record["declared"],
        execution_lag_sessions=signal.execution_lag_sessions,
        history=backtest["history"],
    )


def _parity(run: Run, model: FittedModel) -> Parity:
    """Parity measured again, on rows that are answered again by the native model."""
    features = run.arrays("parity.npz")["features"]
    native = predict(model, features, nan_ok=run.record["nan_ok"]).astype(np.float32)
    if not np.array_equal(native, run.arrays("parity.npz")["native"], equal_nan=True):
        raise RunError("expected the scores that the native model gives, found others in parity.npz; train again")
    return measure(run.read("model.onnx"), Comparison(features, native))


def _files(
    config: Config,
    signal: Signal,
    run: Run,
    model: FittedModel,
    backtest: Mapping[str, NDArray[Any]],
    evidence: Evidence,
) -> dict[str, bytes]:
    reference = run.arrays("reference.npz")
    rows = reference["features"].reshape(-1, len(signal.features))
    onnx = run.read("model.onnx")
    report = ReportInputs(
        signal=signal,
        record=run.record,
        evidence=evidence,
        arrays=backtest,
        trials=run.record["trials"],
        chosen=run.record["chosen"],
        importance=permutation_importance(model, rows),
        deflated_sharpe_annual=deflated_sharpe_annual(evidence),
    )
    return {
        "model.onnx": onnx,
        "evidence.json": evidence.canonical(),
        "backtest.npz": run.read("backtest.npz"),
        "trials.npz": run.read("trials.npz"),
        "parity.npz": run.read("parity.npz"),
        "golden.npz": make_golden(onnx, golden_rows(rows)),
        "reference/features.npz": run.read("reference.npz"),
        "reference/nulls.npz": reference_nulls(config, reference, backtest, evidence),
        "report.html": render(report),
        "card.md": render_card(signal, run.record, evidence),
    }


def golden_rows(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [≤ 256, F]: rows spread over the reference, all features present."""
    complete = features[~np.isnan(features).any(axis=1)]
    if not len(complete):
        raise RunError("expected reference rows without a missing feature, found none; give more history")
    return complete[np.linspace(0, len(complete) - 1, min(GOLDEN_ROWS, len(complete))).astype(np.int64)]


def deflated_sharpe_annual(evidence: Evidence, size: float = 0.05) -> float:
    """The annualised net Sharpe that the best of the counted trials without skill exceeds with probability `size`.

    NaN when the evidence has no calibrated z.
    """
    metrics = evidence.metrics
    if not {"trials", "dsr_calibrated_z", "sharpe_annual"} <= metrics.keys() or metrics["dsr_calibrated_z"] == 0:
        return float("nan")
    one_standard_error = metrics["sharpe_annual"] / metrics["dsr_calibrated_z"]
    return float(deflation.calibrated_threshold_z(metrics["trials"], size) * one_standard_error)
