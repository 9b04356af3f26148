"""Panels made to test kernels on: prices that wander, the same bits on every machine.

Made by integer arithmetic alone: no random generator, no library function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from features.definition import Feature
from features.panel import Panel

STEP_NS = 86_400_000_000_000
_SESSION_STEP_NS = 9 * STEP_NS  # some 40 rows a year: anchors of years come often
_EVENT_STEP_NS = 10_000_000_000
_TICKS = 64.0  # to a price of 1: every price is exact in float64
_MULTIPLIER, _INCREMENT = 6364136223846793005, 1442695040888963407  # Knuth's MMIX generator

Floats = npt.NDArray[np.float64]
Draws = npt.NDArray[np.int64]


def specimen_panel(
    name: str, *, rows: int, instruments: int = 7, seed: int = 1, gaps: bool = True, step_ns: int = STEP_NS
) -> Panel:
    """Prices [rows, instruments] in steps of a 64th, that wander.

    One row a day from 1970-01-02, known at once. gaps: one value near the end and one whole row in the middle are
    missing.
    """
    prices = _wander(rows, instruments, seed)
    return _panel(name, prices, step_ns, gaps=gaps)


def specimen_panels(features: Iterable[Feature], *, rows: int, gaps: bool = True) -> dict[str, Panel]:
    """Panels of every input that the features read, seven instruments: bars and quotes fit together, sizes are whole.

    Some 40 rows a year, or a row every ten seconds where a feature's clock is `event`. Inputs of unknown names are
    prices that wander on their own.
    """
    chosen = tuple(features)
    step_ns = _EVENT_STEP_NS if any(each.clock == "event" for each in chosen) else _SESSION_STEP_NS
    names = sorted({name for each in chosen for name in _leaves(each)})
    made = {}
    for seed, name in enumerate(names, start=2):
        make = _MADE.get(name.removesuffix("_adjusted_final"))
        values = _wander(rows, 7, seed) if make is None else make(_wander(rows, 7, 1), _draws(rows, 7, seed))
        made[name] = _panel(name, values, step_ns, gaps=gaps)
    return made


def _leaves(feature: Feature) -> set[str]:
    return {*feature.panels, *(name for each in feature.parents for name in _leaves(each))}


def _panel(name: str, values: Floats, step_ns: int, *, gaps: bool) -> Panel:
    rows, instruments = values.shape
    if gaps:
        values[-5, 1] = np.nan
        values[rows // 2] = np.nan
    times = np.arange(1, rows + 1, dtype=np.int64) * step_ns
    return Panel(name, values, times, times, tuple(f"T{column}" for column in range(instruments)))


def _draws(rows: int, instruments: int, seed: int) -> Draws:
    """Whole numbers [rows, instruments] below 2^24 from a linear congruential generator, all at once.

    x(n) = aⁿ x(0) + c (1 + a + … + aⁿ⁻¹) modulo 2^64, which is how unsigned integers wrap.
    """
    count = rows * instruments
    powers = np.multiply.accumulate(np.full(count, _MULTIPLIER, np.uint64))
    sums = np.concatenate([np.ones(1, np.uint64), powers[:-1]]).cumsum(dtype=np.uint64)
    states = (powers * np.uint64(seed) + np.uint64(_INCREMENT) * sums).view(np.uint64)
    return np.right_shift(states, np.uint64(40)).astype(np.int64).reshape(rows, instruments)


def _wander(rows: int, instruments: int, seed: int) -> Floats:
    steps = _draws(rows, instruments, seed) % 257 - 128
    level = np.full(instruments, 4096)
    prices = np.empty((rows, instruments))
    for row in range(rows):
        level = np.maximum(64, level + steps[row])
        prices[row] = level / _TICKS
    return prices


def _opens(close: Floats, draws: Draws) -> Floats:
    return np.asarray(np.concatenate([close[:1], close[:-1]]) + (draws % 9) / _TICKS)


def _highs(close: Floats, draws: Draws) -> Floats:
    before = np.concatenate([close[:1], close[:-1]])
    return np.asarray(np.maximum(before + 8 / _TICKS, close) + (1 + draws % 31) / _TICKS)


def _lows(close: Floats, draws: Draws) -> Floats:
    before = np.concatenate([close[:1], close[:-1]])
    return np.asarray(np.minimum(before, close) - (1 + draws % 31) / _TICKS)


_MADE: Mapping[str, Callable[[Floats, Draws], Floats]] = {
    "open": _opens,
    "high": _highs,
    "low": _lows,
    "close": lambda close, _: close,
    "volume": lambda _, draws: (1000 + draws % 9000).astype(np.float64),
    "shares_outstanding": lambda _, draws: (1_000_000 + draws % 9000).astype(np.float64),
    "sector": lambda close, _: np.tile(np.arange(close.shape[1]) % 3, (len(close), 1)).astype(np.float64),
    "bid": lambda close, draws: close - (1 + draws % 2) / _TICKS,
    "ask": lambda close, draws: close + (1 + draws % 2) / _TICKS,
    "bid_size": lambda _, draws: (1 + draws % 500).astype(np.float64),
    "ask_size": lambda _, draws: (1 + draws % 500).astype(np.float64),
}
