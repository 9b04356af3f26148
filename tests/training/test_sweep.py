"""Every trial is opened before it trains and closed whatever becomes of it."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from features.registry import load_features
from promotion.evidence.performance import PaperBook
from training.backtest.account import account
from training.backtest.walk import first_test_session, folds, out_of_sample_scores
from training.errors import FoldError, TrainingError
from training.plan import Candidate, Plan, honest_plan, overfitted_plan
from training.run import load_samples
from training.samples import Samples
from training.sweep import Sweep, Trial, family, run_sweep
from training.trainer import FittedModel, Rows
from training.trainers.ridge import RidgeTrainer

if TYPE_CHECKING:
    from tests.training.conftest import Bench


@pytest.fixture
def small(bench: Bench, plan: Plan) -> Samples:
    return load_samples(bench.snapshot, load_features(bench.signal.features), bench.signal, known_at_ns=plan.as_of_ns)


def sweep(bench: Bench, small: Samples, plan: Plan) -> Sweep:
    return run_sweep(small, plan, bench.signal, counted_by=family(bench.signal, bench.snapshot.id), actor=bench.author)


def outcomes(bench: Bench) -> list[str]:
    return [trial.outcome for trial in bench.author.ledger.state().trials.values()]


def test_a_trial_is_in_the_ledger_before_it_trains(
    bench: Bench, small: Samples, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    fit = RidgeTrainer.fit

    def watched(self: RidgeTrainer, rows: Rows, parameters: dict[str, float], *, seed: int) -> FittedModel:
        seen.append(outcomes(bench))
        return fit(self, rows, parameters, seed=seed)

    monkeypatch.setattr(RidgeTrainer, "fit", watched)
    sweep(bench, small, msgspec.structs.replace(plan, candidates=plan.candidates[:1]))
    assert seen
    assert all(state == ["open"] for state in seen)
    assert outcomes(bench) == ["finished"]


def test_a_crashed_candidate_counts_and_the_sweep_goes_on(bench: Bench, small: Samples, plan: Plan) -> None:
    broken = Candidate(trainer="lightgbm", parameters={"min_data_in_leaf": 10_000_000})
    unknown = Candidate(trainer="lightgbm", parameters={"no_such": 1})
    trials = sweep(bench, small, msgspec.structs.replace(plan, candidates=(broken, unknown, plan.candidates[2])))
    assert [one.outcome for one in trials.trials] == ["crashed", "crashed", "finished"]
    assert outcomes(bench) == ["crashed", "crashed", "finished"]
    assert "no_such" in trials.trials[1].reason
    assert trials.chosen.position == 2
    returns = trials.net_returns()
    assert np.isnan(returns[:, :2]).all()
    assert np.isfinite(returns[:, 2]).all()


def test_an_interrupted_trial_is_closed_as_abandoned(
    bench: Bench, small: Samples, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(RidgeTrainer, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep(bench, small, plan)
    assert outcomes(bench) == ["abandoned"]


def test_a_defect_closes_the_trial_and_stops_the_sweep(
    bench: Bench, small: Samples, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(RidgeTrainer, "fit", defect)
    with pytest.raises(ZeroDivisionError):
        sweep(bench, small, plan)
    assert outcomes(bench) == ["crashed"]


def test_progress_is_told_of_every_trial(bench: Bench, small: Samples, plan: Plan) -> None:
    told: list[Trial] = []
    run_sweep(
        small,
        plan,
        bench.signal,
        counted_by=family(bench.signal, bench.snapshot.id),
        actor=bench.author,
        progress=told.append,
    )
    assert [one.position for one in told] == [0, 1, 2]


def test_nothing_is_chosen_among_crashes_and_baselines(bench: Bench, small: Samples, plan: Plan) -> None:
    only = msgspec.structs.replace(plan, candidates=plan.candidates[:1])
    with pytest.raises(TrainingError, match="expected a trial that finished"):
        _ = sweep(bench, small, only).chosen


def test_trials_count_by_label_universe_and_data_not_by_name(bench: Bench) -> None:
    one = family(bench.signal, "snapshot")
    assert family(msgspec.structs.replace(bench.signal, owner="someone else"), "snapshot").key == one.key
    assert family(msgspec.structs.replace(bench.signal, horizon_sessions=6), "snapshot").key != one.key
    assert family(bench.signal, "another").key != one.key


def test_the_walk_forward_scores_every_session_once_from_the_first_test_on(small: Samples, plan: Plan) -> None:
    first = first_test_session(small, plan)
    tested = np.concatenate([fold.test for fold in folds(small, plan)])
    np.testing.assert_array_equal(tested, np.arange(first, len(small.targets)))
    scores = out_of_sample_scores(small, plan, plan.candidates[0])
    assert np.isnan(scores[:first]).all()
    assert np.isfinite(scores[first:]).all()


def test_a_window_limits_what_is_trained_on(small: Samples, plan: Plan) -> None:
    windowed = msgspec.structs.replace(plan, train_sessions=100)
    assert {len(fold.train) for fold in folds(small, windowed)} == {100}


def test_the_embargo_is_a_gap_in_sessions(small: Samples, plan: Plan) -> None:
    for embargo in (0, 7):
        for fold in folds(small, msgspec.structs.replace(plan, embargo_sessions=embargo)):
            assert small.ends[fold.train].max() == fold.test[0] - embargo - 1


def test_the_backtest_is_the_book_that_the_monitor_keeps(bench: Bench, small: Samples, plan: Plan) -> None:
    """One code (design D12): stepping a paper book through the scores gives the backtest's returns, bit for bit."""
    first = first_test_session(small, plan)
    scores = out_of_sample_scores(small, plan, plan.candidates[0])
    backtest = account(small, scores, bench.signal, first=first)
    book = PaperBook(
        bench.signal.construction,
        bench.signal.costs,
        instruments=scores.shape[1],
        execution_lag_sessions=bench.signal.execution_lag_sessions,
        history=backtest.history,
    )
    steps = [book.step(*row).net for row in zip(scores[first:], small.asset_returns[first:], strict=True)]
    np.testing.assert_array_equal(np.array(steps), backtest.net)


