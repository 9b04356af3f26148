"""A run's backtest for people: the whole record and each year of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from signalbox.cli.options import table
from training.run import Run

SESSIONS_PER_YEAR = 252
Floats = npt.NDArray[np.float64]


def backtest_document(run: Run) -> dict[str, Any]:
    """The run's out-of-sample record: figures of the whole and of each year, from its daily returns."""
    arrays = run.arrays("backtest.npz")
    traded = np.flatnonzero(arrays["exposure"] > 0)
    since = int(traded[0]) if len(traded) else 0
    columns = ("net", "gross", "turnover", "cost_spread", "cost_impact")
    series = {name: arrays[name][since:] for name in columns}
    years = arrays["sessions_ns"][since:].astype("datetime64[ns]").astype("datetime64[Y]").astype(int) + 1970
    rows = [_figures("all", series)]
    rows += [
        _figures(str(year), {name: values[years == year] for name, values in series.items()})
        for year in np.unique(years)
    ]
    costs = run.record["config"]["costs"]
    return {"run": run.id, "as_of": run.record["plan"]["as_of"], "costs": costs, "periods": rows}


def backtest_table(document: dict[str, Any]) -> str:
    """The document as text, with the assumption behind the impact beside the cost figures."""
    periods = document["periods"]
    header = list(periods[0])
    rows = [[f"{value:.4g}" if isinstance(value, float) else value for value in row.values()] for row in periods]
    assumed = float(document["costs"]["adv_assumed_usd"])
    return (
        f"{table(header, rows)}\n"
        f"Out of sample, net of costs, next-close execution. Impact rests on an assumed average daily volume of "
        f"{assumed:,.0f} USD a name (adv_assumed): the prices carry none."
    )


def _figures(period: str, series: dict[str, Floats]) -> dict[str, Any]:
    return {
        "period": period,
        "sessions": len(series["net"]),
        "net_sharpe": _annual_sharpe(series["net"]),
        "gross_sharpe": _annual_sharpe(series["gross"]),
        "net_return_annual": float(series["net"].mean() * SESSIONS_PER_YEAR),
        "turnover_daily": float(series["turnover"].mean()),
        "spread_bps_daily": float(series["cost_spread"].mean() * 1e4),
        "impact_bps_daily": float(series["cost_impact"].mean() * 1e4),
    }


def _annual_sharpe(returns: Floats) -> float:
    deviation = returns.std(ddof=1) if len(returns) > 1 else 0.0
    return float(returns.mean() / deviation * np.sqrt(SESSIONS_PER_YEAR)) if deviation > 0 else float("nan")
