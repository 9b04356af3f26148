"""The checks that every statistic makes of its arrays, with messages that name the row and column at fault."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from promotion.evidence.errors import ConstantError, GapError, ShapeError, TooFewError

__all__ = ["Floats", "Ints", "finite", "observed", "varying"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def observed(returns: Any, *, least: int = 2, what: str = "returns") -> Floats:
    """`returns` as a finite float64 vector of at least `least` values.

    ShapeError unless one-dimensional, GapError at the first NaN or infinity, TooFewError when it is too short.
    """
    array = finite(returns, dimensions=1, what=what)
    if array.size < least:
        raise TooFewError(f"{what}: expected at least {least} observations, found {array.size}; bring a longer record")
    return array


def varying(returns: Any, *, least: int = 2, what: str = "returns") -> Floats:
    """As `observed`, and refuses a constant series: rounding noise about a constant is constant too."""
    array = observed(returns, least=least, what=what)
    if np.std(array) <= 1e-12 * np.max(np.abs(array), initial=0.0):
        raise ConstantError(
            f"{what}: expected returns that vary, found {array.size} equal to {array[0]:.6g}; "
            "a book that holds nothing has no Sharpe ratio"
        )
    return array


def finite(values: Any, *, dimensions: int, what: str) -> Floats:
    """`values` as a float64 array of so many dimensions, all finite; ShapeError or GapError otherwise."""
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.ndim != dimensions:
        raise ShapeError(f"{what}: expected {dimensions} dimension(s), found shape {array.shape}; reshape it")
    if not np.isfinite(array).all():
        where = tuple(int(index) for index in np.argwhere(~np.isfinite(array))[0])
        raise GapError(f"{what}: expected finite numbers, found {array[where]} at {list(where)}; repair the source")
    return array
