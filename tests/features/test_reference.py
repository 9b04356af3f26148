"""Every feature of the library against a second way to compute it, on the real data that it names.

Windows are cut here by hand and handed to NumPy, SciPy, pandas or plain loops, one instrument and one time at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from scipy import stats

from features.batch import compute
from features.definition import Feature, FeatureSet
from features.ingest import demo_prices
from features.library import inputs as read
from features.panel import Panel
from features.registry import built_in
from loadtests.feature_lines.panels import random_panels

Floats = npt.NDArray[np.float64]
Frames = Mapping[str, pd.DataFrame]
Window = Callable[..., float]

EVERY = 41  # of the rows one in so many is looked at
FIRST_ROW = 4000  # of the stocks' history: 2005 and later
SECTORS = (1, 1, 2, 3, 4, 5, 3, 6, 2, 7, 6, 6, 1, 7, 6, 7, 4, 6, 7, 4)  # in the order of the columns, AAPL to XOM


def panel_of(name: str, frame: pd.DataFrame) -> Panel:
    times = frame.index.to_numpy().astype("datetime64[ns]").astype(np.int64)
    return Panel(name, np.ascontiguousarray(frame.to_numpy(np.float64)), times, times, tuple(frame.columns))


@pytest.fixture(scope="session")
def stocks() -> Frames:
    """Closes of 20 stocks, of the index beside each of them, and their sectors."""
    from skfolio.datasets import load_sp500_index

    long = demo_prices()
    wide = long.pivot(on="instrument", index="event_time", values="close").sort("event_time")
    frame = pd.DataFrame({name: wide[name].to_numpy() for name in wide.columns[1:]})
    frame.index = pd.DatetimeIndex(wide["event_time"].to_numpy())
    frame = frame[FIRST_ROW:]
    index = load_sp500_index()["SP500"].reindex(frame.index).to_numpy()
    beside = pd.DataFrame(dict.fromkeys(frame.columns, index), index=frame.index)
    sectors = pd.DataFrame({name: float(code) for name, code in zip(frame.columns, SECTORS, strict=True)}, frame.index)
    return {read.CLOSE: frame, read.INDEX: beside, read.SECTOR: sectors}


@pytest.fixture(scope="session")
def indices() -> Frames:
    """Daily bars and volume of two indices."""
    import arch.data.nasdaq
    import arch.data.sp500

    bars = {"S&P 500": arch.data.sp500.load(), "NASDAQ": arch.data.nasdaq.load()}
    columns = {
        read.OPEN: "Open",
        read.HIGH: "High",
        read.LOW: "Low",
        read.CLOSE: "Close",
        read.RAW_CLOSE: "Close",
        read.VOLUME: "Volume",
    }
    return {
        name: pd.DataFrame({index: frame[column].astype(float) for index, frame in bars.items()})
        for name, column in columns.items()
    }


@pytest.fixture(scope="session")
def generated() -> Callable[[Feature], Frames]:
    """Panels that nobody measured, for what no real data is at hand."""

    def make(feature: Feature) -> Frames:
        panels = random_panels([feature], rows=400, instruments=5, seed=3, gap_share=0.002)
        return {
            name: pd.DataFrame(each.values, pd.to_datetime(each.event_times_ns), each.instruments)
            for name, each in panels.items()
        }

    return make


@pytest.fixture(scope="session")
def data(stocks: Frames, indices: Frames, generated: Callable[[Feature], Frames]) -> Callable[[Feature], Frames]:
    """The data that a feature says it is tested on."""

    def of(feature: Feature) -> Frames:
        if feature.tested_on == read.GENERATED:
            return generated(feature)
        return indices if feature.tested_on == read.INDICES else stocks

    return of


def values_of(feature: Feature, frames: Frames) -> pd.DataFrame:
    chosen = FeatureSet((feature,))
    matrix = compute(chosen, {name: panel_of(name, frames[name]) for name in chosen.inputs})
    lead = frames[chosen.inputs[0]]
    return pd.DataFrame(matrix.values[:, :, 0], lead.index, lead.columns)


# -- windows, one at a time -----------------------------------------------------------------------------------------


def returns(close: Floats) -> Floats:
    return np.diff(close) / close[:-1]


def rises(close: Floats) -> Floats:
    return np.sign(np.diff(close))


def drawdown(close: Floats) -> float:
    return float(min(later / earlier for at, earlier in enumerate(close) for later in close[at:]) - 1)


def autocorrelation(close: Floats) -> float:
    x = returns(close) - returns(close).mean()
    return float(np.dot(x[1:], x[:-1]) / np.dot(x, x))


def variance_ratio(close: Floats) -> float:
    r = pd.Series(returns(close))
    weekly = (r - r.mean()).rolling(5).sum().dropna()
    return float((weekly**2).sum() / (5 * len(weekly) * (1 - 5 / len(r))) / r.var())


def kaufman(close: Floats) -> float:
    return float((close[-1] - close[0]) / np.abs(np.diff(close)).sum())


def bollinger(close: Floats) -> float:
    lower, upper = close.mean() - 2 * close.std(), close.mean() + 2 * close.std()
    return float((close[-1] - lower) / (upper - lower))


def rogers_satchell(o: Floats, h: Floats, low: Floats, c: Floats) -> float:
    return float(np.mean(np.log(h / o) * np.log(h / c) + np.log(low / o) * np.log(low / c)))


def yang_zhang(o: Floats, h: Floats, low: Floats, c: Floats) -> float:
    night, day, n = np.log(o[1:] / c[:-1]), np.log(c[1:] / o[1:]), len(o) - 1
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    within = rogers_satchell(o[1:], h[1:], low[1:], c[1:])
    return math.sqrt(night.var(ddof=1) + k * day.var(ddof=1) + (1 - k) * within)


def corwin_schultz(high: Floats, low: Floats) -> float:
    spreads = []
    for at in range(1, len(high)):
        beta = sum(math.log(high[i] / low[i]) ** 2 for i in (at - 1, at))
        gamma = math.log(max(high[at - 1 : at + 1]) / min(low[at - 1 : at + 1])) ** 2
        root = 3 - 2 * math.sqrt(2)
        alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / root - math.sqrt(gamma / root)
        spreads.append(max(0.0, 2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha))))
    return float(np.mean(spreads))


def regression(close: Floats, index: Floats) -> Any:
    return stats.linregress(returns(index), returns(close))


def residuals(close: Floats, index: Floats) -> Floats:
    fitted = regression(close, index)
    return returns(close) - fitted.intercept - fitted.slope * returns(index)


def downside_beta(close: Floats, index: Floats) -> float:
    r, m = returns(close), returns(index)
    return float(stats.linregress(m[m < m.mean()], r[m < m.mean()]).slope)


def coskewness(close: Floats, index: Floats) -> float:
    e, m = residuals(close, index), returns(index) - returns(index).mean()
    return float(np.mean(e * m**2) / (np.sqrt(np.mean(e**2)) * np.mean(m**2)))


def roll(close: Floats) -> float:
    r = returns(close)
    return 2 * math.sqrt(max(0.0, -float(np.cov(r[1:], r[:-1])[0, 1])))


def on_balance(close: Floats, volume: Floats) -> float:
    flow = sum(Fraction(v) * int(s) for v, s in zip(volume[1:], rises(close), strict=True))
    return float(flow / sum(map(Fraction, volume[1:])))


def order_flow(bid: Floats, ask: Floats, buy: Floats, sell: Floats) -> float:
    flow, size = Fraction(0), Fraction(0)
    for i in range(1, len(bid)):
        flow += Fraction(buy[i]) * (bid[i] >= bid[i - 1]) - Fraction(buy[i - 1]) * (bid[i] <= bid[i - 1])
        flow += Fraction(sell[i - 1]) * (ask[i] >= ask[i - 1]) - Fraction(sell[i]) * (ask[i] <= ask[i - 1])
        size += Fraction(buy[i]) + Fraction(sell[i])
    return float(flow / size)


WINDOWS: dict[str, Window] = {
    "return_1": lambda p: p[-1] / p[-2] - 1,
    "return_5": lambda p: p[-1] / p[-6] - 1,
    "return_21": lambda p: p[-1] / p[-22] - 1,
    "return_63": lambda p: p[-1] / p[-64] - 1,
    "return_126": lambda p: p[-1] / p[-127] - 1,
    "return_252": lambda p: p[-1] / p[-253] - 1,
    "reversal_21": lambda p: -(p[-1] - p[-22]) / p[-22],
    "momentum_12_1": lambda p: p[-22] / p[-253] - 1,
    "momentum_6_1": lambda p: p[-22] / p[-127] - 1,
    "seasonality_1": lambda p: p[-232] / p[-253] - 1,
    "seasonality_3": lambda p: np.mean([p[-1 - 252 * k + 21] / p[-1 - 252 * k] - 1 for k in (1, 2, 3)]),
    "largest_return_21": lambda p: max(returns(p)),
    "smallest_return_21": lambda p: min(returns(p)),
    "up_share_63": lambda p: np.mean(rises(p) > 0),
    "discreteness_252": lambda p: np.sign(p[-1] - p[0]) * -np.mean(rises(p)),
    "overnight_return_21": lambda o, c: sum(o[i] / c[i - 1] - 1 for i in range(1, 22)),
    "intraday_return_21": lambda o, c: sum(c[i] / o[i] - 1 for i in range(21)),
    "volatility_21": lambda p: pd.Series(returns(p)).std(),
    "volatility_63": lambda p: pd.Series(returns(p)).std(),
    "volatility_252": lambda p: pd.Series(returns(p)).std(),
    "volatility_ratio_21_126": lambda p: pd.Series(returns(p[-22:])).std() / pd.Series(returns(p)).std(),
    "downside_volatility_63": lambda p: math.sqrt(np.mean([min(r, 0) ** 2 for r in returns(p)])),
    "skewness_63": lambda p: stats.skew(returns(p)),
    "kurtosis_63": lambda p: stats.kurtosis(returns(p)),
    "autocorrelation_63": autocorrelation,
    "variance_ratio_5_126": variance_ratio,
    "return_to_risk_63": lambda p: np.mean(returns(p)) / np.linalg.norm(returns(p)) * math.sqrt(63),
    "drawdown_126": drawdown,
    "distance_from_high_252": lambda p: p[-1] / max(p) - 1,
    "distance_from_low_252": lambda p: p[-1] / min(p) - 1,
    "distance_from_mean_50": lambda p: p[-1] / np.mean(p) - 1,
    "mean_cross_50_200": lambda p: np.mean(p[-50:]) / np.mean(p) - 1,
    "straightness_63": kaufman,
    "slope_63": lambda p: np.polyfit(np.arange(63), p, 1)[0] / np.mean(p),
    "bollinger_20": bollinger,
    "stochastic_14": lambda h, low, c: (c[-1] - min(low)) / (max(h) - min(low)),
    "parkinson_volatility_21": lambda h, low: math.sqrt(np.mean(np.log(h / low) ** 2) / (4 * math.log(2))),
    "garman_klass_volatility_21": lambda o, h, low, c: math.sqrt(
        np.mean(np.log(h / low) ** 2 / 2 - (2 * math.log(2) - 1) * np.log(c / o) ** 2)
    ),
    "rogers_satchell_volatility_21": lambda o, h, low, c: math.sqrt(rogers_satchell(o, h, low, c)),
    "yang_zhang_volatility_21": yang_zhang,
    "corwin_schultz_spread_21": corwin_schultz,
    "close_location_21": lambda h, low, c: np.mean((2 * c - low - h) / (h - low)),
    "beta_252": lambda p, i: regression(p, i).slope,
    "downside_beta_252": downside_beta,
    "idiosyncratic_volatility_63": lambda p, i: math.sqrt(np.sum(residuals(p, i) ** 2) / 61),
    "correlation_252": lambda p, i: regression(p, i).rvalue,
    "coskewness_252": coskewness,
    "excess_return_21": lambda p, i: p[-1] / p[0] - i[-1] / i[0],
    "illiquidity_21": lambda p, c, v: 1e6 * np.mean(np.abs(returns(p)) / (c[1:] * v[1:])),
    "traded_value_21": lambda c, v: np.mean(c * v),
    "volume_score_63": lambda v: stats.zscore(v, ddof=1)[-1],
    "volume_trend_21_126": lambda v: np.mean(v[-21:]) / np.mean(v) - 1,
    "turnover_21": lambda v, s: np.mean(v / s),
    "on_balance_volume_63": on_balance,
    "volume_move_correlation_63": lambda p, v: stats.pearsonr(np.abs(returns(p)), v[1:]).statistic,
    "roll_spread_63": roll,
    "zero_return_share_63": lambda p: np.mean(rises(p) == 0),
    "book_imbalance": lambda b, a: (b[0] - a[0]) / (b[0] + a[0]),
    "quoted_spread": lambda b, a: (a[0] - b[0]) / np.mean([a[0], b[0]]),
    "microprice_gap": lambda b, a, qb, qa: np.average([a[0], b[0]], weights=[qb[0], qa[0]]) / np.mean([a[0], b[0]]) - 1,
    "order_flow_imbalance_50": order_flow,
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str, data: Callable[[Feature], Frames]) -> None:
    feature = built_in()[name]
    frames = data(feature)
    found = values_of(feature, frames).to_numpy()
    columns = [frames[each].to_numpy() for each in feature.panels]
    step = EVERY if len(found) > 1000 else 5
    rows = np.arange(feature.reach - 1, len(found), step)
    expected = np.full((len(rows), found.shape[1]), np.nan)
    for at, row in enumerate(rows):
        for instrument in range(found.shape[1]):
            windows = [each[row - feature.reach + 1 : row + 1, instrument] for each in columns]
            if np.isfinite(windows).all():
                with np.errstate(divide="ignore"):  # a session without volume
                    expected[at, instrument] = WINDOWS[name](*windows)
    expected[np.isinf(expected)] = np.nan
    exact = feature.kind == "exact_accum"
    np.testing.assert_allclose(found[rows], expected, rtol=0 if exact else 1e-9, atol=0 if exact else 1e-12)
    assert np.isfinite(expected).mean() > 0.6


def test_the_first_windows_are_incomplete(data: Callable[[Feature], Frames]) -> None:
    for name in ("return_21", "yang_zhang_volatility_21", "on_balance_volume_63"):
        feature = built_in()[name]
        found = values_of(feature, data(feature)).to_numpy()
        assert np.isnan(found[: feature.reach - 1]).all()
        assert np.isfinite(found[feature.reach - 1]).all()


# -- a window of time -----------------------------------------------------------------------------------------------


def test_a_window_of_time(generated: Callable[[Feature], Frames]) -> None:
    feature = built_in()["mid_trend_5m"]
    frames = generated(feature)
    mid = (frames[read.BID] + frames[read.ASK]) / 2
    expected = mid / mid.rolling("5min").mean() - 1
    expected = expected.where(mid.rolling("5min").count() >= 2)
    # pandas has no cap on rows: where the span holds more than the window, its mean is another.
    capped = pd.Series(1, mid.index).rolling("5min").count() > feature.window
    found = values_of(feature, frames)
    np.testing.assert_allclose(found[~capped], expected[~capped], rtol=1e-9, atol=1e-12)
    last = mid.rolling(feature.window, min_periods=1).mean()
    np.testing.assert_allclose(found[capped], (mid / last - 1)[capped], rtol=1e-9, atol=1e-12)
    assert capped.any()
    assert (~capped).any()


# -- recursions from an anchor --------------------------------------------------------------------------------------


def wilder(changes: Floats, rows: int) -> list[float]:
    """Wilder's average of each prefix; NaN for fewer than `rows`."""
    averages = [math.nan] * (rows - 1) + [float(np.mean(changes[:rows]))]
    for change in changes[rows:]:
        averages.append((averages[-1] * (rows - 1) + change) / rows)
    return averages


