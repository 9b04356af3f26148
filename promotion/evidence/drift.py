"""How far a distribution moved from its reference: PSI and KS on quantile bins frozen at promotion.

A sample is kept as counts a bin, never as values: counts of sessions add up to those of a window. Arrays are
[..., feature, bin]; the statistics broadcast over what stands before. Sources: Yurdakul and Naranjo, J. Risk Model
Validation 14(4) 2020 (PSI and its law); Kolmogorov 1933, Smirnov 1939.

A statistic is no verdict: 0.1, 0.25 and p < 0.05 are folklore that autocorrelated features break every day
(`promotion.evidence.nulls` holds thresholds that keep a budget).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from promotion.evidence.arrays import Floats, Ints
from promotion.evidence.errors import ConstantError, GapError, NotValidError, ShapeError, TooFewError

__all__ = ["count_bins", "ks_distance", "ks_p_value", "ks_statistic", "psi", "quantile_bins"]


def quantile_bins(reference: NDArray[np.floating[Any]], bins: int = 10) -> Floats:
    """Inner edges float64 [feature, bins − 1] of equally filled bins of `reference` [row, feature]; NaN left out.

    GapError for an infinity, TooFewError for fewer than 10 finite values a bin, ConstantError for a feature with one
    value only: nothing could be said to differ from it. A discrete feature's edges may repeat.
    """
    rows = _rows(reference)
    for feature, column in enumerate(rows.T):
        _refuse_unusable(feature, column, bins)
    edges: Floats = np.nanquantile(rows, np.arange(1, bins) / bins, axis=0).T
    return np.ascontiguousarray(edges)


def count_bins(edges: Floats, values: NDArray[np.floating[Any]]) -> Ints:
    """How rows [row, feature] fall into the bins of `edges`: int64 [feature, bins + 1], the missing (NaN) ones last.

    A value equal to an edge belongs to the bin above it.
    """
    rows = _rows(values)
    features, bins = edges.shape[0], edges.shape[1] + 1
    if rows.shape[1] != features:
        raise ShapeError(f"drift: expected {features} features, found {rows.shape[1]}; use the reference's order")
    cells = bin_of(edges, rows) + np.arange(features) * (bins + 1)
    return np.bincount(cells.ravel(), minlength=features * (bins + 1)).reshape(features, bins + 1)


def bin_of(edges: Floats, rows: Floats) -> Ints:
    """The bin of each value [row, feature], int64; NaN gets the one after the last."""
    cells = np.empty(rows.shape, dtype=np.int64)
    for feature, column in enumerate(rows.T):
        cells[:, feature] = np.searchsorted(edges[feature], column, side="right")
    cells[np.isnan(rows)] = edges.shape[1] + 1
    return cells


def psi(reference: NDArray[Any], current: NDArray[Any]) -> Floats:
    """Population stability index Σ (q − p)·ln(q/p) [...] from counts [..., bin], natural logarithm.

    One half is added to every count, so that an empty bin is neither infinite nor silently dropped. A bin empty on
    both sides counts for nothing. With B filled bins and no drift, independent rows: mean (B−1)·(1/N + 1/M).
    """
    reference, current = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    used = (reference > 0) | (current > 0)
    p = np.where(used, reference + 0.5, 0.0)
    q = np.where(used, current + 0.5, 0.0)
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    ratio = np.divide(q, p, out=np.ones_like(q), where=p > 0)
    index: Floats = np.sum((q - p) * np.log(ratio), axis=-1)
    return index


def ks_distance(reference: NDArray[Any], current: NDArray[Any]) -> Floats:
    """Kolmogorov-Smirnov distance [...] read at the bins' edges, from counts [..., bin]; 0 for an empty sample.

    At most the exact two-sample distance, and less by no more than the reference's share of one bin.
    """
    distance: Floats = np.abs(_distribution(reference) - _distribution(current)).max(axis=-1)
    return distance


def ks_statistic(reference: NDArray[np.floating[Any]], current: NDArray[np.floating[Any]]) -> Floats:
    """Exact two-sample distance D [feature] between rows [n, feature] and [m, feature]; NaN left out."""
    left, right = _rows(reference), _rows(current)
    if left.shape[1] != right.shape[1]:
        raise ShapeError(f"KS: expected as many features on both sides, found {left.shape[1]} and {right.shape[1]}")
    return np.array([_exact_distance(one, other) for one, other in zip(left.T, right.T, strict=True)])


def ks_p_value(distance: Any, reference_rows: int, current_rows: int) -> Floats:
    """The asymptotic p value of D for independent rows: Q(D·√(nm/(n+m))). Rows of a time series are not independent."""
    if reference_rows < 1 or current_rows < 1:
        raise TooFewError(f"KS: expected rows on both sides, found {reference_rows} and {current_rows}")
    effective = reference_rows * current_rows / (reference_rows + current_rows)
    return np.asarray(kolmogorov(np.sqrt(effective) * np.asarray(distance)), dtype=np.float64)


def _exact_distance(reference: Floats, current: Floats) -> float:
    left, right = np.sort(reference[~np.isnan(reference)]), np.sort(current[~np.isnan(current)])
    if not (left.size and right.size):
        raise TooFewError(f"KS: expected finite values on both sides, found {left.size} and {right.size}")
    points = np.concatenate([left, right])
    ahead = np.searchsorted(left, points, side="right") / left.size
    behind = np.searchsorted(right, points, side="right") / right.size
    return float(np.abs(ahead - behind).max())


def _distribution(counts: NDArray[Any]) -> Floats:
    summed = np.cumsum(np.asarray(counts, dtype=np.float64), axis=-1)
    return summed / np.maximum(summed[..., -1:], 1)


def _rows(values: NDArray[np.floating[Any]]) -> Floats:
    rows = np.ascontiguousarray(values, dtype=np.float64)
    if rows.ndim != 2:
        raise ShapeError(f"drift: expected rows [row, feature], found shape {rows.shape}; reshape them")
    return rows


def _refuse_unusable(feature: int, column: Floats, bins: int) -> None:
    if bins < 2:
        raise NotValidError(f"drift: expected at least 2 bins, found {bins}")
    if np.isinf(column).any():
        raise GapError(f"drift: feature {feature}: expected numbers or NaN, found an infinity; repair the source")
    present = column[~np.isnan(column)]
    if present.size < 10 * bins:
        raise TooFewError(f"drift: feature {feature}: expected at least {10 * bins} values, found {present.size}")
    if present.min() == present.max():
        raise ConstantError(f"drift: feature {feature}: expected values that vary, found {present[0]} throughout")
