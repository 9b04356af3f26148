"""Building blocks of features: small functions over the last axis, made of exact IEEE operations and sums only.

No logarithm, exponential or power: their last bits depend on the CPU (design D4). What is here uses +, −, ×, ÷, square
root, comparisons, and NumPy's sum over a contiguous last axis.

All take and return float64; shapes are `[..., window]` in and `[...]` or `[..., window − 1]` out unless said otherwise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def simple_returns(close: Floats) -> Floats:
    """One-row simple returns [..., window − 1] of prices [..., window]: a share, 0.01 is one per cent."""
    return close[..., 1:] / close[..., :-1] - 1.0


def total_return(close: Floats) -> Floats:
    """Newest price over oldest, less one [...]: a share."""
    return close[..., -1] / close[..., 0] - 1.0


def highest(values: Floats) -> Floats:
    """The largest over the last axis; NaN where one is NaN."""
    return np.asarray(values.max(-1))


def lowest(values: Floats) -> Floats:
    """The smallest over the last axis; NaN where one is NaN."""
    return np.asarray(values.min(-1))


def total(values: Floats) -> Floats:
    """The sum over the last axis."""
    return np.asarray(values.sum(-1))


def mean(values: Floats) -> Floats:
    """Arithmetic mean over the last axis."""
    return np.asarray(total(values) / values.shape[-1])


def deviation(values: Floats) -> Floats:
    """Standard deviation over the last axis (divisor n − 1), two passes: mean first, then squared differences."""
    centred = values - mean(values)[..., None]
    return np.asarray(np.sqrt(total(centred * centred) / (values.shape[-1] - 1)))


def rank(values: Floats) -> Floats:
    """Rank among the last axis's present values, from −0.5 (lowest) to 0.5; equal values share the mean rank.

    values: [..., instrument]. NaN ranks NaN and counts for nobody; a lone value ranks 0. Every pair is compared:
    quadratic in instruments, no sort, so no tie depends on an order.
    """
    mine, other = values[..., :, None], values[..., None, :]
    below = (other < mine).sum(-1) + 0.5 * ((other == mine).sum(-1) - 1)
    present = np.isfinite(values).sum(-1)[..., None]
    ranked = np.where(present > 1, below / np.maximum(present - 1, 1) - 0.5, 0.0)
    return np.where(np.isfinite(values), ranked, np.nan)


def standard_score(values: Floats) -> Floats:
    """(value − mean) / standard deviation among the last axis's present values; NaN where fewer than two are there.

    values: [..., instrument]; the deviation's divisor is n − 1. Infinite where all values are equal.
    """
    there = np.isfinite(values)
    count = there.sum(-1)[..., None]
    centre = total(np.where(there, values, 0.0))[..., None] / count
    centred = np.where(there, values - centre, 0.0)
    spread = np.sqrt(total(centred * centred)[..., None] / (count - 1))
    return np.where(there, centred / spread, np.nan)
