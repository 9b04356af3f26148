"""Both rules: what they hold a measurement to, what they say, and how often they accuse the innocent."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from monitoring.detectors.contract import Measurement
from monitoring.errors import ReferenceRefused
from monitoring.release import read_yardstick
from monitoring.thresholds import Yardstick, judge, judge_silence
from monitoring.verdict import Rule
from promotion.config import ActionPolicy
from promotion.evidence.drift import ks_p_value
from promotion.evidence.nulls import DriftNulls, SharpeNulls, drift_nulls, sharpe_nulls
from promotion.release.arrays import to_npz

NAMES = ["momentum", "score"]
POLICY = ActionPolicy()
GENERATOR = np.random.default_rng(1)
REFERENCE = GENERATOR.normal(size=(400, 20, 2)).astype(np.float32)
DRIFT = drift_nulls(REFERENCE, draws=20)
SHARPE = sharpe_nulls(GENERATOR.normal(1e-3, 1e-2, 1500), draws=200)
YARDSTICK = Yardstick.of(NAMES, REFERENCE, DRIFT, SHARPE, POLICY)


def measured(detector: str, *values: float, filled: int = 21, samples: int = 420) -> Measurement:
    subjects = ("net return",) if detector == "sharpe" else tuple(NAMES)
    fault: Any = "model" if detector == "sharpe" else "input"
    return Measurement(detector, fault, subjects, np.array(values), samples, filled, 21)


def verdict(rule: Rule, measurement: Measurement) -> Any:
    return judge(YARDSTICK, rule, [measurement])[0]


@pytest.mark.parametrize("detector", ["psi", "ks", "sharpe"])
@pytest.mark.parametrize("rule", ["desk", "calibrated"])
def test_a_window_that_is_not_full_is_warming(rule: Rule, detector: str) -> None:
    values = [-99.0] if detector == "sharpe" else [9.0, 9.0]
    found = verdict(rule, measured(detector, *values, filled=20))
    assert (found.state, found.value, found.recovered) == ("warming", None, False)
    assert "20 of 21 sessions" in found.why


@pytest.mark.parametrize("detector", ["psi", "ks", "sharpe"])
@pytest.mark.parametrize("rule", ["desk", "calibrated"])
def test_no_value_in_a_full_window_is_a_breach(rule: Rule, detector: str) -> None:
    values = [np.nan] if detector == "sharpe" else [0.01, np.nan]
    found = verdict(rule, measured(detector, *values))
    assert (found.state, found.value, found.recovered) == ("breach", None, False)
    assert "has nothing to measure" in found.why


def test_the_desk_holds_psi_to_a_quarter() -> None:
    assert verdict("desk", measured("psi", 0.1, 0.25)).state == "clear"
    found = verdict("desk", measured("psi", 0.1, 0.26))
    assert (found.state, found.subject, found.value, found.threshold) == ("breach", "score", 0.26, 0.25)
    assert found.why == "psi of score is 0.26 over 21 sessions, desk threshold 0.25"


def test_the_desk_holds_ks_to_its_textbook_p_value() -> None:
    found = verdict("desk", measured("ks", 0.0, 0.0, samples=420))
    assert float(ks_p_value(found.threshold, 8000, 420)) == pytest.approx(0.05)
    assert verdict("desk", measured("ks", 0.0, found.threshold * 1.001)).breached
    assert not verdict("desk", measured("ks", 0.0, found.threshold * 0.999)).breached


def test_the_desk_cuts_below_two_standard_deviations() -> None:
    limit = SHARPE.mean - 2 * SHARPE.sd
    assert verdict("desk", measured("sharpe", limit - 0.01)).breached
    assert not verdict("desk", measured("sharpe", limit + 0.01)).breached


def test_the_calibrated_rule_keeps_the_budgets_of_the_policy() -> None:
    assert verdict("calibrated", measured("sharpe", SHARPE.threshold(0.2) - 0.01)).breached
    assert not verdict("calibrated", measured("sharpe", SHARPE.threshold(0.2) + 0.01)).breached
    limits = DRIFT.psi_threshold(1.0)
    assert verdict("calibrated", measured("psi", 0.0, limits[1] + 0.01)).subject == "score"
    assert not verdict("calibrated", measured("psi", *(limits - 0.01))).breached
    assert SHARPE.threshold(0.2) < SHARPE.mean - 2 * SHARPE.sd, "rarer alarms than the desk's"


def test_between_threshold_and_recovery_there_is_doubt() -> None:
    limit = SHARPE.threshold(0.2)
    recovery = SHARPE.mean - SHARPE.sd
    doubt = verdict("calibrated", measured("sharpe", (limit + recovery) / 2))
    assert (doubt.state, doubt.recovered) == ("clear", False)
    assert verdict("calibrated", measured("sharpe", recovery + 0.01)).recovered


def test_the_worst_column_speaks_and_the_others_are_counted() -> None:
    found = verdict("desk", measured("psi", 0.5, 3.0))
    assert found.subject == "score"
    assert found.why.endswith("1 more beyond theirs")


def test_silence_is_held_to_its_grace() -> None:
    clear, breach = judge_silence("desk", 2, {"rows": 2, "decisions": 3})
    assert (clear.state, breach.state) == ("clear", "breach")
    assert breach.why == "no decisions for 3 sessions, grace 2"


def test_each_rule_says_how_often_it_accuses_the_innocent() -> None:
    assert YARDSTICK.bounds["calibrated"].describe() == (
        "calibrated: on a healthy release 0.2 false cuts a year, 1 false feature alarms a year"
    )
    desk = YARDSTICK.bounds["desk"]
    assert desk.false_cuts_per_year == SHARPE.desk_alarms_per_year > 0.5
    assert "of sessions in alarm" in desk.describe()


def test_nulls_of_other_windows_than_the_policy_are_refused() -> None:
    with pytest.raises(ReferenceRefused, match=r"windows \(63, 21\)"):
        Yardstick.of(NAMES, REFERENCE, DRIFT, SHARPE, msgspec.structs.replace(POLICY, drift_window_sessions=63))


def test_nulls_of_other_columns_are_refused() -> None:
    with pytest.raises(ReferenceRefused, match="nulls of 1 columns"):
        Yardstick.of(NAMES[:1], REFERENCE[:, :, :1], DRIFT, SHARPE, POLICY)


def test_a_budget_that_nobody_calibrated_for_is_refused() -> None:
    with pytest.raises(ReferenceRefused, match="budget cannot be kept"):
        Yardstick.of(NAMES, REFERENCE, DRIFT, SHARPE, msgspec.structs.replace(POLICY, false_cuts_per_year=0.01))


def release_files(drift: DriftNulls = DRIFT, sharpe: SharpeNulls = SHARPE) -> dict[str, bytes]:
    reference = {"features": REFERENCE[:, :, :1], "scores": REFERENCE[:, :, 1], "names": np.array(["momentum"])}
    nulls = {
        **{f"drift_{name}": array for name, array in drift.to_arrays().items()},
        **{f"sharpe_{name}": array for name, array in sharpe.to_arrays().items()},
    }
    return {"reference/features.npz": to_npz(reference), "reference/nulls.npz": to_npz(nulls)}


def test_a_release_brings_its_own_yardstick() -> None:
    read = read_yardstick(release_files(), POLICY)
    assert read.reference.names == ("momentum", "score")
    assert read.reference.counts.tolist() == YARDSTICK.reference.counts.tolist()
    for rule in ("desk", "calibrated"):
        assert read.bounds[rule].sharpe == YARDSTICK.bounds[rule].sharpe
        assert read.bounds[rule].psi.tolist() == YARDSTICK.bounds[rule].psi.tolist()


def test_a_release_without_reference_is_refused() -> None:
    files = release_files()
    del files["reference/nulls.npz"]
    with pytest.raises(ReferenceRefused, match=r"expected reference/nulls\.npz in the release"):
        read_yardstick(files, POLICY)
    files["reference/nulls.npz"] = to_npz({"drift_quantiles": np.zeros(3)})
    with pytest.raises(ReferenceRefused, match="rebuild it"):
        read_yardstick(files, POLICY)