def rsi(bars: Mapping[str, pd.Series]) -> list[float]:
    change = np.diff(bars[read.CLOSE])
    gain, loss = wilder(np.maximum(change, 0), 14), wilder(np.maximum(-change, 0), 14)
    return [math.nan, *(100 - 100 / (1 + g / n) if n else 100.0 for g, n in zip(gain, loss, strict=True))]


def macd(bars: Mapping[str, pd.Series]) -> list[float]:
    close = bars[read.CLOSE]
    line = close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()
    return list((line - line.ewm(span=9, adjust=False).mean()) / close)


def ewma(bars: Mapping[str, pd.Series]) -> list[float]:
    squares = bars[read.CLOSE].pct_change(fill_method=None)[1:] ** 2
    return [math.nan, *np.sqrt(squares.ewm(alpha=0.06, adjust=False).mean())]


def true_range(bars: Mapping[str, pd.Series]) -> list[float]:
    high, low, close = (bars[name].to_numpy() for name in (read.HIGH, read.LOW, read.CLOSE))
    reached = np.array(
        [max(high[i] - low[i], abs(high[i] - close[i - 1]), abs(low[i] - close[i - 1])) for i in range(1, len(high))]
    )
    return [math.nan, *(np.array(wilder(reached, 14)) / close[1:])]


