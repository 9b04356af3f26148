"""What every detector keeps: it observes one session at a time and measures its window. It judges nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from monitoring.reference import Counts
from monitoring.verdict import Fault


@dataclass(frozen=True, eq=False)
class Observation:
    """What one session brought.

    counts: int64 [column, CELLS + 1], how the session's rows fell into the reference's cells; all zero when no row
    came. net: the release's paper return of the session, a share of capital; NaN when it is not known.
    """

    counts: Counts
    net: float


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a detector measured.

    subjects: what of, one a value. values: float64 [subject] in the detector's unit, NaN where there is nothing to
    measure in a full window. samples: how many values or rows the window holds. filled, window: sessions.
    """

    detector: str
    fault: Fault
    subjects: tuple[str, ...]
    values: npt.NDArray[np.float64]
    samples: int
    filled: int
    window: int

    @property
    def ready(self) -> bool:
        """Whether the window is full: before that, the values mean nothing."""
        return self.filled == self.window


class Detector(Protocol):
    """A statistic over the last `window` sessions. Its cost a session does not grow with the window's rows."""

    @property
    def name(self) -> str:
        """What it measures, one word."""
        ...

    @property
    def fault(self) -> Fault:
        """What it would mean if the measurement were far out."""
        ...

    def observe(self, observation: Observation) -> None:
        """Takes in one session; the oldest leaves a full window."""
        ...

    def measure(self) -> Measurement:
        """The statistic over the window now. Observing the same sessions gives the same bits, however often asked."""
        ...

    def rearm(self) -> None:
        """Forgets the window: a person has seen it, and evidence begins anew."""
        ...
