"""The report: the evidence's own numbers, readable without a network, the same bytes for the same run."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from features.registry import load_features
from promotion.evidence.assess import Evidence
from promotion.evidence.nulls import DriftNulls, SharpeNulls
from promotion.promote import judge_release
from promotion.release.open import open_release
from training import plots
from training.card import render_card
from training.importance import permutation_importance
from training.nulls import deflated_level
from training.report import ReportInputs, render
from training.trainers.ridge import RidgeModel
from training.validate import deflated_sharpe_annual

if TYPE_CHECKING:
    from tests.training.conftest import Trained


class Page(HTMLParser):
    """Which tags are open, and every address that a browser would fetch."""

    VOID = frozenset({"meta", "br", "img", "path", "use", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def inputs(trained: Trained) -> ReportInputs:
    record = trained.run.record
    return ReportInputs(
        signal=trained.bench.signal,
        record=record,
        evidence=trained.validated.evidence,
        arrays=trained.run.arrays("backtest.npz"),
        trials=record["trials"],
        chosen=record["chosen"],
        importance=np.linspace(0.1, 0.6, 6),
        deflated_sharpe_annual=0.9,
    )


def test_the_report_is_whole_and_fetches_nothing(inputs: ReportInputs) -> None:
    page = Page()
    page.feed(render(inputs).decode())
    assert not page.open
    assert all(address.startswith("#") for address in page.fetched)
    for heading in ("Drawdown", "Months, %", "Costs", "Trials", "Stress windows", "All evidence", "How it was made"):
        assert heading in page.headings


def test_the_same_run_gives_the_same_bytes(inputs: ReportInputs) -> None:
    assert render(inputs) == render(inputs)


def test_evidence_read_back_from_its_file_gives_the_same_report(inputs: ReportInputs) -> None:
    read = Evidence.read(inputs.evidence.canonical())
    assert render(replace(inputs, evidence=read)) == render(inputs)


def test_every_number_of_the_evidence_is_in_the_report(inputs: ReportInputs) -> None:
    text = render(inputs).decode()
    for name, value in inputs.evidence.metrics.items():
        assert f"<td>{name}</td>" in text
        assert f"{value:.6g}" in text


def test_the_report_says_what_the_data_are_and_what_is_assumed(inputs: ReportInputs) -> None:
    text = render(inputs).decode()
    assert "a made-up market that reverts" in text
    assert "adv_assumed" in text
    assert "survivors" in text


def test_names_from_outside_cannot_break_out_of_the_page(inputs: ReportInputs) -> None:
    hostile = msgspec.structs.replace(inputs.signal, owner="<script>alert(1)</script>")
    record = {**inputs.record, "source": "<img src=x onerror=alert(1)>"}
    text = render(replace(inputs, signal=hostile, record=record)).decode()
    assert "<script>" not in text
    assert "<img" not in text


def test_a_baseline_that_did_better_is_named(inputs: ReportInputs) -> None:
    trials = [dict(trial) for trial in inputs.trials]
    trials[0]["sharpe_annual"] = "99.0"
    assert "The baseline did better" in render(replace(inputs, trials=trials)).decode()
    trials[0]["sharpe_annual"] = "-99.0"
    assert "The baseline did better" not in render(replace(inputs, trials=trials)).decode()


def test_crashed_trials_and_missing_metrics_are_shown_as_such(inputs: ReportInputs) -> None:
    trials = [*inputs.trials, {**inputs.trials[1], "outcome": "crashed", "sharpe_annual": "nan"}]
    evidence = Evidence(metrics={}, not_valid={"sharpe_annual": "no book"}, stress=inputs.evidence.stress)
    text = render(replace(inputs, trials=trials, evidence=evidence)).decode()
    assert "crashed" in text
    assert "no book" in text
    assert "not valid" in text


def test_a_short_record_is_drawn_too(inputs: ReportInputs) -> None:
    short = {name: array[:40] for name, array in inputs.arrays.items()}
    text = render(replace(inputs, arrays=short)).decode()
    assert "fewer than two years" in text


def test_pictures_depend_on_their_arrays_alone() -> None:
    sessions = (
        np.arange(np.datetime64("2001-01-01"), np.datetime64("2003-01-01")).astype("datetime64[ns]").astype(np.int64)
    )
    net = np.random.default_rng(0).normal(0, 0.01, len(sessions))
    assert plots.equity(sessions, net, net) == plots.equity(sessions, net, net)
    assert plots.equity(sessions, net, net) != plots.equity(sessions, -net, net)
    assert not re.search(r"<dc:date>|Matplotlib v", plots.equity(sessions, net, net))


def test_the_card_names_owner_data_features_and_limits(trained: Trained) -> None:
    card = render_card(trained.bench.signal, trained.run.record, trained.validated.evidence).decode()
    for said in ("research", trained.bench.snapshot.id, "volatility_21", "counted in the ledger", "survivors"):
        assert said in card


def test_importance_finds_the_only_feature_that_matters() -> None:
    model = RidgeModel(np.array([0.0, 2.0, 0.0]), 1.0)
    rows = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    shares = permutation_importance(model, rows)
    assert shares[1] == pytest.approx(np.sqrt(2), abs=0.15)  # the sd of the difference of two independent draws
    assert shares[[0, 2]].tolist() == [0.0, 0.0]
    constant = permutation_importance(RidgeModel(np.zeros(3), 1.0), rows)
    assert constant.tolist() == [0.0, 0.0, 0.0]


def test_the_nulls_in_a_release_are_read_back(trained: Trained) -> None:
    state = trained.bench.author.ledger.state()
    release = open_release(
        trained.bench.home, trained.validated.digest, environment="replay", principals=state.principals
    )
    arrays = release.arrays("reference/nulls.npz")
    drift = DriftNulls.from_arrays(
        {name.removeprefix("drift_"): one for name, one in arrays.items() if name.startswith("drift_")}
    )
    sharpe = SharpeNulls.from_arrays(
        {name.removeprefix("sharpe_"): one for name, one in arrays.items() if name.startswith("sharpe_")}
    )
    columns = len(load_features(trained.bench.signal.features)) + 1  # the score behind the features
    assert drift.psi_thresholds.shape[1] == columns
    assert sharpe.window_sessions == trained.bench.config.action.sharpe_window_sessions
    metrics = trained.validated.evidence.metrics
    assert sharpe.centre < metrics["sharpe_annual"]  # the selected trial's ratio, less what luck explains


def test_the_null_s_level_is_never_negative_and_none_without_deflation() -> None:
    lucky = Evidence(
        metrics={"sharpe_per_period": 0.01, "trial_sharpe_variance": 1.0, "trials": 100.0}, not_valid={}, stress=()
    )
    level = deflated_level(lucky)
    assert level is not None
    assert level.value == 0.0
    assert deflated_level(Evidence(metrics={}, not_valid={}, stress=())) is None


def test_the_deflated_threshold_is_that_of_the_gate(trained: Trained) -> None:
    """In the report's unit: Z⁻¹(0.95^{1/N}) standard errors under no skill, annualised."""
    metrics = trained.validated.evidence.metrics
    assert metrics["trials"] == 3
    in_standard_errors = deflated_sharpe_annual(trained.validated.evidence) * metrics["dsr_calibrated_z"]
    assert in_standard_errors / metrics["sharpe_annual"] == pytest.approx(2.1212, abs=1e-4)
    assert np.isnan(deflated_sharpe_annual(Evidence(metrics={}, not_valid={}, stress=())))


def test_promotion_agrees_with_the_evidence(trained: Trained) -> None:
    """What the gate recomputes from the release is what the validator signed: same code, same arrays."""
    bench = trained.bench
    judgement = judge_release(
        bench.home, bench.author.ledger.state(), trained.validated.digest, policy=bench.config.gates["replay"]
    )
    assert judgement.verdict.passed
    assert judgement.evidence.metrics == trained.validated.evidence.metrics
