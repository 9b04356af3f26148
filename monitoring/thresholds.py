"""Thresholds: the desk's textbook rule, and the calibrated one whose false alarms keep a stated budget.

A threshold judges a measurement and says why; it does nothing. Both rules judge every session, so that what one would
have said stands beside what the other did. The null laws that calibrate are made at promotion and travel in the
release (`promotion.evidence.nulls`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import kolmogi

from monitoring.detectors.contract import Measurement
from monitoring.detectors.sharpe import SharpeDetector
from monitoring.errors import ReferenceRefused
from monitoring.reference import Reference
from monitoring.verdict import Rule, State, Verdict
from promotion.config import ActionPolicy
from promotion.evidence.errors import NotValidError
from promotion.evidence.nulls import DriftNulls, SharpeNulls

Floats = npt.NDArray[np.float64]
SILENCE = "silence"  # the detector that a verdict on missing data names
RECOVERED_SDS = 1.0  # an accused book has recovered once its ratio is within so many sds of what is expected


@dataclass(frozen=True, eq=False)
class Bounds:
    """One rule's thresholds on one release.

    psi: float64 [column], the most that may be. ks: float64 [column] likewise, or a p value below which rows count as
    drifted. sharpe: the least that the annualised ratio may be; sharpe_recovered: from here up an earlier breach is
    over. false_cuts_per_year, false_feature_alarms_per_year: how often a release that is as its backtest said would be
    accused, as measured on its null law; feature_alarm_share: how much of the time its inputs would stand accused.
    """

    rule: Rule
    psi: Floats
    ks: Floats | float
    sharpe: float
    sharpe_recovered: float
    false_cuts_per_year: float
    false_feature_alarms_per_year: float
    feature_alarm_share: float | None = None

    def describe(self) -> str:
        """The rule's rates in one sentence."""
        share = "" if self.feature_alarm_share is None else f" ({self.feature_alarm_share:.0%} of sessions in alarm)"
        return (
            f"{self.rule}: on a healthy release {self.false_cuts_per_year:.2g} false cuts a year, "
            f"{self.false_feature_alarms_per_year:.2g} false feature alarms a year{share}"
        )


@dataclass(frozen=True, eq=False)
class Yardstick:
    """What a release is measured against: its reference's cells, and each rule's thresholds."""

    reference: Reference
    bounds: Mapping[Rule, Bounds]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        reference: npt.NDArray[np.floating[Any]],
        drift: DriftNulls,
        sharpe: SharpeNulls,
        policy: ActionPolicy,
    ) -> Yardstick:
        """The yardstick of `reference` [session, instrument, column] and the nulls made of it, under `policy`.

        names: of the columns, the score last. ReferenceRefused when a column cannot be watched, the nulls are of other
        windows or columns than the policy's, or its budget is rarer than any they are calibrated for.
        """
        _check_nulls(names, drift, sharpe, policy)
        bounds: dict[Rule, Bounds] = {
            "desk": _desk(policy, drift, sharpe, len(names)),
            "calibrated": _calibrated(policy, drift, sharpe),
        }
        return cls(Reference.of(names, reference), bounds)


def judge(yardstick: Yardstick, rule: Rule, measurements: Iterable[Measurement]) -> tuple[Verdict, ...]:
    """One verdict a measurement: of its worst subject, and how many others are beyond theirs."""
    return tuple(_judge(yardstick, yardstick.bounds[rule], measured) for measured in measurements)


def judge_silence(rule: Rule, grace_sessions: int, missing: Mapping[str, int]) -> tuple[Verdict, ...]:
    """One verdict on each thing that has been missing for so many sessions: longer than the grace is a breach."""
    return tuple(_silence(rule, grace_sessions, what, sessions) for what, sessions in missing.items())


def _desk(policy: ActionPolicy, drift: DriftNulls, sharpe: SharpeNulls, columns: int) -> Bounds:
    return Bounds(
        rule="desk",
        psi=np.full(columns, policy.desk_psi),
        ks=policy.desk_ks_p,
        sharpe=sharpe.mean - policy.desk_sharpe_sds * sharpe.sd,
        sharpe_recovered=sharpe.mean - RECOVERED_SDS * sharpe.sd,
        false_cuts_per_year=sharpe.desk_alarms_per_year,
        false_feature_alarms_per_year=max(drift.desk_psi_alarms_per_year, drift.desk_ks_alarms_per_year),
        feature_alarm_share=max(drift.desk_psi_alarm_share, drift.desk_ks_alarm_share),
    )


