"""One release under watch: its paper book and its detectors. It lives as long as the release is asked each session."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from monitoring.decision import Past
from monitoring.detectors.contract import Detector, Measurement, Observation
from monitoring.detectors.ks import KsDetector
from monitoring.detectors.psi import PsiDetector
from monitoring.detectors.sharpe import SharpeDetector
from monitoring.reference import Counts
from monitoring.thresholds import Yardstick
from monitoring.verdict import Fault
from promotion.config import ActionPolicy, Signal
from promotion.evidence.errors import GapError
from promotion.evidence.performance import PaperBook

Floats = npt.NDArray[np.float64]


class Watch:
    """What one release did and does, one session at a time.

    history: float64 [session, instrument], returns before its first decision, oldest first: the impact cost needs a
    volatility. Unweighted: the capital weight changes nothing here.
    """

    def __init__(self, signal: Signal, policy: ActionPolicy, yardstick: Yardstick, history: Floats) -> None:
        self.yardstick = yardstick
        self._instruments = len(signal.universe)
        self._held = 0.0
        self._book = PaperBook(
            signal.construction,
            signal.costs,
            instruments=self._instruments,
            execution_lag_sessions=signal.execution_lag_sessions,
            history=history,
        )
        self._detectors: tuple[Detector, ...] = (
            PsiDetector(yardstick.reference, policy.drift_window_sessions),
            KsDetector(yardstick.reference, policy.drift_window_sessions),
            SharpeDetector(policy.sharpe_window_sessions),
        )

    def replay(self, sessions: Iterable[Past]) -> None:
        """Goes through recorded sessions again: the same state, bit for bit, as when they were watched."""
        for past in sessions:
            for fault in past.rearmed:
                self.rearm(fault)
            self.observe(past.scores, past.returns, past.counts)

    def observe(self, scores: npt.NDArray[np.float32] | None, returns: Floats | None, counts: Counts | None) -> float:
        """Takes in one session and gives the book's net return, a share of capital.

        scores: float32 [instrument] decided at its close. returns: float64 [instrument] over it. What is not finite is
        not known: nothing is held on such a score. The net return is NaN while the book held nothing, and where the
        return of something held is not known: then the book goes on as if that had not moved.
        """
        net = self._step(scores, returns)
        if counts is None:
            counts = np.zeros_like(self.yardstick.reference.counts)
        for detector in self._detectors:
            detector.observe(Observation(counts, net))
        return net

    def measure(self) -> tuple[Measurement, ...]:
        """What every detector measures now."""
        return tuple(detector.measure() for detector in self._detectors)

    def rearm(self, fault: Fault) -> None:
        """Begins the evidence of one kind of fault anew."""
        for detector in self._detectors:
            if detector.fault == fault:
                detector.rearm()

    def _step(self, scores: npt.NDArray[np.float32] | None, returns: Floats | None) -> float:
        decided = _known(scores, self._instruments)
        moved = _known(returns, self._instruments)
        before = self._held
        try:
            result = self._book.step(decided, moved)
            known = before > 0
        except GapError:
            result = self._book.step(decided, np.nan_to_num(moved, nan=0.0))
            known = False
        self._held = result.exposure
        return result.net if known else math.nan


def _known(values: npt.NDArray[np.floating[Any]] | None, size: int) -> Floats:
    """`values` as float64, NaN for what is not finite or not there."""
    if values is None:
        return np.full(size, np.nan)
    return np.where(np.isfinite(values), values, np.nan).astype(np.float64)
