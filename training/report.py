"""One self-contained `report.html`: readable without a network, the same bytes for the same run.

It shows what `evidence.json` says and nothing it does not; every number stands beside what it was measured on.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promotion.config import Signal
from promotion.evidence.assess import METRICS, Evidence
from training import plots

STYLE = """
body{font:15px/1.5 "Helvetica Neue",Arial,sans-serif;color:#1c2430;max-width:62rem;margin:2rem auto;padding:0 1.2rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .4rem;border-bottom:1px solid #e3e7ec}
p,li{max-width:46rem}.note{background:#fff7e6;border-left:4px solid #d97706;padding:.5rem .8rem;max-width:46rem}
.tiles{display:flex;flex-wrap:wrap;gap:.8rem;margin:1.2rem 0}.tile{border:1px solid #e3e7ec;border-radius:6px;
padding:.6rem .9rem;min-width:8.4rem}.tile b{display:block;font-size:1.35rem;font-weight:600}.tile span{color:#6b7684;
font-size:.8rem}table{border-collapse:collapse;font-size:.86rem;margin:.4rem 0}td,th{padding:.22rem .7rem .22rem 0;
text-align:left;vertical-align:top;border-bottom:1px solid #eef1f4}td.n{text-align:right;
font-variant-numeric:tabular-nums;white-space:nowrap}code{font-size:.82rem;overflow-wrap:anywhere}
svg{width:100%;height:auto}
"""


STRESS_COLUMNS = (
    "name",
    "first",
    "last",
    "coverage",
    "sessions",
    "total_return",
    "annual_volatility",
    "max_drawdown",
)


@dataclass(frozen=True)
class ReportInputs:
    """What a report is drawn from.

    arrays: the release's `backtest.npz`. trials: one mapping a trial (id, candidate, outcome, sharpe_annual), in
    order; chosen: position of the one that was picked. importance: float64 [F], shares. deflated_sharpe_annual: what
    the best of so many trials must exceed. record: the run's `run.json`.
    """

    signal: Signal
    record: Mapping[str, Any]
    evidence: Evidence
    arrays: Mapping[str, NDArray[Any]]
    trials: Sequence[Mapping[str, Any]]
    chosen: int
    importance: NDArray[np.float64]
    deflated_sharpe_annual: float


def render(inputs: ReportInputs) -> bytes:
    """The report, UTF-8."""
    sections = [
        _head(inputs),
        _tiles(inputs.evidence),
        _performance(inputs),
        _costs(inputs),
        _trials(inputs),
        _stress(inputs.evidence),
        _section("Features", plots.importance(inputs.signal.features, inputs.importance)),
        _metrics(inputs.evidence),
        _method(inputs),
    ]
    title = html.escape(_title(inputs))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    ).encode()


def _title(inputs: ReportInputs) -> str:
    return f"{inputs.record['signal']} as known on {inputs.record['plan']['as_of']}"


def _head(inputs: ReportInputs) -> str:
    record = inputs.record
    chosen = inputs.trials[inputs.chosen]["candidate"]
    counted = "declared by the author" if record["declared"] else "counted in the ledger"
    return (
        f"<h1>{html.escape(_title(inputs))}</h1>"
        f"<p>Model: {html.escape(_candidate(chosen))}. Trials: {counted}. "
        f"Owner: {html.escape(inputs.signal.owner)}.</p>"
        f'<p class="note"><b>Data.</b> {html.escape(record["source"])}. '
        "A universe of survivors flatters every figure below.</p>"
    )


def _tiles(evidence: Evidence) -> str:
    shown = (
        ("sharpe_annual", "net Sharpe, annualised", _plain, "sharpe_annual_standard_error"),
        ("dsr_published", "deflated Sharpe (2014)", _probability, None),
        ("psr_2012", "probabilistic Sharpe (2012)", _probability, None),
        ("max_drawdown", "maximum drawdown", _percent, None),
        ("return_annual", "net return a year", _percent, None),
        ("turnover_daily", "turnover a day", _percent, None),
        ("trials", "trials", _count, None),
    )
    tiles = []
    for name, label, form, error in shown:
        value = evidence.metrics.get(name)
        text = "not valid" if value is None else form(value)
        if error is not None and error in evidence.metrics:
            text += f" ± {evidence.metrics[error]:.2f}"
        tiles.append(f'<div class="tile"><b>{text}</b><span>{label}</span></div>')
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _performance(inputs: ReportInputs) -> str:
    sessions, net, gross = (inputs.arrays[name] for name in ("sessions_ns", "net", "gross"))
    metrics = inputs.evidence.metrics
    band = tuple(metrics.get(name, math.nan) for name in ("max_drawdown_p05_one_year", "max_drawdown_p50_one_year"))
    return (
        _section("Out of sample, net of costs", plots.equity(sessions, net, gross))
        + _section("Drawdown", plots.drawdown(sessions, net, (band[0], band[1])))
        + _rolling(sessions, net)
        + _section("Months, %", plots.monthly(sessions, net))
    )


def _rolling(sessions_ns: NDArray[np.int64], net: NDArray[np.float64]) -> str:
    if len(net) < 2 * plots.SESSIONS_PER_YEAR:
        return _section("Rolling Sharpe", "<p>Not drawn: fewer than two years of sessions.</p>")
    return _section("Rolling Sharpe", plots.rolling_sharpe(sessions_ns, net))


def _costs(inputs: ReportInputs) -> str:
    costs = inputs.signal.costs
    arrays = inputs.arrays
    stated = (
        f"Half-spread {costs.half_spread_bps:g} bp; impact {costs.impact_coefficient:g} · sd · √(traded / ADV), sd "
        f"over {costs.impact_volatility_sessions} sessions, capital {costs.capital_usd:,.0f} USD, and an "
        f"<b>assumed</b> ADV of {costs.adv_assumed_usd:,.0f} USD a name (<code>adv_assumed</code>): "
        "the prices carry no volume."
    )
    picture = plots.costs(*(arrays[name] for name in ("sessions_ns", "cost_spread", "cost_impact", "turnover")))
    return _section("Costs", f"<p>{stated}</p>{picture}")


def _trials(inputs: ReportInputs) -> str:
    sharpes = [float(trial["sharpe_annual"]) for trial in inputs.trials]
    rows = [
        (str(at + 1), _candidate(trial["candidate"]), _trial_result(trial), "chosen" if at == inputs.chosen else "")
        for at, trial in enumerate(inputs.trials)
    ]
    lead = (
        f"<p>{len(rows)} candidates in this sweep; {inputs.evidence.metrics.get('trials', math.nan):.0f} trials "
        "counted for this label, universe and data, crashed ones too. The dashed line is what the best of so many "
        "models without skill exceeds one time in twenty.</p>"
    )
    lead += _baseline_note(inputs)
    picture = plots.trials(sharpes, inputs.chosen, inputs.deflated_sharpe_annual)
    shown = rows if len(rows) <= 12 else [row for row in rows if row[3]]
    return _section("Trials", lead + picture + _table(("", "candidate", "net Sharpe", ""), shown))


def _baseline_note(inputs: ReportInputs) -> str:
    """The baseline is named where it did better: a model that does not beat a line has to be looked at."""
    sharpes = [float(trial["sharpe_annual"]) for trial in inputs.trials if trial["candidate"].get("baseline")]
    best = max((one for one in sharpes if math.isfinite(one)), default=math.nan)
    chosen = float(inputs.trials[inputs.chosen]["sharpe_annual"])
    if not best > chosen:
        return ""
    return (
        f'<p class="note"><b>The baseline did better:</b> a net Sharpe of {best:.2f} against {chosen:.2f}. The chosen '
        f"model's standard error is {inputs.evidence.metrics.get('sharpe_annual_standard_error', math.nan):.2f}.</p>"
    )


def _stress(evidence: Evidence) -> str:
    rows = [tuple(_shown(name, row[name]) for name in STRESS_COLUMNS) for row in evidence.stress]
    return _section("Stress windows", _table(tuple(name.replace("_", " ") for name in STRESS_COLUMNS), rows))


def _metrics(evidence: Evidence) -> str:
    rows = [(name, f"{value:.6g}", METRICS.get(name, "")) for name, value in sorted(evidence.metrics.items())]
    rows += [(name, "not valid", reason) for name, reason in sorted(evidence.not_valid.items())]
    return _section("All evidence", _table(("metric", "value", "what it is"), rows))


def _method(inputs: ReportInputs) -> str:
    record, signal = inputs.record, inputs.signal
    points = (
        f"Target: {html.escape(record['family']['label'])}.",
        _split(record),
        f"Decided at a session's close plus the data's delay, executed {signal.execution_lag_sessions} close later; "
        f"weights: {signal.construction.kind.replace('_', '-')} by rank, gross {signal.construction.gross_leverage:g}, "
        f"at most {signal.construction.max_weight:g} a name, mean of {signal.construction.smoothing_sessions} days.",
        f"Exported to ONNX; compared with the native model on {record['parity']['rows']} rows, of them "
        f"{record['parity']['threshold_rows']} on or one float32 beside a threshold and "
        f"{record['parity']['missing_rows']} with missing features: largest difference "
        f"{float(record['parity']['max_abs']):.2g}.",
        f"Snapshot <code>{record['snapshot_id']}</code>, feature set <code>{record['feature_set_id']}</code>, commit "
        f"<code>{record['commit']}</code>, lock file <code>{record['lock_hash']}</code>.",
    )
    return _section("How it was made", "<ul>" + "".join(f"<li>{point}</li>" for point in points) + "</ul>")


def _split(record: Mapping[str, Any]) -> str:
    plan = record["plan"]
    if record["declared"]:
        return (
            f"Handed over as a fitted model, by its author's word trained on nothing after "
            f"{record['handed_over']['trained_until']}; scored here on every session after that."
        )
    window = f"the last {plan['train_sessions']} sessions" if plan["train_sessions"] else "all sessions known before"
    return (
        f"Walk-forward from {plan['first_test']}: trained on {window}, anew every {plan['step_sessions']} sessions; "
        f"labels that overhang a test block are purged, {plan['embargo_sessions']} sessions more are embargoed."
    )


def _section(title: str, body: str) -> str:
    return f"<h2>{html.escape(title)}</h2>{body}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(text: str) -> str:
    return f'<td class="n">{text}</td>' if _is_number(text) else f"<td>{html.escape(text)}</td>"


def _is_number(text: str) -> bool:
    try:
        float(text.removesuffix(" %"))
    except ValueError:
        return False
    return True


def _candidate(candidate: Mapping[str, Any]) -> str:
    parameters = ", ".join(f"{name} {value}" for name, value in sorted(candidate["parameters"].items()))
    return f"{candidate['trainer']} ({parameters or 'defaults'}; seed {candidate['seed']})" + (
        ", baseline" if candidate.get("baseline") else ""
    )


def _trial_result(trial: Mapping[str, Any]) -> str:
    return f"{float(trial['sharpe_annual']):.2f}" if trial["outcome"] == "finished" else str(trial["outcome"])


def _shown(name: str, value: str) -> str:
    if not _is_number(value):
        return value
    if not math.isfinite(float(value)):
        return "—"
    return value if name == "sessions" else _percent(float(value))


def _plain(value: float) -> str:
    return f"{value:.2f}"


def _probability(value: float) -> str:
    return f"{value:.3f}" if value < 0.9995 else "&gt; 0.999"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _count(value: float) -> str:
    return f"{value:.0f}"
