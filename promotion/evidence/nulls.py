"""What a healthy signal looks like to its monitor: null laws made at promotion, which travel in the release.

Two nulls, each simulated from the release's own reference by the stationary bootstrap with blocks longer than the
monitor's window, looked at every session as the monitor will:

    DriftNulls    PSI and KS per feature, jointly over features, against a reference that is itself a draw
    SharpeNulls   the rolling Sharpe ratio of the backtest's net returns, around a stated (deflated) level

and each holds thresholds for budgets of false alarms a year beside the measured rate of the textbook rule.
Same arrays and seed, same nulls. `to_arrays` and `from_arrays` are the form in `reference/nulls.npz`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from promotion.evidence.arrays import Floats, varying
from promotion.evidence.bootstrap import stationary_indices
from promotion.evidence.budget import SESSIONS_PER_YEAR, budget_row, episodes_per_year, joint_thresholds, thresholds_of
from promotion.evidence.drift import bin_of, ks_distance, ks_p_value, psi, quantile_bins
from promotion.evidence.errors import NotValidError, RecordError, ShapeError, TooFewError
from promotion.evidence.futures import autoregressive, predicted_rows, prewhitened, rolling_sharpe
from promotion.evidence.sharpe import SharpeLevel, sharpe

__all__ = ["BUDGETS", "CELLS", "PSI_BINS", "DriftNulls", "SharpeNulls", "drift_nulls", "sharpe_nulls"]

BUDGETS = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0)  # false alarms a year
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
CELLS = 100  # of the reference's quantile cells; KS is read at their edges
PSI_BINS = 10  # bins of PSI, of CELLS / PSI_BINS neighbouring cells each
BLOCK_SESSIONS = 252  # mean bootstrap block: a year holds a feature's slow moves together
PSI_TOLERANCE = 0.10  # what is too small to matter, however rare it is in the null
KS_TOLERANCE = 0.10
_LEAST_PRESENT = 0.5  # of the reference's share of present values: a window with fewer measures nothing
_REACH = 0.95  # of what a statistic can reach: a window wholly beyond the reference is an alarm, whatever the law
# Share of a budget that is spent: a threshold found on one record errs, and erring low costs more than erring high
# saves. Measured over many records (tests/promotion/evidence/test_nulls.py), these keep the budget on average.
_SHARPE_MARGIN, _DRIFT_MARGIN = 0.9, 0.4


class _Arrays:
    """To and from the arrays of an npz file, field by field."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Each field as an array, by name."""
        return {item.name: np.asarray(getattr(self, item.name)) for item in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The nulls of `to_arrays`; RecordError when one is missing."""
        names = [item.name for item in fields(cls)]  # type: ignore[arg-type]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise RecordError(f"nulls: expected {missing}, found {sorted(arrays)}; rebuild the release")
        return cls(**{name: _plain(arrays[name]) for name in names})


def _plain(array: NDArray[Any]) -> Any:
    return array.item() if np.ndim(array) == 0 else np.asarray(array)


@dataclass(frozen=True, slots=True, eq=False)
class DriftNulls(_Arrays):
    """Null laws of PSI and KS over windows of `window_sessions`, per feature (float64), and thresholds by budget.

    psi_quantiles, ks_quantiles: [quantile, feature] at `quantiles` of one look; psi_thresholds, ks_thresholds:
    [budget, feature], so that "any feature's PSI or KS above its own" begins at most budgets[b] episodes a year when
    looked at every session. desk_psi_*, desk_ks_*: the textbook rules (any feature with PSI > 0.25; with KS p < 0.05)
    on the same healthy paths: episodes a year, and the share of sessions in alarm; a rule that is always in alarm
    begins few episodes.
    """

    window_sessions: int
    quantiles: Floats
    psi_quantiles: Floats
    ks_quantiles: Floats
    budgets: Floats
    psi_thresholds: Floats
    ks_thresholds: Floats
    desk_psi_alarms_per_year: float
    desk_psi_alarm_share: float
    desk_ks_alarms_per_year: float
    desk_ks_alarm_share: float
    simulated_years: float

    def psi_threshold(self, false_alarms_per_year: float) -> Floats:
        """PSI [feature] above which to alarm, for a budget of all features together, PSI and KS both."""
        row: Floats = self.psi_thresholds[budget_row(self.budgets, false_alarms_per_year)]
        return row

    def ks_threshold(self, false_alarms_per_year: float) -> Floats:
        """KS distance [feature] above which to alarm, for the same budget."""
        row: Floats = self.ks_thresholds[budget_row(self.budgets, false_alarms_per_year)]
        return row


@dataclass(frozen=True, slots=True, eq=False)
class SharpeNulls(_Arrays):
    """The null law of the annualised Sharpe ratio over rolling windows, and thresholds by budget.

    centre: the annual level the null stands on; mean, sd and quantile_values: of one look; thresholds [budget]: below
    it is an alarm, at most budgets[b] episodes a year looked at every session. desk_alarms_per_year: of the textbook
    rule "more than desk_sds below the mean", measured on the same paths.
    """

    window_sessions: int
    centre: float
    mean: float
    sd: float
    quantiles: Floats
    quantile_values: Floats
    budgets: Floats
    thresholds: Floats
    desk_sds: float
    desk_alarms_per_year: float
    simulated_years: float

    def threshold(self, false_cuts_per_year: float) -> float:
        """The annual Sharpe ratio below which to cut, for a budget of false cuts a year."""
        return float(self.thresholds[budget_row(self.budgets, false_cuts_per_year)])

    @property
    def desk_threshold(self) -> float:
        """mean − desk_sds · sd."""
        return self.mean - self.desk_sds * self.sd


def sharpe_nulls(
    net_returns: Floats,
    *,
    window: int = 21,
    level: SharpeLevel | None = None,
    draws: int = 1000,
    seed: int = 0,
    budgets: tuple[float, ...] = BUDGETS,
    desk_sds: float = 2.0,
) -> SharpeNulls:
    """The law of the rolling `window`-session Sharpe ratio if the strategy stays as good as `level`.

    net_returns: the backtest's, per session [time]. level: the per-session ratio the null is centred on; pass a
    deflated one for a selected trial, or the winner's curse alone will cut it (default: the sample's). Each of `draws`
    simulated paths is four years, drawn by stationary bootstrap from a redrawn record, so that what the record does
    not know of itself is in the law. First-order autocorrelation is taken out before and put back after: blocks of
    half a window hold volatility together, and short ones leave less of one record's accidents in the tail. Assumes
    that the law of returns about their mean stays as in the backtest.
    """
    returns = varying(net_returns, least=max(8 * window, 30))
    _refuse_window(window, draws)
    measured = sharpe(returns)
    centre = measured.value if level is None else level.value
    generator = np.random.default_rng(seed)
    horizon = 4 * SESSIONS_PER_YEAR + window - 1
    memory, innovations = prewhitened(returns - returns.mean())
    rows = predicted_rows(innovations.size, horizon, max(window / 2, 10), draws, generator)
    level_return = centre * returns.std(ddof=1)
    rolled = rolling_sharpe(autoregressive(innovations[rows], memory) + level_return, window)
    spent = tuple(budget * _SHARPE_MARGIN for budget in budgets)
    mean, sd = float(rolled.mean()), float(rolled.std())
    return SharpeNulls(
        window_sessions=window,
        centre=centre * math.sqrt(SESSIONS_PER_YEAR),
        mean=mean,
        sd=sd,
        quantiles=np.array(QUANTILES),
        quantile_values=np.quantile(rolled, QUANTILES),
        budgets=np.array(budgets),
        thresholds=-thresholds_of(-rolled, spent),
        desk_sds=desk_sds,
        desk_alarms_per_year=episodes_per_year(rolled < mean - desk_sds * sd),
        simulated_years=rolled.size / SESSIONS_PER_YEAR,
    )


def drift_nulls(
    reference: NDArray[np.floating[Any]],
    *,
    window_sessions: int = 21,
    draws: int = 200,
    seed: int = 0,
    budgets: tuple[float, ...] = BUDGETS,
    desk_psi: float = 0.25,
    desk_ks_p: float = 0.05,
) -> DriftNulls:
    """Null laws of PSI and KS for windows of so many sessions against `reference` [time, instrument, feature].

    NaN is missing and left out; windows that lack half of a feature's usual values are not looked at, for a monitor
    judges that by itself. Append the score as one more feature to watch it within the same budget. Each draw
    bootstraps a reference as long as the real one and a year of future sessions from it, all instruments and features
    of a session together, in blocks of a year on average (a tenth of a short reference): so what features do slowly,
    in common, and because the reference itself is a sample, is in the law. Statistics as in `promotion.evidence.drift`:
    CELLS quantile cells; PSI over PSI_BINS of them, KS at all edges. No threshold is below PSI_TOLERANCE and
    KS_TOLERANCE, nor above 95 % of what the statistic can reach.

    Assumes that the future is as varied as the reference, not that rows are independent. The mean realised rate over
    references of eight to sixteen years keeps a budget of one alarm a year; a single reference may err by half.
    """
    cumulative = _cumulative_counts(reference, window_sessions)
    _refuse_window(window_sessions, draws)
    generator = np.random.default_rng(seed)
    psis, distances = _simulate(cumulative, window_sessions, draws, generator)
    features = cumulative.shape[1]
    tolerance = np.repeat([PSI_TOLERANCE, KS_TOLERANCE], features)
    spent = tuple(budget * _DRIFT_MARGIN for budget in budgets)
    thresholds = joint_thresholds(np.concatenate([psis, distances], axis=2), spent, tolerance=tolerance)
    thresholds = np.minimum(thresholds, _REACH * _saturation(cumulative, window_sessions))
    rows = int(cumulative[:, 0, -1].sum())
    p_values = ks_p_value(distances, rows, max(1, round(rows * window_sessions / len(cumulative))))
    desk_psis = np.asarray((psis > desk_psi).any(axis=2))
    desk_distances = np.asarray((p_values < desk_ks_p).any(axis=2))
    return DriftNulls(
        window_sessions=window_sessions,
        quantiles=np.array(QUANTILES),
        psi_quantiles=np.nanquantile(psis, QUANTILES, axis=(0, 1)),
        ks_quantiles=np.nanquantile(distances, QUANTILES, axis=(0, 1)),
        budgets=np.array(budgets),
        psi_thresholds=thresholds[:, :features],
        ks_thresholds=thresholds[:, features:],
        desk_psi_alarms_per_year=episodes_per_year(desk_psis),
        desk_psi_alarm_share=float(desk_psis.mean()),
        desk_ks_alarms_per_year=episodes_per_year(desk_distances),
        desk_ks_alarm_share=float(desk_distances.mean()),
        simulated_years=psis.shape[0] * psis.shape[1] / SESSIONS_PER_YEAR,
    )


def _cumulative_counts(reference: NDArray[np.floating[Any]], window: int) -> NDArray[np.float32]:
    """[session, feature, cell]: how many values of a session lie in the reference's cells up to this one."""
    reference = np.asarray(reference)
    if reference.ndim != 3:
        raise ShapeError(f"reference: expected [time, instrument, feature], found shape {reference.shape}")
    sessions, instruments, features = reference.shape
    if sessions < 10 * window:
        raise TooFewError(f"reference: expected at least {10 * window} sessions, found {sessions}; use a longer one")
    rows = reference.reshape(-1, features).astype(np.float64)
    cells = bin_of(quantile_bins(rows, CELLS), rows).reshape(sessions, instruments, features)
    place = (np.arange(sessions)[:, None, None] * features + np.arange(features)) * (CELLS + 1) + cells
    counts = np.bincount(place.ravel(), minlength=sessions * features * (CELLS + 1))
    present = counts.reshape(sessions, features, CELLS + 1)[:, :, :CELLS]
    return np.cumsum(present, axis=2, dtype=np.float32)  # exact: a session holds far fewer than 2**24 rows


