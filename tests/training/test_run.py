"""A run: named by its content, whole or not there, and the same wherever and whenever it is made."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from features.registry import load_features
from promotion.errors import ReleaseRefused
from promotion.release.arrays import to_npz
from promotion.release.open import open_release
from training.backtest.account import account
from training.backtest.walk import first_test_session, out_of_sample_scores
from training.errors import RunError, SamplesError, TrainingError
from training.plan import Plan
from training.run import RECORD, Run, load_samples, open_run, write_run
from training.tracking import NoTracker
from training.validate import golden_rows, validate_run

if TYPE_CHECKING:
    from tests.training.conftest import Bench, Trained


def test_the_planted_edge_is_found(trained: Trained) -> None:
    metrics = trained.validated.evidence.metrics
    assert metrics["sharpe_annual"] > 1.0
    assert metrics["observations"] > 700
    assert metrics["trials"] == 3
    assert metrics["parity_rows"] > 10_000
    assert metrics["parity_max_abs"] < 1e-5


def test_the_same_inputs_give_the_same_run_and_release_anywhere(
    trained: Trained, another_bench: Bench, plan: Plan
) -> None:
    run = another_bench.train(plan)
    assert run.id == trained.run.id
    # the author's and the validator's names are in a release, their keys are not
    assert another_bench.validate(run).digest == trained.validated.digest


def test_training_twice_in_one_home_counts_twice(bench: Bench, plan: Plan) -> None:
    first, second = bench.train(plan), bench.train(plan)
    assert len(bench.author.ledger.state().trials) == 6
    assert {trial["id"] for trial in first.record["trials"]}.isdisjoint(
        trial["id"] for trial in second.record["trials"]
    )


def test_the_run_names_no_time_and_no_path(trained: Trained) -> None:
    body = (trained.run.path / RECORD).read_text()
    assert str(trained.bench.home.root) not in body
    assert "time" not in json.loads(body)


def test_the_chosen_trial_is_the_best_that_is_no_baseline(trained: Trained) -> None:
    record = trained.run.record
    sharpes = [float(trial["sharpe_annual"]) for trial in record["trials"]]
    assert record["chosen"] == 1 + int(np.argmax(sharpes[1:]))


def test_a_run_is_read_back_by_its_id(trained: Trained) -> None:
    again = open_run(trained.bench.home, trained.run.id)
    assert again.id == trained.run.id
    assert again.read("model.onnx") == trained.run.read("model.onnx")


def test_the_released_model_answers_like_the_native_one(trained: Trained) -> None:
    state = trained.bench.author.ledger.state()
    release = open_release(
        trained.bench.home, trained.validated.digest, environment="replay", principals=state.principals
    )
    rows = release.arrays("parity.npz")
    np.testing.assert_allclose(release.predict(rows["features"]), rows["native"], atol=1e-5)
    assert release.golden_difference == 0.0


def test_the_reference_is_what_was_scored_out_of_sample(trained: Trained) -> None:
    """In sample a model is surer than live: drift against that would be found on the first day."""
    reference, book = trained.run.arrays("reference.npz"), trained.run.arrays("backtest.npz")
    rows = np.searchsorted(book["sessions_ns"], reference["sessions_ns"])
    np.testing.assert_array_equal(reference["scores"], book["scores"][rows])
    assert len(reference["sessions_ns"]) == 504


def test_scores_of_the_past_do_not_depend_on_the_as_of_day(bench: Bench, trained: Trained, plan: Plan) -> None:
    """What a walk-forward said in 2003 it says whether it is run in 2004 or in 2005."""
    earlier = msgspec.structs.replace(plan, as_of=date(2004, 12, 31), candidates=plan.candidates[1:2])
    later = msgspec.structs.replace(plan, candidates=plan.candidates[1:2])
    short, whole = (bench.train(one).arrays("backtest.npz") for one in (earlier, later))
    shared = 252  # the first block
    np.testing.assert_array_equal(short["scores"][:shared], whole["scores"][:shared])
    np.testing.assert_array_equal(short["net"][:shared], whole["net"][:shared])


def test_shuffled_labels_earn_nothing(trained: Trained, bench: Bench, plan: Plan) -> None:
    """A leak check: with labels that mean nothing, a pipeline that still earns has seen the future."""
    samples = load_samples(
        bench.snapshot, load_features(bench.signal.features), bench.signal, known_at_ns=plan.as_of_ns
    ).shuffled_targets(seed=5)
    scores = out_of_sample_scores(samples, plan, plan.candidates[0])
    book = account(samples, scores, bench.signal, first=first_test_session(samples, plan))
    honest = trained.validated.evidence.metrics["sharpe_annual"]
    assert book.sharpe_annual < honest - 1.0


def test_the_tracker_is_told_what_was_run_with_what(bench: Bench, plan: Plan) -> None:
    tracker = NoTracker()
    run = bench.train(msgspec.structs.replace(plan, candidates=plan.candidates[:2]), tracker)
    (told,) = tracker.runs
    assert told.run_id == run.id
    assert told.tags["snapshot_id"] == bench.snapshot.id
    assert set(told.tags) >= {"feature_set_id", "commit", "lock_hash", "kernel_fingerprint"}
    assert told.parameters["trees"] == "40"
    assert np.isfinite(told.metrics["sharpe_annual"])
    assert all(path.is_file() for path in told.artifacts)


class TestRefusals:
    def test_an_altered_file_of_a_run(self, bench: Bench, plan: Plan) -> None:
        run = bench.train(msgspec.structs.replace(plan, candidates=plan.candidates[1:2]))
        model = run.path / "model.onnx"
        data = bytearray(model.read_bytes())
        data[100] ^= 1
        model.write_bytes(bytes(data))
        with pytest.raises(RunError, match=r"model\.onnx: expected hash"):
            bench.validate(run)
        model.unlink()
        with pytest.raises(RunError, match=r"model\.onnx: expected a file of the run, found none"):
            bench.validate(run)

    def test_an_altered_record(self, bench: Bench, plan: Plan) -> None:
        run = bench.train(msgspec.structs.replace(plan, candidates=plan.candidates[1:2]))
        record = run.path / RECORD
        record.write_bytes(record.read_bytes().replace(b'"chosen":0', b'"chosen":1'))
        with pytest.raises(RunError, match="expected content of hash"):
            open_run(bench.home, run.id)

    def test_a_book_that_its_scores_do_not_give(self, bench: Bench, plan: Plan) -> None:
        """An author who improves the weights after the fact is found out before anything is signed."""
        run = bench.train(msgspec.structs.replace(plan, candidates=plan.candidates[1:2]))
        book = run.arrays("backtest.npz")
        better = {**book, "weights": book["weights"] + 0.01}
        forged = write_run(bench.home, _without_files(run), {**_files(run), "backtest.npz": to_npz(better)})
        with pytest.raises(RunError, match="weights that the run's scores give"):
            bench.validate(forged)

    def test_native_scores_that_the_native_model_does_not_give(self, bench: Bench, plan: Plan) -> None:
        run = bench.train(msgspec.structs.replace(plan, candidates=plan.candidates[1:2]))
        rows = run.arrays("parity.npz")
        other = to_npz({**rows, "native": rows["native"] + np.float32(0.1)})
        forged = write_run(bench.home, _without_files(run), {**_files(run), "parity.npz": other})
        with pytest.raises(RunError, match="scores that the native model gives"):
            bench.validate(forged)

    def test_an_author_who_validates(self, bench: Bench, plan: Plan) -> None:
        run = bench.train(msgspec.structs.replace(plan, candidates=plan.candidates[1:2]))
        with pytest.raises(ReleaseRefused, match="another principal than the author"):
            validate_run(bench.home, bench.config, run, author=bench.alice, validator=bench.author)
        assert not list(bench.home.releases.glob("[0-9a-f]*"))

    def test_another_configuration_than_the_run_s(self, trained: Trained) -> None:
        signal = msgspec.structs.replace(trained.bench.signal, horizon_sessions=6)
        config = msgspec.structs.replace(trained.bench.config, signals={"reversal": signal})
        with pytest.raises(RunError, match="found it changed"):
            validate_run(
                trained.bench.home, config, trained.run, author=trained.bench.alice, validator=trained.bench.validator
            )

    def test_an_as_of_before_the_first_price(self, bench: Bench, plan: Plan) -> None:
        with pytest.raises(SamplesError, match=r"known at .* found none"):
            bench.train(msgspec.structs.replace(plan, as_of=date(1999, 1, 1), first_test=date(1998, 1, 1)))
        assert not bench.author.ledger.state().trials  # nothing was tried

    def test_a_universe_without_prices(self, bench: Bench, plan: Plan) -> None:
        signal = msgspec.structs.replace(bench.signal, universe=("S0", "S1", "NOPE"))
        with pytest.raises(SamplesError, match="found none of \\['NOPE'\\]"):
            replace(bench, config=msgspec.structs.replace(bench.config, signals={"reversal": signal})).train(plan)

    def test_a_first_test_with_nothing_to_train_on(self, bench: Bench, plan: Plan) -> None:
        """Every trial crashes, is closed as crashed, and counts; nothing is written."""
        early = msgspec.structs.replace(plan, first_test=date(2001, 1, 1))
        with pytest.raises(TrainingError, match="expected a trial that finished"):
            bench.train(early)
        outcomes = [trial.outcome for trial in bench.author.ledger.state().trials.values()]
        assert outcomes == ["crashed"] * 3
        assert not bench.home.runs.exists()

    def test_an_unknown_run(self, trained: Trained) -> None:
        with pytest.raises(RunError, match="expected a run among"):
            open_run(trained.bench.home, "f" * 64)

    def test_golden_rows_need_a_complete_row(self) -> None:
        with pytest.raises(RunError, match="without a missing feature"):
            golden_rows(np.full((4, 3), np.nan, dtype=np.float32))


def _files(run: Run) -> dict[str, bytes]:
    return {name: run.read(name) for name in run.record["files"]}


def _without_files(run: Run) -> dict[str, object]:
    return {name: value for name, value in run.record.items() if name != "files"}
