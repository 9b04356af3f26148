"""The report's pictures: each a function from arrays to one SVG text, the same bytes for the same arrays.

No global figure, no date, no random ids: matplotlib's ids are salted with the picture's name.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

Floats = NDArray[np.float64]
INK, MUTED, GRID = "#1c2430", "#6b7684", "#e3e7ec"
BLUE, ORANGE, RED = "#2563a8", "#d97706", "#b42318"
STYLE: dict[str, Any] = {
    "font.size": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "path.simplify_threshold": 0.5,
}
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SESSIONS_PER_YEAR = 252


def equity(sessions_ns: NDArray[np.int64], net: Floats, gross: Floats) -> str:
    """Growth of 1 with gains reinvested, log scale: net and before costs."""

    def draw(axes: Axes) -> None:
        axes.plot(_dates(sessions_ns), np.cumprod(1 + gross), color=MUTED, linewidth=1, label="before costs")
        axes.plot(_dates(sessions_ns), np.cumprod(1 + net), color=BLUE, linewidth=1.4, label="net of costs")
        axes.set_yscale("log")
        form = mpl.ticker.FormatStrFormatter("%.1f" if np.ptp(np.cumprod(1 + gross)) > 1 else "%.2f")
        axes.yaxis.set_major_formatter(form)
        axes.yaxis.set_minor_formatter(form)
        axes.set_ylabel("growth of 1, reinvested")
        axes.legend(loc="upper left")

    return _picture("equity", draw)


def drawdown(sessions_ns: NDArray[np.int64], net: Floats, band: tuple[float, float]) -> str:
    """Distance from the last high; `band`: the 5 % quantile and median of bootstrapped one-year maxima (≤ 0)."""

    def draw(axes: Axes) -> None:
        wealth = np.cumprod(1 + net)
        depth = wealth / np.maximum.accumulate(np.maximum(wealth, 1.0)) - 1
        low, high = (100 * edge for edge in band)
        label = "a year's deepest, bootstrapped: from the worst in twenty to the median"
        if np.isfinite(low) and np.isfinite(high):
            axes.axhspan(low, high, color=ORANGE, alpha=0.15, linewidth=0, label=label)
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)
        axes.plot(_dates(sessions_ns), 100 * depth, color=BLUE, linewidth=1)
        axes.set_ylabel("drawdown, %")

    return _picture("drawdown", draw)


def rolling_sharpe(sessions_ns: NDArray[np.int64], net: Floats, window: int = SESSIONS_PER_YEAR) -> str:
    """Annualised Sharpe of the last `window` sessions, with ± 2 standard errors of one window about the mean."""

    def draw(axes: Axes) -> None:
        windows = np.lib.stride_tricks.sliding_window_view(net, window)
        deviation = windows.std(axis=1, ddof=1)
        ratio = windows.mean(axis=1) / np.where(deviation > 0, deviation, np.nan) * np.sqrt(SESSIONS_PER_YEAR)
        middle = float(net.mean() / net.std(ddof=1) * np.sqrt(SESSIONS_PER_YEAR))
        error = np.sqrt(SESSIONS_PER_YEAR / window)
        axes.axhspan(middle - 2 * error, middle + 2 * error, color=BLUE, alpha=0.08, linewidth=0, label="mean ± 2 SE")
        axes.axhline(middle, color=BLUE, linewidth=0.8)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.plot(_dates(sessions_ns)[window - 1 :], ratio, color=BLUE, linewidth=1.2)
        axes.set_ylabel(f"Sharpe, last {window} sessions")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0)

    return _picture("rolling", draw)


def monthly(sessions_ns: NDArray[np.int64], net: Floats) -> str:
    """Net return by month and year, %, compounded within the month."""
    months = sessions_ns.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    years = months // 12 + 1970
    first, rows = int(years.min()), int(years.max() - years.min()) + 1
    table = np.full((rows, 12), np.nan)
    for month in np.unique(months):
        chosen = months == month
        table[month // 12 + 1970 - first, month % 12] = 100 * (np.prod(1 + net[chosen]) - 1)

    def draw(axes: Axes) -> None:
        limit = max(float(np.nanpercentile(np.abs(table), 98)), 1e-9)
        # squares, not an image: no compressed bytes that another library would write otherwise
        axes.pcolormesh(np.ma.masked_invalid(table), cmap="RdBu", vmin=-limit, vmax=limit, linewidth=0)
        for row, column in zip(*np.nonzero(np.isfinite(table)), strict=True):
            shade = "white" if abs(table[row, column]) > 0.7 * limit else INK
            axes.text(
                column + 0.5,
                row + 0.5,
                f"{table[row, column] + 0.0:.1f}".replace("-0.0", "0.0"),
                ha="center",
                va="center",
                fontsize=7,
                color=shade,
            )
        axes.set_xticks(np.arange(12) + 0.5, MONTHS)
        axes.set_yticks(np.arange(rows) + 0.5, [str(first + row) for row in range(rows)])
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.tick_params(length=0)

    return _picture("monthly", draw, height=0.55 + 0.21 * rows)


def costs(sessions_ns: NDArray[np.int64], spread: Floats, impact: Floats, turnover: Floats) -> str:
    """Costs by year in basis points a day, stacked, and turnover a day as a line."""
    years = sessions_ns.astype("datetime64[ns]").astype("datetime64[Y]").astype(np.int64) + 1970
    distinct = np.unique(years)
    means = [[1e4 * float(part[years == year].mean()) for year in distinct] for part in (spread, impact)]
    traded = [100 * float(turnover[years == year].mean()) for year in distinct]

    def draw(axes: Axes) -> None:
        axes.bar(distinct, means[0], color=BLUE, width=0.7, label="half-spread")
        axes.bar(distinct, means[1], bottom=means[0], color=ORANGE, width=0.7, label="market impact")
        axes.set_ylabel("cost, bp a day")
        axes.set_ylim(top=1.25 * max(map(sum, zip(*means, strict=True))))
        axes.set_xlim(distinct[0] - 0.8, distinct[-1] + 0.8)
        axes.set_xticks(distinct[:: 1 + len(distinct) // 12])
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=2)
        right = axes.twinx()
        right.plot(distinct, traded, color=INK, marker="o", markersize=3, linewidth=1, label="turnover")
        right.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
        right.set_ylabel("turnover, % of capital a day")
        right.set_ylim(bottom=0)
        right.grid(visible=False)

    return _picture("costs", draw)


def trials(sharpes: Sequence[float], chosen: int, threshold: float) -> str:
    """Every trial's annualised net Sharpe in the order they were opened, and what the best of so many must exceed."""

    def draw(axes: Axes) -> None:
        values = np.asarray(sharpes, dtype=np.float64)
        done = np.flatnonzero(np.isfinite(values))
        crashed = np.flatnonzero(~np.isfinite(values))
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.scatter(done + 1, values[done], color=MUTED, s=16, label="trial")
        axes.scatter([chosen + 1], [values[chosen]], color=BLUE, s=44, zorder=3, label="chosen")
        if len(crashed):
            bottom = np.full(len(crashed), float(np.nanmin(values)))
            axes.scatter(crashed + 1, bottom, color=RED, marker="x", s=20, label="crashed (counted)")
        if np.isfinite(threshold):
            label = f"threshold after deflation: {threshold:.2f}"
            axes.axhline(threshold, color=RED, linestyle="--", linewidth=1.2, label=label)
        axes.set_xlim(0.5, len(values) + 0.5)
        axes.set_xlabel("trial")
        axes.set_ylabel("net Sharpe, annualised")
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, ncols=4)

    return _picture("trials", draw)


def importance(names: Sequence[str], shares: Floats) -> str:
    """How much of the score's variation each feature carries (permutation), largest first."""
    order = np.argsort(-shares, kind="stable")[::-1]

    def draw(axes: Axes) -> None:
        axes.barh(range(len(order)), 100 * shares[order], color=BLUE, height=0.65)
        axes.set_yticks(range(len(order)), [names[at] for at in order])
        axes.set_xlabel("change of the score when the feature is shuffled, % of its sd")
        axes.grid(visible=False, axis="y")

    return _picture("importance", draw, height=0.6 + 0.24 * len(order))


def _picture(name: str, draw: Callable[[Axes], None], height: float = 2.6) -> str:
    settings: Any = {**STYLE, "svg.hashsalt": name}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(8.4, height), layout="constrained")
        draw(figure.subplots())
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _dates(sessions_ns: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return sessions_ns.astype("datetime64[ns]")
