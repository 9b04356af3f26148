"""Features over a whole panel: strided windows, and exact re-evaluation where something came late or was restated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.definition import FeatureSet
from features.errors import PanelError
from features.evaluate import evaluate
from features.panel import Panel

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

_CHUNK_BYTES = 4 << 20  # of one input's windows: small enough to stay in cache


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Features over time and instruments.

    values: float64 [time, instrument, feature]; NaN where a feature's missing rule says so.
    event_times_ns: int64 [time], UTC. knowledge_times_ns: int64 [time], UTC: when row t could have been computed;
    its values use nothing that was known later.
    instruments, names: of the second and third axis.
    """

    values: Floats
    event_times_ns: Times
    knowledge_times_ns: Times
    instruments: tuple[str, ...]
    names: tuple[str, ...]


def compute(feature_set: FeatureSet, panel: Panel | Mapping[str, Panel]) -> FeatureMatrix:
    """Every feature of the set at every row of the panel, each row as it was known at its own knowledge time.

    panel: one panel, or one per input (same times and instruments). Rows whose windows hold late or restated values
    are evaluated again on what was known then, by the same kernel. PanelError when an input is missing or panels
    differ in their times or instruments; KernelError when a kernel breaks its declaration.
    """
    panels = aligned(feature_set, panel)
    first = next(iter(panels.values()))
    values = _strided(feature_set, panels)
    for row in _touched(panels, feature_set.max_window):
        windows = {
            name: each.window_as_known(row, feature_set.max_window, int(each.knowledge_times_ns[row]))
            for name, each in panels.items()
        }
        values[row] = evaluate_row(feature_set, {name: window.T for name, window in windows.items()})
    return FeatureMatrix(values, first.event_times_ns, first.knowledge_times_ns, first.instruments, feature_set.names)


def aligned(feature_set: FeatureSet, panel: Panel | Mapping[str, Panel]) -> dict[str, Panel]:
    """The panels that the set reads, by input. PanelError when one is missing or their rows or columns differ."""
    given = {panel.input: panel} if isinstance(panel, Panel) else dict(panel)
    missing = [name for name in feature_set.inputs if name not in given]
    if missing:
        raise PanelError(
            f"panels: expected inputs {', '.join(feature_set.inputs)}, found {', '.join(given) or 'none'}; "
            f"add {', '.join(missing)}"
        )
    used = {name: given[name] for name in feature_set.inputs}
    first, *others = used.values()
    for other in others:
        same_times = np.array_equal(first.event_times_ns, other.event_times_ns) and np.array_equal(
            first.knowledge_times_ns, other.knowledge_times_ns
        )
        if not same_times or first.instruments != other.instruments:
            raise PanelError(
                f"panels {first.input} and {other.input}: expected the same times and instruments, found others; "
                "read both from one snapshot at one instant, and fill missing rows with NaN"
            )
    return used


def evaluate_row(feature_set: FeatureSet, windows: Mapping[str, Floats]) -> Floats:
    """One time's features [instrument, feature] from windows [instrument, max_window] per input, newest last."""
    values = np.empty((next(iter(windows.values())).shape[0], len(feature_set)))
    for column, feature in enumerate(feature_set.features):
        own = [np.ascontiguousarray(windows[name][:, -feature.window :])[None] for name in feature.inputs]
        values[:, column] = evaluate(feature, own)[0]
    return values


def _strided(feature_set: FeatureSet, panels: Mapping[str, Panel]) -> Floats:
    times, instruments = next(iter(panels.values())).values.shape
    values = np.empty((times, instruments, len(feature_set)))
    for length in sorted({each.window for each in feature_set.features}):
        columns = [at for at, each in enumerate(feature_set.features) if each.window == length]
        views = {name: _windows(panel.values, length) for name, panel in panels.items()}
        rows = max(1, _CHUNK_BYTES // (8 * length * max(1, instruments)))
        for start in range(0, times, rows):
            chunk = {name: np.ascontiguousarray(view[start : start + rows]) for name, view in views.items()}
            for column in columns:
                feature = feature_set.features[column]
                values[start : start + rows, :, column] = evaluate(feature, [chunk[name] for name in feature.inputs])
    return values


def _windows(values: Floats, length: int) -> Floats:
    """A view [time, instrument, length] of `values` [time, instrument], filled up with NaN before the first row."""
    filled = np.concatenate([np.full((length - 1, values.shape[1]), np.nan), values])
    return np.lib.stride_tricks.sliding_window_view(filled, length, axis=0)


def _touched(panels: Mapping[str, Panel], longest: int) -> list[int]:
    """Rows whose window holds a cell that changed after the row's knowledge time."""
    touched: set[int] = set()
    for panel in panels.values():
        revisions = panel.revisions
        last_before = np.searchsorted(panel.knowledge_times_ns, revisions.known_ns, side="left")
        for cell, end in zip(revisions.time.tolist(), last_before.tolist(), strict=True):
            touched.update(range(cell, min(cell + longest, end)))
    return sorted(touched)
