"""Scores to target weights: what a desk would hold if the scores were all it knew."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from promotion.config import Construction
from promotion.evidence.arrays import Floats
from promotion.evidence.errors import GapError, ShapeError

__all__ = ["positions", "smoothed", "targets"]


def positions(scores: Floats, construction: Construction) -> Floats:
    """Target weights [time, instrument] (share of capital) decided on scores [time, instrument] of the same rows.

    `targets` of each session, averaged over the last `smoothing_sessions` sessions (fewer at the start). Row t uses
    scores up to row t only. A NaN score holds nothing of that instrument; an infinite one raises GapError.
    """
    return smoothed(targets(scores, construction), construction.smoothing_sessions)


def targets(scores: Floats, construction: Construction) -> Floats:
    """One session's wish per row, before smoothing: weights [time, instrument], |w| ≤ max_weight.

    Long-short: average ranks of the valid scores, less their mean, scaled to the gross leverage: dollar-neutral.
    Long-only: the same, negative ones dropped. A bound weight is cut and not redistributed, so a narrow universe
    holds less than the gross leverage. Fewer than two valid scores, or all equal ones, hold nothing.
    """
    scores = _scores(scores)
    valid = ~np.isnan(scores)
    ranks = np.asarray(rankdata(np.where(valid, scores, np.inf), axis=1), dtype=np.float64)
    count = valid.sum(axis=1, keepdims=True)
    tilt = np.where(valid, ranks - (count + 1) / 2, 0.0)
    if construction.kind == "long_only":
        tilt = np.maximum(tilt, 0.0)
    gross = np.abs(tilt).sum(axis=1, keepdims=True)
    weights = np.divide(tilt * construction.gross_leverage, gross, out=np.zeros_like(tilt), where=gross > 0)
    bound = construction.max_weight
    capped: Floats = np.clip(weights, -bound, bound)
    return capped


def smoothed(wishes: Floats, sessions: int) -> Floats:
    """The mean of the last `sessions` rows at each row; at the start, of those there are."""
    total = np.zeros_like(wishes)
    for back in reversed(range(min(sessions, len(wishes)))):  # oldest first, as the one-session book adds them
        total[back:] += wishes[: len(wishes) - back]
    return total / np.minimum(np.arange(1, len(wishes) + 1), sessions)[:, None]


def _scores(scores: Floats) -> Floats:
    array = np.ascontiguousarray(scores, dtype=np.float64)
    if array.ndim != 2:
        raise ShapeError(f"scores: expected [time, instrument], found shape {array.shape}; stack one row a session")
    if np.isinf(array).any():
        row, column = (int(index) for index in np.argwhere(np.isinf(array))[0])
        raise GapError(f"scores: expected numbers or NaN, found {array[row, column]} at row {row}, column {column}")
    return array
