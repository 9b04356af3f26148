"""Features over a whole panel: windows in blocks that fit the cache, and exact re-evaluation of what came late.

Every kernel sees the arrays that it would see online; how the panel is cut into blocks changes no bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from features.anchor import UNKNOWN
from features.definition import Feature, FeatureSet
from features.errors import PanelError
from features.evaluate import accumulated, across, canonical, contributions, evaluate, quiet, usable, window_values
from features.panel import Panel
from features.restated import Cells, first_known, touched, windows_as_known
from features.scan import advance, fresh, run
from features.stretch import Block, Stretch, entities

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Columns = Mapping[Feature, Floats]

_CHUNK_BYTES = 256 << 10  # of one input's windows: with what a kernel makes of them, they stay in the cache


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Features over time and instruments.

    values: float64 [time, instrument, feature]; NaN where a feature's missing rule says so. A view: each feature's
    [time, instrument] is contiguous.
    event_times_ns: int64 [time], UTC. knowledge_times_ns: int64 [time], UTC: when row t could have been computed;
    its values use nothing that was known later.
    instruments, names: of the second and third axis.
    """

    values: Floats
    event_times_ns: Times
    knowledge_times_ns: Times
    instruments: tuple[str, ...]
    names: tuple[str, ...]


def compute(
    feature_set: FeatureSet, panel: Panel | Mapping[str, Panel], *, first: int = 0, last: int | None = None
) -> FeatureMatrix:
    """Every feature of the set at every row of the panel, each row as it was known at its own knowledge time.

    panel: one panel, or one per input (same times and instruments). first, last: compute these rows alone, `last`
    excluded; the rows before them are their history, so that parts computed apart equal the whole. Rows whose windows
    hold late or restated values are evaluated again on what was known then, by the same kernel. PanelError when an
    input is missing or panels differ in their times or instruments; KernelError when a kernel breaks its declaration.
    """
    panels = aligned(feature_set, panel)
    lead = next(iter(panels.values()))
    last = len(lead.event_times_ns) if last is None else last
    stretch = Stretch(panels, first, last, feature_set.max_window)
    store = np.empty((len(feature_set.computed), stretch.rows, stretch.instruments))
    columns = {each: store[at] for at, each in enumerate(feature_set.computed)}
    with quiet():
        _compute_windows(stretch, columns)
        for feature, column in columns.items():
            if feature.kind == "exact_accum":
                _accumulate(feature, stretch, column)
            elif feature.kind == "scan":
                _scan(feature, stretch, column)
        _compute_restated(stretch, columns)
        for feature in feature_set.cross_sections:
            _cross(feature, stretch, columns)
    return FeatureMatrix(
        np.moveaxis(store[: len(feature_set)], 0, -1),
        lead.event_times_ns[first:last],
        lead.knowledge_times_ns[first:last],
        lead.instruments,
        feature_set.names,
    )


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


def rows_in_span(feature: Feature, event_times_ns: Times) -> Times:
    """int64 [time]: how many rows up to each one lie within the feature's span, its window at the most."""
    rows = np.arange(1, len(event_times_ns) + 1)
    if feature.span_ns is None:
        return np.full(len(rows), feature.window)
    oldest = np.searchsorted(event_times_ns, event_times_ns - feature.span_ns, side="right")
    return np.asarray(np.minimum(rows - oldest, feature.window))


def _compute_windows(stretch: Stretch, columns: Columns) -> None:
    ordered = sorted((each for each in columns if each.kind == "window"), key=lambda each: each.window)
    for length, group in groupby(ordered, key=lambda each: each.window):
        features = list(group)
        views = {name: stretch.windows(name, length) for each in features for name in each.panels}
        for block in stretch.blocks(length, _CHUNK_BYTES):
            windows = {name: entities(view, block) for name, view in views.items()}
            for feature in features:
                found = _window_block(feature, stretch, block, [windows[name] for name in feature.panels])
                columns[feature][block.rows, block.instruments] = found.T


