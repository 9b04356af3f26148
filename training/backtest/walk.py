"""Walk-forward: every session's score comes from a model that was trained before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.folds import Fold, walk_forward
from training.plan import Candidate, Plan
from training.samples import Samples
from training.trainer import FittedModel, Rows, Trainer, load_trainer, predict


def out_of_sample_scores(samples: Samples, plan: Plan, candidate: Candidate) -> NDArray[np.float32]:
    """float32 [T, N]: NaN before the first test session and where a feature is missing.

    Session t is scored by a model that has seen no label whose interval ends within the embargo before t's block.
    Raises FoldError when there is nothing to train on, TrainerError when the candidate cannot be trained.
    """
    trainer = load_trainer(candidate.trainer)
    scores = np.full(samples.targets.shape, np.nan, dtype=np.float32)
    for fold in folds(samples, plan):
        model = fit(trainer, samples, fold.train, candidate)
        scores[fold.test] = score(model, samples, fold.test)
    return scores


def folds(samples: Samples, plan: Plan) -> Iterator[Fold]:
    """The plan's folds over the samples' sessions."""
    return walk_forward(
        samples.starts,
        samples.ends,
        first_test=first_test_session(samples, plan),
        step=plan.step_sessions,
        embargo=plan.embargo_sessions,
        train_window=plan.train_sessions,
    )


def first_test_session(samples: Samples, plan: Plan) -> int:
    """Position of the first session that is scored out of sample."""
    return int(np.searchsorted(samples.event_times_ns, plan.first_test_ns))


def fit(trainer: Trainer, samples: Samples, sessions: NDArray[np.int64], candidate: Candidate) -> FittedModel:
    """The candidate trained on the usable rows of these sessions."""
    features, targets = samples.rows(sessions)
    return trainer.fit(Rows(features, targets, samples.names), candidate.parameters, seed=candidate.seed)


def fit_on_all(samples: Samples, plan: Plan, candidate: Candidate) -> FittedModel:
    """The candidate trained on everything known at the as-of instant (the last `train_sessions` of it, if set)."""
    known = np.flatnonzero(samples.usable.any(axis=1)).astype(np.int64)
    if plan.train_sessions is not None:
        known = known[-plan.train_sessions :]
    return fit(load_trainer(candidate.trainer), samples, known, candidate)


def score(model: FittedModel, samples: Samples, sessions: NDArray[np.int64]) -> NDArray[np.float32]:
    """float32 [len(sessions), N]: the model's scores, NaN where a feature is missing: what serving would answer."""
    features = samples.features[sessions]
    flat = predict(model, features.reshape(-1, features.shape[-1]))
    return flat.reshape(features.shape[:2]).astype(np.float32)
