"""Population stability index: how far each column's distribution moved from the reference's quantile bins."""

from __future__ import annotations

import numpy as np

from monitoring.detectors.contract import Measurement, Observation
from monitoring.detectors.window import CountWindow
from monitoring.reference import Counts, Reference
from monitoring.verdict import Fault
from promotion.evidence.drift import psi
from promotion.evidence.nulls import CELLS, PSI_BINS


class PsiDetector:
    """PSI of every column over a window of sessions: Σ (q − p) ln(q / p) over ten reference-quantile bins.

    Unit: nats, 0 for no difference. Missing values are left out; a column with less than half of the reference's share
    of present values measures NaN. Source: Yurdakul & Naranjo, J. Risk Model Validation 14(4), 2020. One observation
    costs O(columns).

    Two quiet sessions, then two whose rows are all in the upper half:

    >>> reference = Reference.of(["momentum"], np.random.default_rng(7).normal(size=(4000, 1)))
    >>> detector = PsiDetector(reference, window=2)
    >>> for shift in (0.0, 0.0, 2.0, 2.0):
    ...     rows = np.random.default_rng(8).normal(shift, size=(200, 1))
    ...     detector.observe(Observation(reference.count(rows), net=0.0))
    ...     measured = detector.measure()
    ...     print(measured.filled, measured.values.round(2) if measured.ready else "warming")
    1 warming
    2 [0.03]
    2 [0.74]
    2 [3.11]
    """

    name = "psi"
    fault: Fault = "input"

    def __init__(self, reference: Reference, window: int) -> None:
        self._window = CountWindow(reference, window)
        self._reference = bins_of(reference.counts)
        self._sessions = window

    def observe(self, observation: Observation) -> None:
        """Takes in one session's counts."""
        self._window.add(observation.counts)

    def measure(self) -> Measurement:
        """PSI of every column over the window."""
        values = psi(self._reference, bins_of(self._window.sum))
        return Measurement(
            detector=self.name,
            fault=self.fault,
            subjects=self._window.reference.names,
            values=np.where(self._window.unmeasurable, np.nan, values),
            samples=self._window.rows,
            filled=self._window.filled,
            window=self._sessions,
        )

    def rearm(self) -> None:
        """Forgets the window."""
        self._window.rearm()


def bins_of(counts: Counts) -> Counts:
    """Cell counts [column, CELLS + 1] as bin counts [column, PSI_BINS]; missing values left out."""
    bins: Counts = counts[:, :CELLS].reshape(len(counts), PSI_BINS, CELLS // PSI_BINS).sum(axis=2)
    return bins