def _calibrated(policy: ActionPolicy, drift: DriftNulls, sharpe: SharpeNulls) -> Bounds:
    try:
        return Bounds(
            rule="calibrated",
            psi=drift.psi_threshold(policy.false_feature_alarms_per_year),
            ks=drift.ks_threshold(policy.false_feature_alarms_per_year),
            sharpe=sharpe.threshold(policy.false_cuts_per_year),
            sharpe_recovered=sharpe.mean - RECOVERED_SDS * sharpe.sd,
            false_cuts_per_year=policy.false_cuts_per_year,
            false_feature_alarms_per_year=policy.false_feature_alarms_per_year,
        )
    except NotValidError as error:
        raise ReferenceRefused(f"the policy's budget cannot be kept: {error}") from error


def _check_nulls(names: Sequence[str], drift: DriftNulls, sharpe: SharpeNulls, policy: ActionPolicy) -> None:
    made = (drift.window_sessions, sharpe.window_sessions)
    asked = (policy.drift_window_sessions, policy.sharpe_window_sessions)
    if made != asked:
        raise ReferenceRefused(
            f"expected nulls of windows {asked} sessions (drift, Sharpe) as the policy has them, found {made}; "
            "validate the release under this policy"
        )
    if drift.psi_thresholds.shape[1] != len(names):
        raise ReferenceRefused(
            f"expected nulls of {len(names)} columns ({', '.join(names)}), found {drift.psi_thresholds.shape[1]}; "
            "rebuild the release"
        )


def _judge(yardstick: Yardstick, bounds: Bounds, measured: Measurement) -> Verdict:
    limit = _limits(yardstick, bounds, measured)
    if not measured.ready:
        why = f"{measured.detector}: {measured.filled} of {measured.window} sessions seen"
        return _verdict(bounds.rule, measured, 0, "warming", None, limit, recovered=False, why=why)
    sign = -1.0 if measured.detector == SharpeDetector.name else 1.0  # a ratio may not be below, a distance not above
    absent = np.isnan(measured.values)
    excess = np.where(absent, np.inf, sign * (measured.values - limit))
    worst = int(np.argmax(excess / np.maximum(np.abs(limit), 1e-9)))  # the farthest out for its own threshold
    value = None if absent[worst] else float(measured.values[worst])
    state: State = "breach" if (excess > 0).any() else "clear"
    recovered = state == "clear" and (sign > 0 or (value is not None and value >= bounds.sharpe_recovered))
    why = _why(bounds.rule, measured, worst, limit, beyond=int((excess > 0).sum()))
    return _verdict(bounds.rule, measured, worst, state, value, limit, recovered=recovered, why=why)


def _limits(yardstick: Yardstick, bounds: Bounds, measured: Measurement) -> Floats:
    if measured.detector == SharpeDetector.name:
        return np.array([bounds.sharpe])
    if measured.detector == "psi":
        return bounds.psi
    if isinstance(bounds.ks, float):
        return np.full(len(measured.subjects), _critical_distance(bounds.ks, yardstick.reference, measured.samples))
    return bounds.ks


def _critical_distance(p_value: float, reference: Reference, rows: int) -> float:
    """The KS distance whose asymptotic p value is `p_value` for so many independent rows on either side."""
    known = int(reference.counts[0].sum())
    effective = known * rows / max(known + rows, 1)
    return float(kolmogi(p_value) / np.sqrt(max(effective, 1.0)))


def _why(rule: Rule, measured: Measurement, worst: int, limit: Floats, *, beyond: int) -> str:
    value = measured.values[worst]
    found = "has nothing to measure" if np.isnan(value) else f"is {value:.3g}"
    others = f"; {beyond - 1} more beyond theirs" if beyond > 1 else ""
    return (
        f"{measured.detector} of {measured.subjects[worst]} {found} over {measured.window} sessions, "
        f"{rule} threshold {limit[worst]:.3g}{others}"
    )


def _verdict(
    rule: Rule,
    measured: Measurement,
    subject: int,
    state: State,
    value: float | None,
    limit: Floats,
    *,
    recovered: bool,
    why: str,
) -> Verdict:
    return Verdict(
        rule=rule,
        fault=measured.fault,
        detector=measured.detector,
        subject=measured.subjects[subject],
        state=state,
        value=value,
        threshold=float(limit[subject]),
        recovered=recovered,
        why=why,
    )


def _silence(rule: Rule, grace: int, what: str, sessions: int) -> Verdict:
    return Verdict(
        rule=rule,
        fault="input",
        detector=SILENCE,
        subject=what,
        state="breach" if sessions > grace else "clear",
        value=float(sessions),
        threshold=float(grace),
        recovered=sessions <= grace,
        why=f"no {what} for {sessions} sessions, grace {grace}",
    )
