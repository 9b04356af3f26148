"""One assessment: from a book's own arrays to every number that a gate, a report or a card may quote.

`assess` is a pure function with fixed seeds: the author, the validator and `promote` run it on the same arrays and
must get the same evidence (`differences`). Metrics stand in one flat table; one that cannot be computed is absent,
with the reason under `not_valid`, and an absent metric passes no gate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from features.canonical import decimal
from promotion.config import Costs
from promotion.evidence import deflation, sharpe
from promotion.evidence.arrays import Floats, Ints, finite
from promotion.evidence.drawdown import DrawdownDistribution, max_drawdown, max_drawdown_distribution
from promotion.evidence.errors import EvidenceError, ShapeError, TooFewError
from promotion.evidence.performance import Performance, performance
from promotion.evidence.record import METRICS, Evidence, differences
from promotion.evidence.stress import StressResult, stress

__all__ = ["METRICS", "AssessmentInputs", "Evidence", "Parity", "assess", "differences"]

SESSIONS_PER_YEAR = 252
SEED = 20_140_901  # of the drawdown bootstrap: fixed, so that evidence is a function of the arrays alone


@dataclass(frozen=True, slots=True)
class Parity:
    """Exported against native model: rows compared, largest absolute difference, largest in float32 ulp."""

    rows: int
    max_abs: float
    max_ulp: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AssessmentInputs:
    """All that evidence is computed from; a release carries every one of these arrays.

    sessions_ns: closes, int64 UTC ns [time]; weights: targets decided at each close [time, instrument];
    asset_returns: return into each close [time, instrument]; history: earlier asset returns, for the impact's
    volatility only; trial_returns: net out-of-sample returns [session, trial], NaN where a trial has none (a column
    of NaN crashed); trials_opened: all that the ledger counts, or the declaration states; declared: the latter.
    """

    sessions_ns: Ints
    weights: Floats
    asset_returns: Floats
    costs: Costs
    trial_returns: Floats
    trials_opened: int
    parity: Parity | None
    declared: bool = False
    execution_lag_sessions: int = 1
    history: Floats | None = None


def assess(inputs: AssessmentInputs) -> Evidence:
    """Every metric of `METRICS` that these arrays give, and the stress windows.

    Raises EvidenceError when there is no book to measure: arrays that do not fit, gaps, no trade at all. A statistic
    without a value on good arrays (constant returns, too few trials) is absent and explained instead.
    """
    record, sessions = _live_record(inputs)
    table = _Table()
    table.add_all(_book_metrics(record))
    _add_sharpe(table, record)
    _add_deflation(table, inputs, record)
    _add_drawdown(table, record)
    table.add_all(_parity_metrics(inputs.parity))
    windows = stress(sessions, record.net)
    table.add_all({"stress_windows_covered": float(sum(row.coverage == "covered" for row in windows))})
    return Evidence(metrics=table.metrics, not_valid=table.not_valid, stress=tuple(map(_stress_row, windows)))


class _Table:
    """Metrics as they are found; a statistic that refuses leaves its reason."""

    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.not_valid: dict[str, str] = {}

    def add_all(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if math.isfinite(value):
                self.metrics[name] = float(value)
            else:
                self.not_valid[name] = f"expected a finite number, found {value}"

    def measure(self, name: str, statistic: Callable[[], float]) -> None:
        try:
            self.add_all({name: statistic()})
        except EvidenceError as error:
            self.not_valid[name] = str(error)


def _live_record(inputs: AssessmentInputs) -> tuple[Performance, Ints]:
    """The book's record and its sessions from the first trade on: waiting for a model is no track record."""
    weights = finite(inputs.weights, dimensions=2, what="weights")
    sessions = np.asarray(inputs.sessions_ns, dtype=np.int64)
    if sessions.shape != weights.shape[:1]:
        raise ShapeError(
            f"sessions: expected {len(weights)} like the weights' rows, found {sessions.shape}; align them"
        )
    whole = performance(
        weights,
        inputs.asset_returns,
        costs=inputs.costs,
        execution_lag_sessions=inputs.execution_lag_sessions,
        history=inputs.history,
    )
    traded = np.flatnonzero(whole.turnover > 0)
    if not traded.size:
        raise TooFewError("weights: expected at least one trade, found none; a book that never trades has no evidence")
    start = int(traded[0])
    return whole.since(start), sessions[start:]


def _book_metrics(record: Performance) -> dict[str, float]:
    cost = record.cost_spread + record.cost_impact
    return {
        "observations": float(record.net.size),
        "return_annual": float(record.net.mean() * SESSIONS_PER_YEAR),
        "volatility_annual": float(record.net.std(ddof=1) * math.sqrt(SESSIONS_PER_YEAR)) if record.net.size > 1 else 0,
        "turnover_daily": float(record.turnover.mean()),
        "cost_bps_daily": float(cost.mean() * 1e4),
        "cost_bps_per_traded": float(cost.sum() / record.turnover.sum() * 1e4),
        "exposure_mean": float(record.exposure.mean()),
        "net_exposure_mean": float(record.net_exposure.mean()),
        "hit_rate": float(np.mean(record.net > 0)),
    }


