"""The one place where a kernel is called: batch, online and the fingerprint all come through here.

That is what makes them agree bit for bit: same arrays, same layout, same missing rule, same canonical result. Callers
hold `quiet()` around many calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from features.definition import WHOLE_PANEL, Feature
from features.errors import KernelError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def quiet() -> np.errstate:
    """Kernels divide by zero and overflow in peace: what is not finite becomes NaN."""
    return np.errstate(all="ignore")


def all_present(arrays: Sequence[Floats]) -> Mask:
    """Where every one of the arrays is finite."""
    present = np.isfinite(arrays[0])
    for other in arrays[1:]:
        present &= np.isfinite(other)
    return present


def canonical(values: Floats, usable: Mask) -> Floats:
    """`values` where they are usable and finite; NaN with one payload elsewhere; no −0.0."""
    return np.where(usable & np.isfinite(values), values + 0.0, np.nan)


def evaluate(feature: Feature, windows: Sequence[Floats], first: Integers | None = None) -> Floats:
    """The values [entity] of a window or an accumulation for windows [entity, reach], one per input.

    windows: float64, C-contiguous, oldest value first, NaN where missing; not written to. first: int64 [entity], the
    column from which rows lie within the feature's span; all when left out. NaN where the missing rule says so or the
    result is not finite. KernelError when the kernel breaks its declaration.
    """
    if first is not None:
        columns = np.arange(windows[0].shape[1])
        windows = [np.where(columns >= first[:, None], each, np.nan) for each in windows]
    if feature.kind == "exact_accum":
        raw, present = _accumulate(feature, windows)
    else:
        raw, present = window_values(feature, windows), all_present(windows)
    return canonical(raw, usable(feature, present[:, -1], present.sum(-1)))


def usable(feature: Feature, newest: Mask, count: npt.NDArray[Any]) -> Mask:
    """Where the missing rule lets a value be: the newest row is there, and `count` of the window's rows suffice.

    `strict` is the same rule: its `min_rows` is the whole window.
    """
    return np.asarray(newest & (count >= feature.min_rows))


def window_values(feature: Feature, windows: Sequence[Floats]) -> Floats:
    """What a window's kernel says [entity] of windows [entity, window]: not yet canonical."""
    values: Floats = _checked(feature, _call(feature, windows), (windows[0].shape[0],), np.float64)
    return values


def contributions(feature: Feature, windows: Sequence[Floats]) -> tuple[Integers, Mask]:
    """What an accumulation's kernel says of windows [entity, contribution_rows], and where a whole window is there.

    int64 [terms, entity], 0 where something is missing, and bool [entity]. KernelError when the sum of as many as the
    feature's window could pass 64 bits.
    """
    raw = _call(feature, windows)
    terms = raw.shape[0] if isinstance(raw, np.ndarray) and raw.ndim == 2 else 0
    added = _checked(feature, raw, (terms if terms in (1, 2) else 1, windows[0].shape[0]), np.int64)
    there: Mask = np.asarray(all_present(windows).all(-1))
    added = np.where(there, added, 0)
    most = np.iinfo(np.int64).max // feature.window
    if added.size and max(int(added.max()), -int(added.min())) > most:
        raise KernelError(
            f"feature {feature.name}: expected contributions of at most {most}, so that {feature.window} of them fit "
            f"64 bits, found {added.max()} and {added.min()}; count in larger units"
        )
    return added, there


def accumulated(sums: Integers) -> Floats:
    """The value [entity] of sums int64 [terms, entity]: the sum, or the ratio of two."""
    return np.asarray(sums[0] / sums[1] if len(sums) == 2 else sums[0].astype(np.float64))


def step(feature: Feature, state: Floats, row: Sequence[Floats]) -> Floats:
    """A scan's next state [states, entity] from its state and one row [entity] per input."""
    following: Floats = _checked(feature, _call(feature, [state, *row]), state.shape, np.float64)
    return following


def across(feature: Feature, columns: Sequence[Floats]) -> Floats:
    """The values [time, instrument] of a cross-section for columns [time, instrument], one per input.

    columns: float64, C-contiguous, NaN where missing, one for each that the feature reads. An instrument that lacks
    one, or is no member, counts for nobody and has no value.
    """
    taking_part = all_present(columns)
    if feature.universe != WHOLE_PANEL:
        taking_part &= columns[feature.read.index(feature.universe)] > 0.0
    given = [np.where(taking_part, each, np.nan) for each in columns[: len(feature.inputs)]]
    raw = _checked(feature, _call(feature, given), columns[0].shape, np.float64)
    return canonical(raw, taking_part)


def _accumulate(feature: Feature, windows: Sequence[Floats]) -> tuple[Floats, Mask]:
    """The values [entity], not yet canonical, and which contributions [entity, window] are there."""
    rows = feature.contribution_rows
    places = np.arange(feature.window)[:, None] + np.arange(rows)
    parts = [each[:, places].reshape(-1, rows) for each in windows]
    added, there = contributions(feature, parts)
    shape = (len(windows[0]), feature.window)
    return accumulated(added.reshape(-1, *shape).sum(-1)), there.reshape(shape)


def _call(feature: Feature, arguments: Sequence[Floats]) -> Any:
    try:
        return feature.kernel(*[each if not each.flags.writeable else _read_only(each) for each in arguments])
    except ValueError as error:
        raise KernelError(
            f"feature {feature.name}: its kernel failed on arrays of shape {arguments[-1].shape} ({error}); repair the "
            "kernel (a window may not be written to; gaps are NaN)"
        ) from error


def _read_only(array: Floats) -> Floats:
    view = array.view()
    view.flags.writeable = False
    return view


def _checked(feature: Feature, raw: Any, shape: tuple[int, ...], dtype: type) -> Any:
    if not isinstance(raw, np.ndarray) or raw.shape != shape or raw.dtype != dtype:
        found = f"{raw.dtype} {raw.shape}" if isinstance(raw, np.ndarray) else type(raw).__name__
        raise KernelError(
            f"feature {feature.name}: expected its kernel to return {np.dtype(dtype)} of shape {shape}, found {found}; "
            f"see what a {feature.kind} returns in features.definition"
        )
    return raw
