"""Kolmogorov-Smirnov distance of each column from the reference."""

from __future__ import annotations

import numpy as np

from monitoring.detectors.contract import Measurement, Observation
from monitoring.detectors.window import CountWindow
from monitoring.reference import Reference
from monitoring.verdict import Fault
from promotion.evidence.drift import ks_distance
from promotion.evidence.nulls import CELLS


class KsDetector:
    """D = sup |F_reference − F_window| of every column, read at the reference's cell edges.

    Unit: probability, 0..1; at most 1/100 below the exact two-sample statistic. Missing values are left out; a column
    with less than half of the reference's share of present values measures NaN. Source: Kolmogorov 1933, Smirnov 1939.
    One observation costs O(columns).

    Two quiet sessions, then two shifted by one standard deviation:

    >>> reference = Reference.of(["momentum"], np.random.default_rng(7).normal(size=(4000, 1)))
    >>> detector = KsDetector(reference, window=2)
    >>> for shift in (0.0, 0.0, 1.0, 1.0):
    ...     rows = np.random.default_rng(8).normal(shift, size=(200, 1))
    ...     detector.observe(Observation(reference.count(rows), net=0.0))
    ...     measured = detector.measure()
    ...     print(measured.filled, measured.values.round(2) if measured.ready else "warming")
    1 warming
    2 [0.04]
    2 [0.21]
    2 [0.42]
    """

    name = "ks"
    fault: Fault = "input"

    def __init__(self, reference: Reference, window: int) -> None:
        self._window = CountWindow(reference, window)
        self._reference = reference.counts[:, :CELLS]
        self._sessions = window

    def observe(self, observation: Observation) -> None:
        """Takes in one session's counts."""
        self._window.add(observation.counts)

    def measure(self) -> Measurement:
        """D of every column over the window."""
        distance = ks_distance(self._reference, self._window.sum[:, :CELLS])
        return Measurement(
            detector=self.name,
            fault=self.fault,
            subjects=self._window.reference.names,
            values=np.where(self._window.unmeasurable, np.nan, distance),
            samples=self._window.rows,
            filled=self._window.filled,
            window=self._sessions,
        )

    def rearm(self) -> None:
        """Forgets the window."""
        self._window.rearm()