SCANS = {"rsi_14": rsi, "macd_12_26_9": macd, "ewma_volatility": ewma, "true_range_14": true_range}


@pytest.mark.parametrize("name", SCANS)
def test_scans_start_with_the_year_before(name: str, data: Callable[[Feature], Frames]) -> None:
    feature = built_in()[name]
    frames = data(feature)
    found = values_of(feature, frames)
    years = sorted(set(found.index.year))
    known = years[2:]  # the first year began before the data did
    assert found[found.index.year < known[0]].isna().all(axis=None)
    for year in known:
        for instrument in found.columns[:4]:
            span = slice(str(year - 1), str(year))
            expected = SCANS[name]({each: frames[each].loc[span, instrument] for each in feature.panels})
            expected = pd.Series(expected, found.loc[span].index)[str(year)]
            np.testing.assert_allclose(found.loc[str(year), instrument], expected, rtol=1e-9, atol=1e-12)


# -- across instruments ---------------------------------------------------------------------------------------------


def ranks(values: pd.DataFrame, _: pd.DataFrame) -> pd.DataFrame:
    placed = values.rank(axis=1) - 1
    return placed.div(values.count(axis=1) - 1, axis=0) - 0.5


def scores(values: pd.DataFrame, _: pd.DataFrame) -> pd.DataFrame:
    return values.sub(values.mean(axis=1), axis=0).div(values.std(axis=1), axis=0)


