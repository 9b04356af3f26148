"""`card.md`: what the model is for, what it was made from, what it cannot do. Dates of reviews are ledger facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promotion.config import Signal
from promotion.evidence.assess import Evidence


def render_card(signal: Signal, record: Mapping[str, Any], evidence: Evidence) -> bytes:
    """The card, UTF-8 Markdown."""
    plan, candidate = record["plan"], record["trials"][record["chosen"]]["candidate"]
    metrics = evidence.metrics
    trials = "declared by its author" if record["declared"] else "counted in the ledger"
    lines = [
        f"# {record['signal']} as known on {plan['as_of']}",
        "",
        f"- **Owner**: {signal.owner}",
        f"- **Purpose**: {signal.kind.replace('_', '-')} score over {len(signal.universe)} instruments, horizon "
        f"{signal.horizon_sessions} sessions of {signal.calendar}; for the OMS, by name, not for single trades by hand",
        f"- **Target**: {record['family']['label']}",
        f"- **Model**: {candidate['trainer']}, parameters {candidate['parameters'] or 'default'}, seed "
        f"{candidate['seed']}; the best of {len(record['trials'])} candidates, trials {trials}",
        f"- **Data**: {record['source']}; snapshot `{record['snapshot_id']}`",
        f"- **Features** (`{record['feature_set_id']}`): {', '.join(signal.features)}",
        f"- **Missing features**: {'learned' if record['nan_ok'] else 'a row with one has no score'}",
        "",
        "## Out of sample, net of costs",
        "",
        *(f"- {name}: {metrics[name]:.4g}" for name in _SHOWN if name in metrics),
        *(f"- {name}: not valid ({reason})" for name, reason in sorted(evidence.not_valid.items())),
        "",
        "## Limits",
        "",
        f"- Never more than {signal.limits.max_capital_weight:g} of the signal's capital, a score beyond "
        f"±{signal.limits.max_abs_score:g}, or {signal.limits.max_scores_per_second} scores a second",
        "- The universe is of survivors and the prices were adjusted with later knowledge: returns are flattered",
        f"- The average daily volume behind the impact is assumed ({signal.costs.adv_assumed_usd:,.0f} USD a name), "
        "not measured; no borrow cost, no taxes, no participation cap",
        "- What was looked at before the first trial was opened (horizon, features, construction) is in no trial count",
        "- Trained once; it does not learn after its as-of day",
        "",
    ]
    return "\n".join(lines).encode()


_SHOWN = (
    "observations",
    "sharpe_annual",
    "sharpe_annual_standard_error",
    "psr_2012",
    "dsr_published",
    "dsr_calibrated",
    "trials",
    "max_drawdown",
    "max_drawdown_p05_one_year",
    "turnover_daily",
    "cost_bps_daily",
)