def _add_sharpe(table: _Table, record: Performance) -> None:
    def annual(value: float) -> float:
        return value * math.sqrt(SESSIONS_PER_YEAR)

    statistics: dict[str, Callable[[sharpe.PerPeriodSharpe], float]] = {
        "sharpe_per_period": lambda ratio: ratio.value,
        "sharpe_annual": lambda ratio: ratio.annualised(SESSIONS_PER_YEAR).value,
        "sharpe_standard_error": sharpe.lo_standard_error,
        "sharpe_annual_standard_error": lambda ratio: annual(sharpe.lo_standard_error(ratio)),
        "skewness": lambda ratio: ratio.skewness,
        "kurtosis": lambda ratio: ratio.kurtosis,
        "psr_2012": sharpe.probabilistic_sharpe,
        "psr_2025": lambda ratio: sharpe.probabilistic_sharpe(ratio, variant="2025"),
        "minimum_track_record_sessions": sharpe.minimum_track_record_length,
        "dsr_calibrated_z": deflation.calibrated_z,
    }
    for name, statistic in statistics.items():
        table.measure(name, lambda statistic=statistic: statistic(sharpe.sharpe(record.net)))  # type: ignore[misc]
    table.measure("sharpe_gross_annual", lambda: annual(sharpe.sharpe(record.gross).value))


def _add_deflation(table: _Table, inputs: AssessmentInputs, record: Performance) -> None:
    trials = _Trials.of(inputs)
    table.add_all(
        {
            "trials": float(inputs.trials_opened),
            "trials_measured": float(trials.measured),
            "trials_declared": float(inputs.declared),
        }
    )
    table.measure("effective_trials", trials.effective)
    table.measure("trial_sharpe_variance", trials.variance)

    def published(count: float, maximum: deflation.Maximum = "published") -> float:
        return deflation.deflated_sharpe(
            sharpe.sharpe(record.net), trial_sharpe_variance=trials.variance(), trials=count, maximum=maximum
        )

    table.measure("dsr_published", lambda: published(trials.opened))
    table.measure("dsr_exact", lambda: published(trials.opened, "exact"))
    table.measure("dsr_effective", lambda: published(trials.effective()))
    table.measure("dsr_calibrated", lambda: deflation.calibrated_confidence(sharpe.sharpe(record.net), trials.opened))


@dataclass(frozen=True, slots=True)
class _Trials:
    """The trials of a search: how many were opened, and what those with returns showed."""

    opened: int
    returns: Floats  # [session, trial], of the trials that have any

    @classmethod
    def of(cls, inputs: AssessmentInputs) -> _Trials:
        matrix = np.asarray(inputs.trial_returns, dtype=np.float64)
        if matrix.ndim != 2:
            raise ShapeError(f"trials: expected returns [session, trial], found shape {matrix.shape}; stack columns")
        measured = matrix[:, np.isfinite(matrix).sum(axis=0) >= 3]
        if inputs.trials_opened < matrix.shape[1] or inputs.trials_opened < 1:
            raise TooFewError(
                f"trials: expected at least {max(matrix.shape[1], 1)} opened, as many as have columns, found "
                f"{inputs.trials_opened}; count every trial of the ledger"
            )
        return cls(inputs.trials_opened, measured)

    @property
    def measured(self) -> int:
        return int(self.returns.shape[1])

    def variance(self) -> float:
        """Across trials, of their per-session ratios (n − 1); 0 for a single trial, which deflates nothing."""
        if self.opened == 1:
            return 0.0
        if self.measured < 2:
            raise TooFewError(
                f"variance across trials: expected returns of at least 2 of {self.opened} trials, found "
                f"{self.measured}; close trials with their returns"
            )
        columns = (column[np.isfinite(column)] for column in self.returns.T)
        return float(np.var([_ratio_or_zero(column) for column in columns], ddof=1))

    def effective(self) -> float:
        """N̂ from the correlation over the sessions that all measured trials share."""
        if self.opened == 1:
            return 1.0
        shared = self.returns[np.isfinite(self.returns).all(axis=1)]
        varying = shared[:, shared.std(axis=0) > 0] if len(shared) > 1 else shared[:, :0]
        if varying.shape[1] < 2:
            return float(self.opened)  # nothing is known about their likeness: count them all
        correlation: Floats = np.asarray(np.corrcoef(varying, rowvar=False))
        return deflation.effective_trials(correlation, self.opened)


def _ratio_or_zero(returns: Floats) -> float:
    """A trial that never traded showed nothing, and counts as that."""
    deviation = returns.std(ddof=1)
    return float(returns.mean() / deviation) if deviation > 0 else 0.0


def _add_drawdown(table: _Table, record: Performance) -> None:
    table.measure("max_drawdown", lambda: max_drawdown(record.net))
    try:
        future = max_drawdown_distribution(record.net, horizon=SESSIONS_PER_YEAR, paths=1000, seed=SEED)
    except EvidenceError as error:
        for name in _DRAWDOWN_QUANTILES:
            table.not_valid[name] = str(error)
        return
    table.add_all(_drawdown_quantiles(future))


_DRAWDOWN_QUANTILES = {"max_drawdown_p05_one_year": 0.05, "max_drawdown_p50_one_year": 0.5}


def _drawdown_quantiles(future: DrawdownDistribution) -> dict[str, float]:
    return {name: future.quantile(share) for name, share in _DRAWDOWN_QUANTILES.items()}


def _parity_metrics(parity: Parity | None) -> dict[str, float]:
    if parity is None:
        return {}
    return {
        "parity_rows": float(parity.rows),
        "parity_max_abs": float(parity.max_abs),
        "parity_max_ulp": float(parity.max_ulp),
    }


def _stress_row(result: StressResult) -> dict[str, str]:
    return {
        "name": result.window.name,
        "first": result.window.first.isoformat(),
        "last": result.window.last.isoformat(),
        "coverage": result.coverage,
        "sessions": str(result.sessions),
        "total_return": decimal(result.total_return),
        "annual_volatility": decimal(result.annual_volatility),
        "max_drawdown": decimal(result.max_drawdown),
    }
