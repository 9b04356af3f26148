"""Scores and returns to positions, costs and P&L: one code for the backtest and for live paper performance.

Clocks, for an execution lag of L sessions:

    close t        scores of row t are known; the target weights of row t are decided
    close t + L    the book is traded to them, and pays for it
    close t+L+1    they have earned asset_returns[t + L + 1], the return from close t + L to close t + L + 1

so row s of a result holds the return earned between close s-1 and close s, less what trading at close s cost.
Between closes holdings drift with prices. Capital is constant (`Costs.capital_usd`): returns are shares of it, P&L
is neither compounded nor financed, and the last holdings are not sold.

Nothing in row s depends on scores, weights or returns of a later row.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from promotion.config import Construction, Costs
from promotion.evidence.arrays import Floats, finite
from promotion.evidence.errors import GapError, NotValidError, RuinError, ShapeError
from promotion.evidence.positions import positions, smoothed, targets

__all__ = ["PaperBook", "Performance", "SessionResult", "performance", "positions"]


@dataclass(frozen=True, slots=True)
class Performance:
    """A book's record, one value a session, all float64 [time] and shares of capital.

    gross: earned on the holdings; net: gross − cost_spread − cost_impact; turnover: Σ|traded|, both sides;
    exposure: Σ|held| and net_exposure: Σ held, after the session's trade.
    """

    net: Floats
    gross: Floats
    turnover: Floats
    cost_spread: Floats
    cost_impact: Floats
    exposure: Floats
    net_exposure: Floats

    def since(self, row: int) -> Performance:
        """The record from `row` on."""
        return Performance(*(getattr(self, item.name)[row:] for item in fields(self)))


@dataclass(frozen=True, slots=True)
class SessionResult:
    """One session of a `Performance`."""

    net: float
    gross: float
    turnover: float
    cost_spread: float
    cost_impact: float
    exposure: float
    net_exposure: float


def performance(
    weights: Floats,
    asset_returns: Floats,
    *,
    costs: Costs,
    execution_lag_sessions: int = 1,
    history: Floats | None = None,
    asset_volatility: Floats | None = None,
) -> Performance:
    """The record of a book that follows target `weights` [time, instrument], decided at each row's close.

    asset_returns: [time, instrument], row t = close t / close t-1 − 1; NaN only where nothing is held, else GapError.
    history: earlier asset returns [before, instrument], oldest first; used for the impact's volatility only.
    asset_volatility: daily volatility [time, instrument] known before each close, instead of the trailing one.
    Costs, per instrument and trade of weight x: |x| · half_spread, and |x| · Y · volatility · √(|x| · capital / ADV)
    (square-root law; Y = `impact_coefficient`). Volatility is the root mean square return of the
    `impact_volatility_sessions` sessions before the trade's; NotValidError where a trade has none.
    """
    weights = finite(weights, dimensions=2, what="weights")
    asset_returns = _returns(asset_returns, weights.shape)
    held = _shifted(weights, execution_lag_sessions)
    before = _shifted(held, 1)
    if asset_volatility is None:
        asset_volatility = _volatility_before(asset_returns, history, costs.impact_volatility_sessions)
    return _account(before, held, asset_returns, asset_volatility, costs)


class PaperBook:
    """The same book, one session at a time: `step` returns bit for bit what `performance(positions(...))` does.

    It keeps the last scores' targets and the last returns, nothing else: O(instruments) a session. A book that was
    lost is rebuilt by stepping through the recorded decisions again.
    """

    def __init__(
        self,
        construction: Construction,
        costs: Costs,
        *,
        instruments: int,
        execution_lag_sessions: int = 1,
        history: Floats | None = None,
    ) -> None:
        self._construction = construction
        self._costs = costs
        self._held: Floats = np.zeros((1, instruments))
        self._wishes: deque[Floats] = deque(maxlen=construction.smoothing_sessions)
        self._decided: deque[Floats] = deque([self._held] * execution_lag_sessions)
        self._seen: deque[Floats] = deque(maxlen=costs.impact_volatility_sessions)
        self._seen.extend(_history(history, instruments)[:, None, :])

    def step(self, scores: Floats, returns: Floats) -> SessionResult:
        """Closes one session: `returns` [instrument] from the previous close to this one, `scores` known at this one.

        NaN rules as in `performance` and `positions`. Nothing changes when it raises.
        """
        shape = self._held.shape
        today = _returns(np.asarray(returns, dtype=np.float64)[None, :], shape)
        wish = targets(np.asarray(scores, dtype=np.float64)[None, :], self._construction)
        if wish.shape != shape:
            raise ShapeError(f"scores: expected {shape[1]} instruments, found {wish.shape[1]}; align the universe")
        decided = smoothed(np.concatenate([*self._recent_wishes(), wish]), self._construction.smoothing_sessions)[-1:]
        target = self._decided[0] if self._decided else decided
        volatility = self._volatility(shape)
        result = _account(self._held, target, today, volatility, self._costs)
        self._wishes.append(wish)
        self._seen.append(today)
        self._decided.append(decided)
        self._held = self._decided.popleft()
        return SessionResult(*(float(getattr(result, item.name)[0]) for item in fields(result)))

    def _recent_wishes(self) -> list[Floats]:
        kept = list(self._wishes)
        return kept[1:] if len(kept) == self._construction.smoothing_sessions else kept

    def _volatility(self, shape: tuple[int, ...]) -> Floats:
        if not self._seen:
            return np.full(shape, np.nan)
        return _root_mean_square(np.concatenate(list(self._seen)), self._costs.impact_volatility_sessions)[-1:]


def _account(before: Floats, held: Floats, returns: Floats, volatility: Floats, costs: Costs) -> Performance:
    """One row a session: hold `before` over the session, trade to `held` at its close."""
    earned = np.where(before == 0, 0.0, before * returns)
    gross = earned.sum(axis=1)
    _refuse_ruin(gross)
    drifted = (before + earned) / (1 + gross)[:, None]
    traded = np.abs(held - drifted)
    spread = (traded * (costs.half_spread_bps * 1e-4)).sum(axis=1)
    impact = _impact(traded, volatility, costs).sum(axis=1)
    return Performance(
        net=gross - spread - impact,
        gross=gross,
        turnover=traded.sum(axis=1),
        cost_spread=spread,
        cost_impact=impact,
        exposure=np.abs(held).sum(axis=1),
        net_exposure=held.sum(axis=1),
    )


def _impact(traded: Floats, volatility: Floats, costs: Costs) -> Floats:
    if costs.impact_coefficient == 0:
        return np.zeros_like(traded)
    unknown = (traded > 0) & ~np.isfinite(volatility)
    if unknown.any():
        row, column = (int(index) for index in np.argwhere(unknown)[0])
        raise NotValidError(
            f"costs: expected a trailing volatility for the trade at row {row}, column {column}, found none; "
            "pass earlier returns as history"
        )
    participation = traded * (costs.capital_usd / costs.adv_assumed_usd)
    price = costs.impact_coefficient * np.where(traded > 0, volatility, 0.0) * np.sqrt(participation)
    return traded * price


def _volatility_before(returns: Floats, history: Floats | None, sessions: int) -> Floats:
    """Row t: root mean square of the `sessions` rows before row t, `history` included."""
    earlier = _history(history, returns.shape[1])[-sessions:]
    known = np.concatenate([earlier, returns[:-1]])
    nothing = np.full((1, returns.shape[1]), np.nan)
    rolled = np.concatenate([nothing, _root_mean_square(known, sessions)])
    return rolled[len(earlier) :]


def _root_mean_square(returns: Floats, sessions: int) -> Floats:
    """Trailing root mean square at each row, NaN skipped; NaN where there is nothing."""
    seen = np.isfinite(returns)
    squares = _trailing_sum(np.where(seen, returns, 0.0) ** 2, sessions)
    count = _trailing_sum(seen.astype(np.float64), sessions)
    return np.sqrt(np.divide(squares, count, out=np.full_like(squares, np.nan), where=count > 0))


def _trailing_sum(values: Floats, window: int) -> Floats:
    """Σ of the last `window` rows, by doubling: its bits depend on those rows alone, not on where the array starts."""
    total, covered = np.zeros_like(values), 0
    block, size = values, 1
    while size <= window:
        if window & size:
            total += _shifted(block, covered)
            covered += size
        block, size = block + _shifted(block, size), size * 2
    return total


def _shifted(values: Floats, rows: int) -> Floats:
    """`values` so many rows later; zeros before."""
    if rows < 0:
        raise ShapeError(f"lag: expected 0 sessions or more, found {rows}; a book cannot trade before it decides")
    moved = np.zeros_like(values)
    moved[rows:] = values[: max(len(values) - rows, 0)]
    return moved


def _history(history: Floats | None, instruments: int) -> Floats:
    if history is None:
        return np.empty((0, instruments))
    array = np.ascontiguousarray(history, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != instruments:
        raise ShapeError(f"history: expected [time, {instruments}], found shape {array.shape}; align the universe")
    return array


def _returns(asset_returns: Floats, shape: tuple[int, ...]) -> Floats:
    array = np.ascontiguousarray(asset_returns, dtype=np.float64)
    if array.shape != shape:
        raise ShapeError(f"asset returns: expected shape {shape} like the weights, found {array.shape}; align them")
    return array


def _refuse_ruin(gross: Floats) -> None:
    if np.isnan(gross).any():
        row = int(np.argmax(np.isnan(gross)))
        raise GapError(
            f"asset returns: expected a return for every instrument held, found a gap at row {row}; "
            "repair the prices, or let the score be NaN before them"
        )
    if (gross <= -1).any():
        row = int(np.argmax(gross <= -1))
        raise RuinError(
            f"row {row}: expected a loss below the capital, found {gross[row]:.3f} of it; lower the leverage"
        )
