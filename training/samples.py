"""Panel and features to samples: what a model may learn from at one instant, and the label interval of each row.

Clock of session t: its close is known at knowledge_times_ns[t] and the score is made then; it is executed
`execution_lag_sessions` closes later, at t+lag. So a weight decided at t earns from close(t+lag) on, and the label with
horizon h is the return close(t+lag) → close(t+lag+h): nothing at or before t enters it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from features.batch import FeatureMatrix
from features.calendars import Calendar
from features.row import to_model_dtype
from features.snapshot import Panel
from promotion.config import Signal
from training.errors import SamplesError

TARGET_VOLATILITY_SESSIONS = 63


@dataclass(frozen=True)
class Samples:
    """Everything on one grid of T sessions × N instruments × F features, as known at one instant.

    features: float32 [T, N, F], NaN where a window is incomplete. targets: float64 [T, N], the label; NaN where its
    interval ends after the last known session or a price is missing. starts, ends: int64 [T], sessions: the label of
    session t is decided by prices in [starts[t], ends[t]]. asset_returns: float64 [T, N], from the close before t to
    the close of t; NaN in the first row and beside a missing price. closes: float64 [T, N].
    """

    instruments: tuple[str, ...]
    names: tuple[str, ...]
    event_times_ns: NDArray[np.int64]
    knowledge_times_ns: NDArray[np.int64]
    features: NDArray[np.float32]
    targets: NDArray[np.float64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    asset_returns: NDArray[np.float64]
    closes: NDArray[np.float64]

    @property
    def complete(self) -> NDArray[np.bool_]:
        """bool [T, N]: no feature is missing, so the row may be scored."""
        return np.asarray(np.isfinite(self.features).all(axis=2))

    @property
    def usable(self) -> NDArray[np.bool_]:
        """bool [T, N]: complete and labelled, so the row may be trained on."""
        return self.complete & np.isfinite(self.targets)

    def rows(self, sessions: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """The usable rows of these sessions, session-major: features float32 [n, F], targets float64 [n]."""
        usable = self.usable[sessions]
        return self.features[sessions][usable], self.targets[sessions][usable]

    def shuffled_targets(self, seed: int) -> Samples:
        """The same samples with targets permuted among the usable rows: what a leak check trains on."""
        targets = self.targets.copy()
        usable = self.usable
        targets[usable] = np.random.default_rng(seed).permutation(targets[usable])
        return replace(self, targets=targets)


def label_name(signal: Signal) -> str:
    """What is predicted, in words that stay the same as long as the label does: trials are counted by it."""
    excess = "excess over the universe's mean" if signal.kind == "cross_sectional" else "own"
    return (
        f"{signal.horizon_sessions}-session return, {excess}, executed {signal.execution_lag_sessions} later, "
        f"per {TARGET_VOLATILITY_SESSIONS}-session volatility"
    )


def make_samples(
    matrix: FeatureMatrix,
    panel: Panel,
    *,
    calendar: Calendar,
    horizon_sessions: int,
    execution_lag_sessions: int,
    cross_sectional: bool = True,
) -> Samples:
    """Samples of one panel; the panel already ends at the as-of instant, so nothing known later can enter.

    Raises SamplesError when matrix and panel are on different grids, the panel leaves out a session of `calendar`
    (then "h rows later" would not be h sessions later), or no label interval fits.
    """
    _check_grid(matrix, panel, calendar)
    closes = panel.values
    sessions = len(closes)
    lag, horizon = execution_lag_sessions, horizon_sessions
    if sessions <= lag + horizon:
        raise SamplesError(
            f"expected more than {lag + horizon} sessions for a horizon of {horizon}, found {sessions}; "
            "take a later as-of or a shorter horizon"
        )
    return Samples(
        instruments=panel.instruments,
        names=tuple(matrix.names),
        event_times_ns=panel.event_times_ns,
        knowledge_times_ns=panel.knowledge_times_ns,
        features=to_model_dtype(matrix.values),
        targets=targets(closes, horizon=horizon, lag=lag, cross_sectional=cross_sectional),
        starts=np.arange(sessions, dtype=np.int64),
        ends=np.arange(sessions, dtype=np.int64) + lag + horizon,
        asset_returns=daily_returns(closes),
        closes=closes,
    )


def forward_returns(closes: NDArray[np.float64], *, start: int, end: int) -> NDArray[np.float64]:
    """float64 [T, N]: simple return close(t+start) → close(t+end), NaN where t+end is not known."""
    sessions = len(closes)
    result = np.full(closes.shape, np.nan)
    known = sessions - end
    result[:known] = closes[end:] / closes[start : start + known] - 1.0
    return result


def daily_returns(closes: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [T, N]: simple return from the close before to this one; NaN in the first row."""
    result = np.full(closes.shape, np.nan)
    result[1:] = closes[1:] / closes[:-1] - 1.0
    return result


