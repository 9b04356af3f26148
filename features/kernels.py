"""Building blocks of features: small functions over the last axis, made of exact IEEE operations and sums only.

NumPy's logarithm, exponential and power are not used: their last bits depend on the CPU (design D4). What is here uses
+, −, ×, ÷, square root, comparisons, and NumPy's sum over a contiguous last axis; `logarithm` is made of these.

All take and return float64; shapes are `[..., window]` in and `[...]` or `[..., window − 1]` out unless said otherwise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_HALF_ROOT = 0.7071067811865476
_LN2_HIGH = 0.693147180369123816490  # its last 21 bits are zero: a product with an exponent is exact
_LN2_LOW = 1.90821492927058770002e-10
_ATANH_TERMS = (2 / 19, 2 / 17, 2 / 15, 2 / 13, 2 / 11, 2 / 9, 2 / 7, 2 / 5, 2 / 3)


def simple_returns(close: Floats) -> Floats:
    """One-row simple returns [..., window − 1] of prices [..., window]: a share, 0.01 is one per cent."""
    return close[..., 1:] / close[..., :-1] - 1.0


def total_return(close: Floats) -> Floats:
    """Newest price over oldest, less one [...]: a share."""
    return close[..., -1] / close[..., 0] - 1.0


def highest(values: Floats) -> Floats:
    """The largest over the last axis; NaN where one is NaN."""
    return np.asarray(np.maximum.reduce(values, axis=-1))


def lowest(values: Floats) -> Floats:
    """The smallest over the last axis; NaN where one is NaN."""
    return np.asarray(np.minimum.reduce(values, axis=-1))


def total(values: Floats) -> Floats:
    """The sum over the last axis."""
    return np.asarray(np.add.reduce(values, axis=-1))


def mean(values: Floats) -> Floats:
    """Arithmetic mean over the last axis."""
    return np.asarray(total(values) / values.shape[-1])


def mean_product(one: Floats, other: Floats) -> Floats:
    """Mean of the products over the last axis."""
    return np.asarray(total(one * other) / one.shape[-1])


def centred(values: Floats) -> Floats:
    """Differences [..., window] from the mean over the last axis."""
    return values - mean(values)[..., None]


def deviation(values: Floats) -> Floats:
    """Standard deviation over the last axis (divisor n − 1), two passes: mean first, then squared differences."""
    apart = centred(values)
    return np.asarray(np.sqrt(total(apart * apart) / (values.shape[-1] - 1)))


def slope(regressor: Floats, response: Floats) -> Floats:
    """The least-squares slope of `response` on `regressor` over the last axis; NaN or infinite where the latter rests.

    Both are centred first.
    """
    apart = centred(regressor)
    return np.asarray(total(apart * centred(response)) / total(apart * apart))


def share_where(flags: npt.NDArray[np.bool_]) -> Floats:
    """The share of true values over the last axis."""
    return np.asarray(flags.sum(-1) / flags.shape[-1])


def logarithm(values: Floats) -> Floats:
    """Natural logarithm, element by element; NaN where a value is not positive. The same bits on every CPU.

    ln(m·2^e) = e·ln 2 + 2·atanh((m − 1)/(m + 1)), m in [√½, √2), by ten terms of the series: within 3 units in the last
    place. The reason for its being here: NumPy's own differs with the CPU's features.
    """
    fraction, exponent = np.frexp(values)
    low = fraction < _HALF_ROOT
    fraction = np.where(low, fraction + fraction, fraction)
    ratio = (fraction - 1.0) / (fraction + 1.0)
    square = ratio * ratio
    series = square * _ATANH_TERMS[0]
    for term in _ATANH_TERMS[1:]:
        series += term
        series *= square
    whole = exponent - low
    result = whole * _LN2_HIGH + ((ratio * 2.0 + ratio * series) + whole * _LN2_LOW)
    return np.where(values > 0.0, result, np.nan)


def half_tanh(values: Floats) -> Floats:
    """tanh(x/2) = (e^x − 1)/(e^x + 1), element by element, for |x| up to 2. The same bits on every CPU.

    Lambert's continued fraction, ten levels: within 4 units in the last place.
    """
    half = 0.5 * values
    square = half * half
    below = np.full(values.shape, 21.0)
    for level in (19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0):
        below = level + square / below
    return np.asarray(half / below)


def follow(average: Floats, value: Floats, weight: float) -> Floats:
    """One step of an exponential average, which takes the first value as it is: `average` NaN before."""
    return np.where(np.isnan(average), value, average + weight * (value - average))


def running_mean(average: Floats, value: Floats, seen: Floats, rows: float) -> Floats:
    """One step of Wilder's average: the mean of the first `rows` values, then ((rows − 1) · before + new) / rows.

    seen: how many values there are with this one.
    """
    return np.where(seen <= 1.0, value, average + (value - average) / np.minimum(seen, rows))


def whole(values: Floats) -> Integers:
    """int64 of whole numbers below 2^53, NaN as 0. ValueError for any other: its sums would not be exact."""
    integers = np.where(np.isfinite(values), values, 0.0)
    if integers.size and ((integers != np.rint(integers)) | (np.abs(integers) >= 2.0**53)).any():
        odd = integers[(integers != np.rint(integers)) | (np.abs(integers) >= 2.0**53)][0]
        raise ValueError(f"expected whole numbers below 2^53, found {odd!r}; give it in its smallest unit")
    return integers.astype(np.int64)


# -- across instruments: [..., instrument] in and out, NaN for those that take no part -----------------------------


def rank(values: Floats) -> Floats:
    """Rank among the last axis's present values, from −0.5 (lowest) to 0.5; equal values share the mean rank.

    NaN ranks NaN and counts for nobody; a lone value ranks 0. Equal values share a rank whatever order a sort leaves
    them in.
    """
    order = np.argsort(values, axis=-1)
    rising = np.take_along_axis(values, order, -1)
    places = np.arange(values.shape[-1], dtype=np.float64)
    new = np.ones(values.shape, np.bool_)
    new[..., 1:] = rising[..., 1:] != rising[..., :-1]
    first = np.maximum.accumulate(np.where(new, places, 0.0), axis=-1)
    ends = np.ones(values.shape, np.bool_)
    ends[..., :-1] = new[..., 1:]
    last = np.minimum.accumulate(np.where(ends, places, np.inf)[..., ::-1], axis=-1)[..., ::-1]
    below = np.empty(values.shape)
    np.put_along_axis(below, order, 0.5 * (first + last), -1)
    return _ranked(below, values)


def _ranked(below: Floats, values: Floats) -> Floats:
    """Ranks from how many lie below (a tie counts half) among the present ones."""
    there = np.isfinite(values)
    present = there.sum(-1)[..., None]
    ranked = np.where(present > 1, below / np.maximum(present - 1, 1) - 0.5, 0.0)
    return np.where(there, ranked, np.nan)


def standard_score(values: Floats) -> Floats:
    """(value − mean) / standard deviation among the last axis's present values; NaN where fewer than two are there.

    The deviation's divisor is n − 1. Infinite where all values are equal.
    """
    apart, count = _apart(values)
    spread = np.sqrt(total(apart * apart)[..., None] / (count - 1))
    return np.where(np.isfinite(values), apart / spread, np.nan)


def less_mean(values: Floats) -> Floats:
    """Each value less the mean of those present."""
    return np.where(np.isfinite(values), _apart(values)[0], np.nan)


def _apart(values: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    there = np.isfinite(values)
    count = there.sum(-1)[..., None]
    centre = total(np.where(there, values, 0.0))[..., None] / count
    return np.where(there, values - centre, 0.0), count


def less_group_mean(values: Floats, groups: Floats) -> Floats:
    """Each value less the mean of its group, groups being told apart by any numbers; 0 for a group of one.

    Sums run over the instruments in their order, whatever times are computed together.
    """
    there = np.isfinite(values) & np.isfinite(groups)
    known, inner = np.unique(np.where(there, groups, np.inf), return_inverse=True)
    times = np.arange(values.size) // values.shape[-1]
    codes = inner.ravel() + times * len(known)  # no two groups or times share one
    means = np.bincount(codes, weights=np.where(there, values, 0.0).ravel()) / np.bincount(codes)
    return np.where(there, values - means[codes].reshape(values.shape), np.nan)
