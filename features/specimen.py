"""A panel made to test kernels on: prices that wander, the same bits on every machine.

Made by integer arithmetic alone: no random generator, no library function.
"""

from __future__ import annotations

import numpy as np

from features.panel import Panel

STEP_NS = 86_400_000_000_000
_TICKS = 64.0  # to a price of 1: every price is exact in float64


def specimen_panel(name: str, *, rows: int, instruments: int = 7, seed: int = 1, gaps: bool = True) -> Panel:
    """Prices [rows, instruments] in steps of a 64th, from a linear congruential generator (Knuth's MMIX constants).

    One row a day from 1970-01-02, known at once. gaps: one value near the end and one whole row in the middle are
    missing.
    """
    state, level = seed, [4096] * instruments
    prices = np.empty((rows, instruments))
    for row in range(rows):
        for column in range(instruments):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            level[column] = max(64, level[column] + (state >> 40) % 257 - 128)
            prices[row, column] = level[column] / _TICKS
    if gaps:
        prices[-5, 1] = np.nan
        prices[rows // 2] = np.nan
    times = np.arange(1, rows + 1, dtype=np.int64) * STEP_NS
    return Panel(name, prices, times, times, tuple(f"T{column}" for column in range(instruments)))
