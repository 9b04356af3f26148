"""Taking over a fitted LightGBM model as it is: nobody rewrites research code to promote it.

The author states until when prices entered the training, and how many models were tried with what out-of-sample
returns. The first is believed for the split, the second is a signed declaration in the ledger; report and verdict say
"declared", and the gate policy states whether that suffices. What comes after the training's end is scored here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.canonical import decimal
from features.registry import load_features
from features.snapshot import Snapshot
from promotion.config import Config, Signal
from promotion.home import Home
from promotion.ledger.trials import Family, declare_trials
from training.artifacts import make_artifacts
from training.backtest.account import Backtest, account
from training.backtest.walk import score
from training.errors import HandoverError
from training.plan import Candidate, Plan
from training.provenance import Provenance
from training.run import Run, describe, load_samples, write_run
from training.samples import Samples
from training.sweep import Actor, family
from training.trainers.lightgbm import LightGBMModel, LightGBMTrainer

LEAST_SESSIONS = 252  # of out-of-sample record, which drift is measured against too; a gate asks for more


@dataclass(frozen=True)
class Declaration:
    """What the author signs about how the model was found.

    trained_until: the last day whose prices entered the training, labels included. trials: how many models were tried,
    the handed-over one among them. returns: float64 [T, k], daily out-of-sample net returns of those that have any,
    k ≤ trials, NaN where one has none.
    """

    trained_until: date
    trials: int
    returns: NDArray[np.float64]


def take_over(
    home: Home,
    config: Config,
    *,
    signal: str,
    snapshot: Snapshot,
    model: bytes,
    declaration: Declaration,
    as_of: date,
    provenance: Provenance,
    actor: Actor,
    nan_ok: bool = False,
) -> Run:
    """A run of a fitted LightGBM model (`model`: its text), scored from the day after `trained_until` to `as_of`.

    The declaration is written into the ledger, signed by `actor`. nan_ok: the model was trained to see missing
    features. Raises HandoverError when the model's columns are not the signal's features or the declaration is
    incomplete, ExportError or ParityError when it cannot travel as ONNX unchanged.
    """
    definition = config.signals[signal]
    fitted = LightGBMTrainer().load(model)
    _check_columns(fitted, definition)
    _check_declaration(declaration, as_of)
    features, plan = load_features(definition.features), _plan(declaration, as_of)
    samples = load_samples(snapshot, features, definition, known_at_ns=plan.as_of_ns)
    backtest = _score_after_training(samples, fitted, definition, plan)
    artifacts = make_artifacts(
        samples,
        fitted,
        backtest,
        trial_ids=[f"declared-{at + 1}" for at in range(declaration.returns.shape[1])],
        trial_returns=declaration.returns,
        reference_sessions=plan.reference_sessions,
        nan_ok=nan_ok,
    )
    counted_by = family(definition, snapshot.id)
    record = {
        **describe(signal, definition, snapshot, features, plan, provenance, counted_by),
        **_results(actor.signer.name, declaration, plan, backtest),
        "nan_ok": nan_ok,
        "parity": artifacts.parity,
    }
    _declare(actor, counted_by, declaration)
    return write_run(home, record, artifacts.files)


def _results(author: str, declaration: Declaration, plan: Plan, backtest: Backtest) -> dict[str, Any]:
    own = {
        "id": "handed-over",
        "candidate": plan.candidates[0].canonical(),
        "outcome": "finished",
        "reason": "",
        "sharpe_annual": decimal(backtest.sharpe_annual),
    }
    return {
        "author": author,
        "declared": True,
        "handed_over": {"trained_until": declaration.trained_until.isoformat(), "trials": declaration.trials},
        "trainer": "lightgbm",
        "trials": [own],
        "chosen": 0,
    }


def _declare(actor: Actor, counted_by: Family, declaration: Declaration) -> None:
    declare_trials(
        actor.ledger,
        counted_by,
        number=declaration.trials,
        returns=np.ascontiguousarray(declaration.returns, dtype="<f8").tobytes(),
        signer=actor.signer,
        clock=actor.clock,
    )


def _check_columns(model: LightGBMModel, signal: Signal) -> None:
    names = tuple(model.booster.feature_name())
    anonymous = all(name == f"Column_{at}" for at, name in enumerate(names))
    if len(names) != len(signal.features) or not (anonymous or names == signal.features):
        raise HandoverError(
            f"expected a model over the {len(signal.features)} features {list(signal.features)} in this order, found "
            f"{len(names)}: {list(names)}; train it on the signal's features, or configure the signal with the model's"
        )


def _check_declaration(declaration: Declaration, as_of: date) -> None:
    if declaration.trained_until >= as_of:
        raise HandoverError(
            f"expected the training to end before the as-of day {as_of}, found {declaration.trained_until}; "
            "what a model was trained on is no evidence for it"
        )
    returns = declaration.returns
    if returns.ndim != 2 or returns.shape[1] > declaration.trials or declaration.trials < 1:
        raise HandoverError(
            f"expected out-of-sample returns [T, k] of k ≤ {declaration.trials} trials, found shape {returns.shape}; "
            "declare every model that was tried"
        )
    if np.isinf(returns).any():
        raise HandoverError("expected finite returns or NaN in the declaration, found an infinity; correct them")


def _plan(declaration: Declaration, as_of: date) -> Plan:
    first = declaration.trained_until + timedelta(days=1)
    candidate = Candidate(trainer="lightgbm", parameters={"handed_over": True}, seed=0)
    return Plan(label="handed over", as_of=as_of, first_test=first, candidates=(candidate,))


def _score_after_training(samples: Samples, model: LightGBMModel, signal: Signal, plan: Plan) -> Backtest:
    first = int(np.searchsorted(samples.event_times_ns, plan.first_test_ns))
    sessions = len(samples.event_times_ns)
    if sessions - first < LEAST_SESSIONS:
        raise HandoverError(
            f"expected at least {LEAST_SESSIONS} sessions after the training's end, found {sessions - first}; "
            "take a later as-of or a model that was trained earlier"
        )
    scores = np.full(samples.targets.shape, np.nan, dtype=np.float32)
    scores[first:] = score(model, samples, np.arange(first, sessions))
    return account(samples, scores, signal, first=first)
