"""What an assessment leaves behind: named metrics, their canonical bytes, and how two records are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from features.canonical import canonical_json, decimal
from promotion.evidence.errors import RecordError

__all__ = ["METRICS", "Evidence", "differences"]

SCHEMA = 1

METRICS: Mapping[str, str] = {
    "observations": "sessions from the first trade on",
    "sharpe_annual": "net Sharpe ratio a year (× √252)",
    "sharpe_per_period": "net Sharpe ratio per session",
    "sharpe_standard_error": "Lo's standard error of it, per session",
    "sharpe_annual_standard_error": "Lo's standard error a year",
    "sharpe_gross_annual": "Sharpe ratio a year before costs",
    "skewness": "γ3 of net returns",
    "kurtosis": "γ4 of net returns, Pearson's (normal: 3)",
    "return_annual": "mean net return a year, share of capital",
    "volatility_annual": "standard deviation of net returns a year",
    "psr_2012": "probabilistic Sharpe ratio against 0, 2012 variant",
    "psr_2025": "the same, 2025 variant (variance under the null)",
    "minimum_track_record_sessions": "sessions that PSR 2012 ≥ 0.95 against 0 needs at this ratio",
    "trials": "trials opened, crashed and abandoned ones too",
    "trials_measured": "of them, with out-of-sample returns",
    "trials_declared": "1 when a signed declaration stands for the trials, else 0",
    "effective_trials": "ρ̄ + (1 − ρ̄)·M over the measured trials' correlation",
    "trial_sharpe_variance": "variance across trials of their per-session ratios",
    "dsr_published": "deflated Sharpe ratio as published: formula E[max], PSR 2012, all trials",
    "dsr_exact": "the same with the exact E[max]",
    "dsr_effective": "the published one at the effective number of trials",
    "dsr_calibrated": "Φ(z)^N: ≥ 1 − size is a test of that size over all trials",
    "dsr_calibrated_z": "the ratio in standard errors under no skill",
    "max_drawdown": "deepest loss from a high, ≤ 0",
    "max_drawdown_p05_one_year": "5 % quantile of bootstrapped one-year maximum drawdowns",
    "max_drawdown_p50_one_year": "their median",
    "turnover_daily": "mean traded a session, both sides, share of capital",
    "cost_bps_daily": "mean cost a session, basis points of capital",
    "cost_bps_per_traded": "cost per amount traded, basis points",
    "exposure_mean": "mean gross exposure, share of capital",
    "net_exposure_mean": "mean net exposure, share of capital",
    "hit_rate": "share of sessions with a gain",
    "stress_windows_covered": "named stress windows wholly inside the record",
    "parity_rows": "rows on which the exported model was compared with the native one",
    "parity_max_abs": "largest absolute difference there",
    "parity_max_ulp": "largest difference there in float32 units in the last place",
}


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Measured facts about a candidate.

    metrics: name → value (`METRICS` says what each is); not_valid: name → why it has no value; stress: one row a
    named window.
    """

    metrics: dict[str, float]
    not_valid: dict[str, str]
    stress: tuple[dict[str, str], ...]

    def canonical(self) -> bytes:
        """Canonical JSON with decimal strings: the bytes of `evidence.json`."""
        metrics = {name: decimal(value) for name, value in self.metrics.items()}
        stress = [dict(row) for row in self.stress]
        return canonical_json(
            {"schema": SCHEMA, "metrics": metrics, "not_valid": dict(self.not_valid), "stress": stress}
        )

    @classmethod
    def read(cls, data: bytes) -> Evidence:
        """The evidence of `canonical` bytes; RecordError when they are anything else."""
        try:
            raw = msgspec.json.decode(data, type=_Record)
            metrics = {name: float(value) for name, value in raw.metrics.items()}
        except (msgspec.DecodeError, ValueError) as error:
            raise RecordError(f"evidence: expected schema {SCHEMA}, found {error}; rebuild the release") from error
        if raw.schema != SCHEMA:
            raise RecordError(f"evidence: expected schema {SCHEMA}, found {raw.schema}; rebuild the release")
        return cls(metrics=metrics, not_valid=raw.not_valid, stress=raw.stress)


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: int
    metrics: dict[str, str]
    not_valid: dict[str, str]
    stress: tuple[dict[str, str], ...]


def differences(left: Evidence, right: Evidence, *, relative: float = 1e-9) -> tuple[str, ...]:
    """What differs between two evidences, one line each; empty when they agree to `relative` (another CPU's exp)."""
    lines = [
        f"{name}: {_shown(left.metrics, name)} ≠ {_shown(right.metrics, name)}"
        for name in sorted(left.metrics.keys() | right.metrics.keys())
        if not _close(left.metrics.get(name), right.metrics.get(name), relative)
    ]
    if len(left.stress) != len(right.stress) or not all(map(_rows_agree, left.stress, right.stress)):
        lines.append("stress: the windows' results differ")
    return tuple(lines)


def _shown(metrics: Mapping[str, float], name: str) -> str:
    return decimal(metrics[name]) if name in metrics else "absent"


def _close(left: float | None, right: float | None, relative: float) -> bool:
    if left is None or right is None:
        return left is right
    return math.isclose(left, right, rel_tol=relative, abs_tol=1e-12)


def _rows_agree(left: dict[str, str], right: dict[str, str]) -> bool:
    return left.keys() == right.keys() and all(_cells_agree(left[key], right[key]) for key in left)


def _cells_agree(left: str, right: str) -> bool:
    try:
        return left == right or _close(float(left), float(right), 1e-9)
    except ValueError:
        return False