def less_mean(values: pd.DataFrame, _: pd.DataFrame) -> pd.DataFrame:
    return values.sub(values.mean(axis=1), axis=0)


def less_sector(values: pd.DataFrame, sectors: pd.DataFrame) -> pd.DataFrame:
    turned = values.T
    return (turned - turned.groupby(sectors.iloc[0]).transform("mean")).T


CROSS_SECTIONS: dict[str, tuple[str, Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]]] = {
    "rank_return_5": ("return_5", ranks),
    "rank_momentum_12_1": ("momentum_12_1", ranks),
    "rank_volatility_63": ("volatility_63", ranks),
    "rank_beta_252": ("beta_252", ranks),
    "score_return_21": ("return_21", scores),
    "relative_return_5": ("return_5", less_mean),
    "sector_neutral_return_21": ("return_21", less_sector),
    "rank_sector_neutral_momentum": ("momentum_12_1", lambda v, s: ranks(less_sector(v, s), s)),
}


@pytest.mark.parametrize("name", CROSS_SECTIONS)
def test_cross_sections(name: str, stocks: Frames) -> None:
    parent, reference = CROSS_SECTIONS[name]
    gappy = {**stocks, read.CLOSE: stocks[read.CLOSE].copy()}
    gappy[read.CLOSE].iloc[::7, 3] = np.nan
    feature = built_in()[name]
    found, complete = values_of(feature, gappy), values_of(built_in()[parent], gappy)
    expected = reference(complete, stocks[read.SECTOR])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.isfinite(found.to_numpy()).mean() > 0.8


def test_every_feature_has_its_reference() -> None:
    assert set(built_in()) == {*WINDOWS, *SCANS, *CROSS_SECTIONS, "mid_trend_5m"}