def _simulate(
    cumulative: NDArray[np.float32], window: int, draws: int, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """PSI and KS, each [draw, look, feature], of a year of windows of a drawn future against a drawn reference."""
    sessions, looks = len(cumulative), SESSIONS_PER_YEAR
    block = max(2 * window, min(BLOCK_SESSIONS, sessions / 10))
    psis = np.empty((draws, looks, cumulative.shape[1]))
    distances = np.empty_like(psis)
    held = np.stack([_multiplicity(sessions, block, generator) for _ in range(draws)])
    bases = (held @ cumulative.reshape(sessions, -1)).reshape(draws, *cumulative.shape[1:])
    for draw in range(draws):
        future = stationary_indices(
            sessions, block_length=block, horizon=looks + window - 1, paths=1, generator=generator
        )[0]
        psis[draw], distances[draw] = _looks(cumulative[future], bases[draw], window, sessions)
    return psis, distances


def _saturation(cumulative: NDArray[np.float32], window: int) -> Floats:
    """PSI, then KS [2 · feature], of a window that lies wholly in one end of the reference: what either can reach."""
    total = cumulative.sum(axis=0)
    rows = total[:, -1:] * window / len(cumulative)
    ends = np.zeros((2, len(total), CELLS))
    ends[0, :, 0:1] = ends[1, :, -1:] = rows
    base = np.diff(total, axis=1, prepend=np.float32(0))
    tenths = (base.reshape(-1, PSI_BINS, CELLS // PSI_BINS), ends.reshape(2, -1, PSI_BINS, CELLS // PSI_BINS))
    stability = psi(*(counts.sum(axis=-1) for counts in tenths)).min(axis=0)
    return np.concatenate([stability, ks_distance(base, ends).min(axis=0)])


def _multiplicity(sessions: int, block: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """How often a redrawn reference holds each session, float32 [session]."""
    drawn = stationary_indices(sessions, block_length=block, horizon=sessions, paths=1, generator=generator)[0]
    return np.bincount(drawn, minlength=sessions).astype(np.float32)


def _looks(path: NDArray[np.float32], base: NDArray[np.float32], window: int, sessions: int) -> tuple[Floats, Floats]:
    """PSI and KS [look, feature] of all windows of `path`; NaN where half of the values expected there are missing."""
    running = np.cumsum(path, axis=0)
    inside = running[window - 1 :].copy()
    inside[1:] -= running[:-window]
    step = CELLS // PSI_BINS
    stability = psi(_bins(base[:, step - 1 :: step]), _bins(inside[:, :, step - 1 :: step]))
    total = np.maximum(inside[:, :, -1:], 1)
    distance = np.abs(inside / total - base / base[:, -1:]).max(axis=2)
    sparse = inside[:, :, -1] < base[:, -1] * (_LEAST_PRESENT * window / sessions)
    return np.where(sparse, np.nan, stability), np.where(sparse, np.nan, distance.astype(np.float64))


def _bins(cumulative: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.diff(cumulative, axis=-1, prepend=np.float32(0))


def _refuse_window(window: int, draws: int) -> None:
    if window < 2 or draws < 20:
        raise NotValidError(f"nulls: expected a window ≥ 2 and draws ≥ 20, found {window} and {draws}")
