"""Random panels of any inputs that features read: bars and quotes that fit together, gaps, late and restated values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from features.definition import Feature, FeatureSet
from features.panel import Panel, Revisions

Floats = npt.NDArray[np.float64]

DELAY_NS = 900_000_000_000
_SESSION_NS = 120_000_000_000_000  # some 262 rows a year
_EVENT_NS = 1_250_000_000
_WHOLE = ("volume", "bid_size", "ask_size", "shares_outstanding", "sector")
_TICK = 0.01


def random_panels(
    features: Iterable[Feature],
    *,
    rows: int,
    instruments: int,
    seed: int,
    gap_share: float = 0.0,
    late_share: float = 0.0,
    restated_share: float = 0.0,
) -> dict[str, Panel]:
    """Aligned panels of all inputs of the features, which share a clock.

    gap_share, late_share, restated_share: of all cells, those that never come, that come up to 30 rows late, and that
    change once or twice within 300 rows after they came.
    """
    rng = np.random.default_rng(seed)
    chosen = FeatureSet(tuple(features))
    step_ns = _EVENT_NS if chosen.features[0].clock == "event" else _SESSION_NS
    jitter = rng.integers(0, step_ns // 2, rows)
    events = np.arange(1, rows + 1, dtype=np.int64) * step_ns + jitter
    known = np.maximum.accumulate(events + (DELAY_NS if step_ns == _SESSION_NS else 0))
    names = tuple(f"I{at:04}" for at in range(instruments))
    made = {}
    close = _prices(rng, rows, instruments)
    for name in chosen.inputs:
        values = _values(name.removesuffix("_adjusted_final"), close, rng)
        values[rng.random(values.shape) < gap_share] = np.nan
        panel = Panel(name, values, events, known, names)
        made[name] = _revised(panel, rng, late_share, restated_share)
    return made


def _prices(rng: np.random.Generator, rows: int, instruments: int) -> Floats:
    steps = rng.standard_normal((rows, instruments)) * 0.02
    return np.maximum(np.round(50.0 * np.exp(np.cumsum(steps, axis=0)), 2), _TICK)


def _values(name: str, close: Floats, rng: np.random.Generator) -> Floats:
    before = np.concatenate([close[:1], close[:-1]])
    noise = np.abs(rng.standard_normal(close.shape))
    opening = before * 1.001
    if name == "open":
        return opening
    if name == "high":
        return np.maximum(opening, close) * (1.0 + 0.01 * noise)
    if name == "low":
        return np.minimum(opening, close) / (1.0 + 0.01 * noise)
    if name == "bid":
        return close - _TICK * np.ceil(noise) / 2
    if name == "ask":
        return close + _TICK * np.ceil(noise) / 2
    if name == "sector":
        return np.tile(np.arange(close.shape[1]) % 11.0, (len(close), 1))
    if name in _WHOLE:
        return rng.integers(1, 1_000_000, close.shape).astype(np.float64)
    return close.copy() if name == "close" else _prices(rng, *close.shape)


def _revised(panel: Panel, rng: np.random.Generator, late_share: float, restated_share: float) -> Panel:
    """The panel with revisions that lead to its values."""
    late = np.argwhere((rng.random(panel.values.shape) < late_share) & np.isfinite(panel.values))
    restated = np.argwhere((rng.random(panel.values.shape) < restated_share) & np.isfinite(panel.values))
    twice = restated[rng.random(len(restated)) < 0.3]
    changes: list[tuple[int, int, int, float, float]] = []
    changed: set[tuple[int, int]] = set()
    for cells, furthest in ((late, 30), (restated, 300)):
        for row, column in cells.tolist():
            if (row, column) in changed:
                continue
            changed.add((row, column))
            final = float(panel.values[row, column])
            first = np.nan if cells is late else _other(panel.input, final, rng)
            known = _after(panel, row, furthest, rng)
            changes.append((known, row, column, first, final))
    panel = _with(panel, changes)
    for row, column in twice.tolist():
        panel = _changed_once_more(panel, row, column, rng)
    return panel


def _changed_once_more(panel: Panel, row: int, column: int, rng: np.random.Generator) -> Panel:
    """The last change to a cell is followed by another one, which leads to a new final value."""
    known = _after(panel, row, 300, rng)
    old = panel.revisions
    mine = (old.time == row) & (old.instrument == column)
    known = max(known, int(old.known_ns[mine].max(initial=0)) + 1)
    before = float(panel.values[row, column])
    after = _other(panel.input, before, rng)
    panel.values[row, column] = after
    rows = zip(
        *(getattr(old, name).tolist() for name in ("known_ns", "time", "instrument", "before", "after")), strict=True
    )
    return _with(panel, [*rows, (known, row, column, before, after)])


def _with(panel: Panel, changes: list[tuple[int, int, int, float, float]]) -> Panel:
    changes = sorted(changes, key=lambda each: each[0])
    columns = list(zip(*changes, strict=True)) or [()] * 5
    integers = [np.array(each, np.int64) for each in columns[:3]]
    floats = [np.array(each, np.float64) for each in columns[3:]]
    return replace(panel, revisions=Revisions(*integers, *floats))


def _other(name: str, value: float, rng: np.random.Generator) -> float:
    factor = float(rng.choice([0.5, 0.97, 1.03, 2.0]))
    return float(np.rint(value * factor)) + 1.0 if name in _WHOLE else value * factor


def _after(panel: Panel, row: int, furthest: int, rng: np.random.Generator) -> int:
    """An instant after the row's knowledge time, at another row's one now and then."""
    times = panel.knowledge_times_ns
    until = times[min(row + furthest, len(times) - 1)] + DELAY_NS
    exact = int(times[min(row + int(rng.integers(1, furthest + 1)), len(times) - 1)])
    anywhere = int(rng.integers(times[row] + 1, until + 1))
    return exact if exact > times[row] and rng.random() < 0.3 else anywhere
