"""Realised Sharpe ratio of a release's paper book over the last sessions."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from monitoring.detectors.contract import Measurement, Observation
from monitoring.verdict import Fault

SESSIONS_PER_YEAR = 252
SUBJECT = "net return"


class SharpeDetector:
    """Annualised Sharpe ratio of the last `window` known net returns: mean / sd · √252, sd with n − 1.

    Unit: per square-root year. A session whose return is not known (NaN) is passed over; a flat window measures NaN,
    since it has no ratio. Its law over overlapping windows is not one test a day: sd over 21 sessions is 3.65 for
    normal returns whatever the strategy is worth (references: Lo, FAJ 58(4), 2002).

    Ten winning sessions, then losing ones:

    >>> detector = SharpeDetector(window=5)
    >>> nothing = np.zeros((1, 101), dtype=np.int64)
    >>> for net in (0.01, 0.02, 0.01, 0.02, 0.01, -0.02, -0.03, -0.02):
    ...     detector.observe(Observation(nothing, net=net))
    ...     measured = detector.measure()
    ...     print(measured.filled, measured.values.round(1) if measured.ready else "warming")
    1 warming
    2 warming
    3 warming
    4 warming
    5 [40.6]
    5 [7.7]
    5 [-1.5]
    5 [-5.9]
    """

    name = "sharpe"
    fault: Fault = "model"

    def __init__(self, window: int) -> None:
        self._returns: deque[float] = deque(maxlen=window)
        self._window = window

    def observe(self, observation: Observation) -> None:
        """Takes in one session's net return."""
        if not math.isnan(observation.net):
            self._returns.append(observation.net)

    def measure(self) -> Measurement:
        """The realised Sharpe ratio of the window."""
        return Measurement(
            detector=self.name,
            fault=self.fault,
            subjects=(SUBJECT,),
            values=np.array([_sharpe(list(self._returns))]),
            samples=len(self._returns),
            filled=len(self._returns),
            window=self._window,
        )

    def rearm(self) -> None:
        """Forgets the window."""
        self._returns.clear()


def _sharpe(returns: list[float]) -> float:
    if len(returns) < 2 or max(returns) == min(returns):
        return math.nan
    return float(np.mean(returns) / np.std(returns, ddof=1) * math.sqrt(SESSIONS_PER_YEAR))