def _window_block(feature: Feature, stretch: Stretch, block: Block, windows: Sequence[Floats]) -> Floats:
    """The values [instrument, row] of one block."""
    length: int | Times = feature.window
    if feature.span_ns is not None:
        length = rows_in_span(feature, stretch.lead.event_times_ns)[stretch.first :][block.rows]
        outside = np.arange(feature.window) < (feature.window - np.tile(length, block.shape[0]))[:, None]
        windows = [np.where(outside, np.nan, each) for each in windows]
    raw = window_values(feature, windows).reshape(block.shape)
    newest = stretch.missing(feature.panels, block, 1) == 0
    present = length - stretch.missing(feature.panels, block, length)
    return canonical(raw, usable(feature, newest, present))


def _accumulate(feature: Feature, stretch: Stretch, column: Floats) -> None:
    """Prefix sums of what each row adds: whole numbers, so that their differences are exact."""
    rows, before = feature.contribution_rows, feature.window - 1
    for left in range(0, stretch.instruments, 16):
        block = Block(slice(left, min(left + 16, stretch.instruments)), slice(0, stretch.rows + before))
        parts = [entities(stretch.windows(name, rows, before=before), block) for name in feature.panels]
        added, there = contributions(feature, parts)
        there = there.reshape(block.shape)
        sums, count = (_sliding_sum(each, feature.window) for each in (added.reshape(-1, *block.shape), there))
        allowed = usable(feature, there[:, before:], count)
        column[:, block.instruments] = canonical(accumulated(sums), allowed).T


def _sliding_sum(values: npt.NDArray[np.int64] | npt.NDArray[np.bool_], length: int) -> Times:
    """Sums of `length` neighbours along the last axis; overflow on the way cancels out."""
    sums = np.cumsum(values, axis=-1, dtype=np.int64)
    sums[..., length:] -= sums[..., :-length].copy()
    return np.asarray(sums[..., length - 1 :])


def _scan(feature: Feature, stretch: Stretch, column: Floats) -> None:
    assert feature.anchor is not None  # declared so
    starts = feature.anchor.starts(stretch.lead.event_times_ns[: stretch.last], feature.window)
    column[:] = np.nan
    for start in np.unique(starts[stretch.first :]).tolist():
        if start == UNKNOWN:
            continue
        rows = np.flatnonzero(starts == start)
        progress = fresh(feature, stretch.instruments)
        for row in range(start, int(rows[-1]) + 1):
            values = [np.ascontiguousarray(stretch.panels[name].values[row]) for name in feature.panels]
            progress = advance(feature, progress, values)
            if row >= max(rows[0], stretch.first):
                column[row - stretch.first] = progress.values(feature)


def _compute_restated(stretch: Stretch, columns: Columns) -> None:
    own = sorted((each for each in columns if not each.across), key=lambda each: (each.panels, each.reach))
    for (names, reach), group in groupby(own, key=lambda each: (each.panels, each.reach)):
        features = list(group)
        for cells in touched(stretch, names, reach).blocks(max(1, 16 * _CHUNK_BYTES // (8 * reach))):
            windows = [windows_as_known(stretch, name, cells, reach) for name in names]
            for feature in features:
                values = _restated(feature, stretch, cells, windows)
                columns[feature][cells.row - stretch.first, cells.instrument] = values


def _restated(feature: Feature, stretch: Stretch, cells: Cells, windows: Sequence[Floats]) -> Floats:
    times = stretch.lead.event_times_ns[: stretch.last]
    if feature.kind == "scan":
        assert feature.anchor is not None  # declared so
        starts = feature.anchor.starts(times, feature.window)[cells.row]
        column = np.where(starts == UNKNOWN, feature.reach, feature.reach - 1 - (cells.row - starts))
        return run(feature, windows, column).values(feature)
    if feature.span_ns is None:
        return evaluate(feature, windows)
    return evaluate(feature, windows, feature.window - rows_in_span(feature, times)[cells.row])


def _cross(feature: Feature, stretch: Stretch, columns: Columns) -> None:
    given = list(_cross_inputs(feature, stretch, columns))
    rows = max(1, _CHUNK_BYTES // (8 * stretch.instruments))
    for top in range(0, stretch.rows, rows):
        block = [np.ascontiguousarray(each[top : top + rows]) for each in given]
        columns[feature][top : top + rows] = across(feature, block)


def _cross_inputs(feature: Feature, stretch: Stretch, columns: Columns) -> Iterator[Floats]:
    for each in feature.read:
        if isinstance(each, Feature):
            yield columns[each]
        else:
            yield first_known(stretch.panels[each], stretch.first, stretch.last)