def test_a_weight_earns_nothing_before_it_is_executed(bench: Bench, small: Samples, plan: Plan) -> None:
    """Decided at t, executed at t+1, so what happens up to close t+1 moves no P&L of that decision."""
    first = first_test_session(small, plan)
    scores = out_of_sample_scores(small, plan, plan.candidates[0])
    backtest = account(small, scores, bench.signal, first=first)
    assert backtest.record.gross[:2].tolist() == [0.0, 0.0]
    assert backtest.record.turnover[0] == 0.0
    assert backtest.record.turnover[1] > 0.0


class TestPlans:
    def test_an_honest_plan_is_few_and_names_its_baseline(self) -> None:
        plan = honest_plan(date(2010, 12, 31), first_test=date(1996, 1, 1), label="x")
        assert len(plan.candidates) <= 6
        assert [one.trainer for one in plan.candidates if one.baseline] == ["ridge"]

    def test_an_overfitted_plan_is_many_and_repeatable(self) -> None:
        one, other = (overfitted_plan(date(2012, 12, 31), first_test=date(2012, 1, 1), label="x") for _ in range(2))
        assert len(one.candidates) == 48
        assert one.canonical() == other.canonical()
        assert len({str(candidate.canonical()) for candidate in one.candidates}) == 48

    def test_the_as_of_instant_is_the_day_s_last(self) -> None:
        plan = honest_plan(date(2010, 12, 31), first_test=date(1996, 1, 1), label="x")
        assert np.datetime64(plan.as_of_ns + 1, "ns") == np.datetime64("2011-01-01")
        assert np.datetime64(plan.first_test_ns, "ns") == np.datetime64("1996-01-01")

    def test_a_first_test_after_the_data_is_refused(self, small: Samples, plan: Plan) -> None:
        late = msgspec.structs.replace(plan, first_test=date(2030, 1, 1))
        with pytest.raises(FoldError, match="at or after the first test time"):
            list(folds(small, late))
