"""The one place where a kernel is called: batch, online and the fingerprint all come through here.

That is what makes them agree bit for bit: same arrays, same layout, same missing rule, same canonical result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.definition import Feature
from features.errors import KernelError

Floats = npt.NDArray[np.float64]


def evaluate(feature: Feature, windows: Sequence[Floats]) -> Floats:
    """The feature's values [time, instrument] for windows [time, instrument, window], one array per input.

    windows: float64, C-contiguous, oldest value first, NaN where missing; not written to. NaN where the missing rule
    says so or the result is not finite; one NaN payload, no −0.0. KernelError when the kernel gives another shape or
    dtype than it declared, or writes into its windows.
    """
    times, instruments, length = windows[0].shape
    present = np.isfinite(windows[0])
    for other in windows[1:]:
        present &= np.isfinite(other)
    arguments = [_read_only(window, feature) for window in windows]
    try:
        with np.errstate(all="ignore"):
            raw = feature.kernel(*arguments)
    except ValueError as error:
        raise KernelError(
            f"feature {feature.name}: its kernel failed on windows of {length} rows ({error}); repair the kernel "
            "(a window may not be written to; gaps are NaN)"
        ) from error
    shaped = _shaped(feature, raw, times, instruments)
    usable = present[..., -1] & (present.sum(-1) >= feature.min_rows) & np.isfinite(shaped)
    return np.where(usable, shaped + 0.0, np.nan)


def _read_only(window: Floats, feature: Feature) -> Floats:
    view = window if feature.kind == "cross_section" else window.reshape(-1, window.shape[-1])
    view = view.view()
    view.flags.writeable = False
    return view


def _shaped(feature: Feature, raw: Floats, times: int, instruments: int) -> Floats:
    expected = (times, instruments) if feature.kind == "cross_section" else (times * instruments,)
    if not isinstance(raw, np.ndarray) or raw.shape != expected or raw.dtype != np.float64:
        found = f"{raw.dtype} {raw.shape}" if isinstance(raw, np.ndarray) else type(raw).__name__
        raise KernelError(
            f"feature {feature.name}: expected its kernel to return float64 of shape {expected}, found {found}; "
            f"a {feature.kind} kernel reduces the last axis only"
        )
    return raw.reshape(times, instruments)
