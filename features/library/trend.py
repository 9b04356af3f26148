"""Where the price stands within its own past: drawdown, distance from high, low and mean, straightness of the path.

All ratios of the window's closes.
"""

from __future__ import annotations

import numpy as np

from features.definition import Floats, feature
from features.kernels import highest, lowest, mean, total

CLOSE = ("close_adjusted_final",)
OWNER = "research"


@feature(inputs=CLOSE, window=126, unit="share", owner=OWNER)
def drawdown_126(close: Floats) -> Floats:
    """The deepest fall from an earlier high within 126 sessions; 0 at best, −0.4 is a fall by 40 %."""
    return lowest(close / np.maximum.accumulate(close, axis=-1)) - 1.0


@feature(inputs=CLOSE, window=252, unit="share", owner=OWNER)
def distance_from_high_252(close: Floats) -> Floats:
    """The close over the highest of 252 sessions, less one (George and Hwang 2004); 0 at the high."""
    return close[:, -1] / highest(close) - 1.0


@feature(inputs=CLOSE, window=252, unit="share", owner=OWNER)
def distance_from_low_252(close: Floats) -> Floats:
    """The close over the lowest of 252 sessions, less one; 0 at the low."""
    return close[:, -1] / lowest(close) - 1.0


@feature(inputs=CLOSE, window=50, unit="share", owner=OWNER)
def distance_from_mean_50(close: Floats) -> Floats:
    """The close over the mean of the last 50, less one."""
    return close[:, -1] / mean(close) - 1.0


@feature(inputs=CLOSE, window=64, unit="ratio", owner=OWNER)
def straightness_63(close: Floats) -> Floats:
    """The net change of 63 sessions over the way travelled (Kaufman's efficiency ratio, signed): −1 to 1.

    NaN where nothing moved.
    """
    return (close[:, -1] - close[:, 0]) / total(np.abs(close[:, 1:] - close[:, :-1]))
