"""A feature of one's own: a pure function of a window of prices, named by its function."""

from __future__ import annotations

from features.definition import Floats, feature


@feature(inputs=("close_adjusted_final",), window=64, unit="share", owner="outside-research")
def distance_from_low_63(close: Floats) -> Floats:
    """The close over the lowest of 63 sessions and the newest, less one; the same for a series scaled by a constant."""
    return close[:, -1] / close.min(-1) - 1.0
