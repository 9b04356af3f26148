"""What every feature must do, as checks that anyone can run on theirs: the library's features pass the same ones.

    for check in CHECKS:
        check(my_feature)

Each check computes the feature on a small made-up panel and raises KernelError with what it saw. They are about the
contract of `features.definition`, not about whether the feature is any good.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from features.batch import compute
from features.definition import Feature, FeatureSet
from features.errors import KernelError
from features.online import OnlineFeatures
from features.panel import Panel
from features.specimen import specimen_panels

Floats = npt.NDArray[np.float64]
Panels = Mapping[str, Panel]

ADJUSTED_FINAL = "_adjusted_final"  # inputs of this ending are prices up to a constant factor
_BEYOND = 12  # rows computed beyond the first whole window
_FACTORS = (3.7, 0.013, 41.0, 1e-4, 271.8, 1.1, 7e3)


def check_batch_equals_online(feature: Feature) -> None:
    """Row by row and event by event through ring buffers give the bits that strided windows give, gaps included."""
    panels = _panels(feature)
    batch = _values(feature, panels)
    first = next(iter(panels.values()))
    by_row, by_event = (OnlineFeatures(FeatureSet((feature,)), first.instruments) for _ in range(2))
    for row, event in enumerate(first.event_times_ns.tolist()):
        pushed = by_row.push(event, {name: each.values[row] for name, each in panels.items()})[:, 0]
        _same_bits(feature, pushed, batch[row], f"online and batch at row {row}")
        for at, instrument in enumerate(first.instruments):
            found = by_event.update(instrument, event, {name: each.values[row, at] for name, each in panels.items()})
            if not feature.across:
                _same_bits(feature, found, batch[row, at : at + 1], f"one instrument and batch at row {row}")
        _same_bits(feature, by_event.latest()[:, 0], batch[row], f"events and batch at row {row}")


def check_no_look_ahead(feature: Feature) -> None:
    """What comes after a row changes nothing in it, and neither does what lies before its window."""
    panels = _panels(feature)
    row = feature.reach + _BEYOND // 2
    expected = _values(feature, panels)[row]
    for name, panel in panels.items():
        values = panel.values.copy()
        values[row + 1 :] *= 3.0
        values[: row - feature.reach + 1] *= 2.0
        changed = {**panels, name: replace(panel, values=values)}
        _same_bits(feature, _values(feature, changed)[row], expected, "a row and the same row with another future")


def check_instruments_apart(feature: Feature) -> None:
    """A feature of one instrument does not depend on the others; a cross-section does not on their order."""
    panels = _panels(feature)
    expected = _values(feature, panels)
    order = np.arange(expected.shape[1])[::-1] if feature.across else np.array([2])
    chosen = {
        name: replace(
            each,
            values=np.ascontiguousarray(each.values[:, order]),
            instruments=tuple(each.instruments[at] for at in order),
        )
        for name, each in panels.items()
    }
    found = _values(feature, chosen)
    # A sum over instruments in another order may differ in its last bits.
    close = np.allclose(found, expected[:, order], rtol=1e-9, atol=1e-12, equal_nan=True)
    if not close:
        raise _broken(feature, "the same value whatever other columns stand beside it", "another")


def check_gaps_are_missing(feature: Feature) -> None:
    """Where the newest value or too many others are missing the result is NaN; everywhere it is finite or NaN."""
    panels = _panels(feature)
    values = _values(feature, panels)
    there = np.logical_and.reduce([np.isfinite(each.values) for each in panels.values()])
    lacking = ~there
    if feature.kind == "window" and feature.span_ns is None:
        filled = np.concatenate([np.zeros((feature.window - 1, there.shape[1]), bool), there])
        counts = np.lib.stride_tricks.sliding_window_view(filled, feature.window, axis=0).sum(-1)
        lacking |= counts < feature.min_rows
    if np.isfinite(values[lacking]).any():
        raise _broken(feature, "NaN where values are missing", "a number")
    if np.isinf(values).any():
        raise _broken(feature, "finite numbers or NaN", "an infinity")
    if not np.isfinite(values).any():
        raise _broken(feature, "some value on prices without a gap", "NaN everywhere")


def check_scale_invariant(feature: Feature) -> None:
    """Multiplying an instrument's adjusted prices by a constant changes nothing.

    To the bit for powers of two, where no product is rounded. For other factors each price is rounded anew, so the
    value may move by that rounding: within 1e-9 of it, or 1e-11 near 0. Only inputs that end in `_adjusted_final` are
    multiplied; a feature without one passes.
    """
    panels = _panels(feature)
    expected = _values(feature, panels)
    powers = 2.0 ** np.array([-3, 5, 0, 11, -20, 1, 8])
    _same_bits(feature, _values(feature, _scaled(panels, powers)), expected, "prices times a power of two")
    found = _values(feature, _scaled(panels, np.array(_FACTORS)))
    if not np.allclose(found, expected, rtol=1e-9, atol=1e-11, equal_nan=True):
        raise _broken(feature, "the same value for prices times a constant", "another")


def check_parts_equal_the_whole(feature: Feature) -> None:
    """Rows computed apart, each part with the history it needs, give the bits of all computed together."""
    panels = _panels(feature)
    expected = _values(feature, panels)
    rows = len(expected)
    for first, last in ((0, 1), (1, rows // 3), (rows // 3, rows - 1), (rows - 1, rows)):
        found = compute(FeatureSet((feature,)), panels, first=first, last=last).values[:, :, 0]
        _same_bits(feature, found, expected[first:last], f"rows {first} to {last} alone and among all")


CHECKS: tuple[Callable[[Feature], None], ...] = (
    check_batch_equals_online,
    check_no_look_ahead,
    check_instruments_apart,
    check_gaps_are_missing,
    check_scale_invariant,
    check_parts_equal_the_whole,
)


def _panels(feature: Feature) -> Panels:
    rows = 2 * feature.reach + 2 * _BEYOND  # the gap in the middle leaves a whole window on either side
    return specimen_panels([feature], rows=rows)


def _values(feature: Feature, panels: Panels) -> Floats:
    return compute(FeatureSet((feature,)), panels).values[:, :, 0]


def _scaled(panels: Panels, factors: Floats) -> Panels:
    return {
        name: replace(each, values=each.values * factors) if name.endswith(ADJUSTED_FINAL) else each
        for name, each in panels.items()
    }


def _same_bits(feature: Feature, found: Floats, expected: Floats, what: str) -> None:
    different = np.argwhere(found.view(np.uint64) != expected.view(np.uint64))
    if len(different):
        at = tuple(int(each) for each in different[0])
        raise _broken(feature, f"equal bits for {what}", f"{found[at]!r} and {expected[at]!r} at {at}")


def _broken(feature: Feature, expected: str, found: str) -> KernelError:
    return KernelError(
        f"feature {feature.name}: expected {expected}, found {found}; a kernel is a pure function of its windows, "
        "reduces the last axis only, and uses ratios of adjusted prices"
    )