def targets(closes: NDArray[np.float64], *, horizon: int, lag: int, cross_sectional: bool) -> NDArray[np.float64]:
    """float64 [T, N]: the horizon's return in units of the instrument's own volatility, known at t.

    Cross-sectional: less the mean over the instruments that have a return at t, so that the market's move is no label.
    Volatility is that of the last 63 daily returns up to t, times √horizon (daily returns taken as uncorrelated).
    """
    returns = forward_returns(closes, start=lag, end=lag + horizon)
    if cross_sectional:
        returns = returns - _row_mean(returns)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = returns / (trailing_volatility(closes) * np.sqrt(horizon))
    return np.where(np.isfinite(scaled), scaled, np.nan)


def trailing_volatility(closes: NDArray[np.float64], window: int = TARGET_VOLATILITY_SESSIONS) -> NDArray[np.float64]:
    """float64 [T, N]: sd (ddof 1) of the last `window` daily returns up to and including t; NaN before, or in a gap."""
    result = np.full(closes.shape, np.nan)
    if len(closes) > window:
        windows = np.lib.stride_tricks.sliding_window_view(daily_returns(closes)[1:], window, axis=0)
        result[window:] = windows.std(axis=-1, ddof=1)
    return result


def _row_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    present = np.isfinite(values)
    count = present.sum(axis=1, keepdims=True)
    total = np.where(present, values, 0.0).sum(axis=1, keepdims=True)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _check_grid(matrix: FeatureMatrix, panel: Panel, calendar: Calendar) -> None:
    if tuple(matrix.instruments) != tuple(panel.instruments):
        raise SamplesError("expected features and panel over the same instruments in the same order; compute both anew")
    if not np.array_equal(matrix.event_times_ns, panel.event_times_ns):
        raise SamplesError("expected features and panel over the same sessions; compute both from one panel")
    found = len(panel.event_times_ns)
    if found == 0:
        raise SamplesError("expected at least one session known at the as-of instant, found none; take a later as-of")
    expected = calendar.sessions_between(int(panel.event_times_ns[0]), int(panel.event_times_ns[-1])) + 1
    if found != expected:
        raise SamplesError(
            f"expected all {expected} sessions of {calendar.name} between the first and the last price, found {found}; "
            "ingest the missing sessions, or name the calendar the prices follow"
        )


def restrict(panel: Panel, universe: Sequence[str]) -> Panel:
    """The panel's columns of `universe`, in the panel's order. Raises SamplesError that names who is missing."""
    missing = sorted(set(universe) - set(panel.instruments))
    if missing:
        raise SamplesError(
            f"expected prices of the whole universe, found none of {missing}; ingest them, or leave them out"
        )
    kept = [at for at, name in enumerate(panel.instruments) if name in set(universe)]
    if len(kept) == len(panel.instruments):
        return panel
    moved = np.full(len(panel.instruments), -1, dtype=np.int64)
    moved[kept] = np.arange(len(kept))
    revisions = panel.revisions.take(moved[panel.revisions.instrument] >= 0)
    return replace(
        panel,
        values=np.ascontiguousarray(panel.values[:, kept]),
        instruments=tuple(panel.instruments[at] for at in kept),
        revisions=replace(revisions, instrument=moved[revisions.instrument]),
    )
