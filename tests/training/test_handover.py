"""A fitted model from outside: taken over as it is, its trials declared, its future scored here."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import lightgbm
import numpy as np
import pytest

from features.registry import load_features
from promotion.config import GatePolicy, Threshold
from promotion.promote import judge_release
from training.errors import ExportError, HandoverError, TrainerError
from training.handover import Declaration, take_over
from training.provenance import Provenance
from training.run import load_samples

if TYPE_CHECKING:
    from tests.training.conftest import Bench
    from training.run import Run

TRAINED_UNTIL = date(2003, 12, 31)
AS_OF = date(2005, 12, 31)


def fitted_elsewhere(bench: Bench, **parameters: Any) -> bytes:
    """What a researcher brings: a LightGBM model text, trained on what was known at the end of 2003."""
    known_at_ns = int(np.datetime64("2004-01-01", "ns").astype(np.int64)) - 1
    samples = load_samples(bench.snapshot, load_features(bench.signal.features), bench.signal, known_at_ns=known_at_ns)
    features, targets = samples.rows(np.arange(len(samples.targets)))
    data = lightgbm.Dataset(features, targets, feature_name=parameters.pop("names", list(samples.names)))
    settings = {"objective": "regression", "num_leaves": 6, "verbosity": -1, "num_threads": 1, **parameters}
    return lightgbm.train(settings, data, num_boost_round=15).model_to_string().encode()


def declaration(trials: int = 7, tried: int = 3, until: date = TRAINED_UNTIL) -> Declaration:
    returns = np.random.default_rng(2).normal(0.0004, 0.006, (500, tried))
    return Declaration(trained_until=until, trials=trials, returns=returns)


def hand_over(bench: Bench, model: bytes, stated: Declaration, **changes: Any) -> Run:
    return take_over(
        bench.home,
        bench.config,
        **{
            "signal": "reversal",
            "snapshot": bench.snapshot,
            "model": model,
            "declaration": stated,
            "as_of": AS_OF,
            "provenance": Provenance("0" * 40, "1" * 64),
            "actor": bench.author,
            **changes,
        },
    )


def test_a_model_from_outside_becomes_a_release_that_says_declared(bench: Bench) -> None:
    run = hand_over(bench, fitted_elsewhere(bench), declaration())
    validated = bench.validate(run)
    metrics = validated.evidence.metrics
    assert metrics["trials_declared"] == 1
    assert metrics["trials"] == 7
    assert metrics["trials_measured"] == 3
    assert 400 < metrics["observations"] < 510  # two years after the training's end, and nothing before
    report = (bench.home.releases / validated.digest / "report.html").read_text()
    assert "declared by the author" in report
    assert "2003-12-31" in report


def test_the_policy_decides_whether_a_declaration_suffices(bench: Bench) -> None:
    digest = bench.validate(hand_over(bench, fitted_elsewhere(bench), declaration())).digest
    state = bench.author.ledger.state()
    easy = (Threshold(metric="observations", at_least=100.0),)
    trusting = GatePolicy(thresholds=easy, declared_trials_suffice=True)
    assert judge_release(bench.home, state, digest, policy=trusting).verdict.passed
    refused = judge_release(bench.home, state, digest, policy=GatePolicy(thresholds=easy)).verdict
    assert not refused.passed
    assert "trials_declared" in refused.reasons[0]


def test_the_declaration_is_signed_into_the_ledger(bench: Bench) -> None:
    hand_over(bench, fitted_elsewhere(bench), declaration())
    entry = bench.author.ledger.entries()[-1]
    assert (entry.kind, entry.actor, entry.payload["count"]) == ("trials_declared", "alice", 7)


def test_the_book_begins_after_the_training_s_end(bench: Bench) -> None:
    book = hand_over(bench, fitted_elsewhere(bench), declaration()).arrays("backtest.npz")
    first = np.datetime64(int(book["sessions_ns"][0]), "ns").astype("datetime64[D]")
    assert first == np.datetime64("2004-01-02")


class TestRefusals:
    def test_columns_of_other_names_or_order(self, bench: Bench) -> None:
        names = [*reversed(bench.signal.features)]
        with pytest.raises(HandoverError, match="in this order, found 6"):
            hand_over(bench, fitted_elsewhere(bench, names=names), declaration())

    def test_too_few_columns(self, bench: Bench) -> None:
        data = lightgbm.Dataset(np.random.default_rng(0).normal(size=(500, 2)), np.arange(500.0))
        small = lightgbm.train({"objective": "regression", "verbosity": -1}, data, num_boost_round=2)
        with pytest.raises(HandoverError, match="found 2: "):
            hand_over(bench, small.model_to_string().encode(), declaration())

    def test_a_training_that_never_ended(self, bench: Bench) -> None:
        with pytest.raises(HandoverError, match="training to end before the as-of day"):
            hand_over(bench, fitted_elsewhere(bench), declaration(until=AS_OF))

    def test_too_short_a_record(self, bench: Bench) -> None:
        with pytest.raises(HandoverError, match="at least 252 sessions after the training's end"):
            hand_over(bench, fitted_elsewhere(bench), declaration(until=date(2005, 3, 31)))

    def test_more_returns_than_trials(self, bench: Bench) -> None:
        with pytest.raises(HandoverError, match="of k ≤ 2 trials"):
            hand_over(bench, fitted_elsewhere(bench), declaration(trials=2, tried=3))

    def test_an_infinite_return(self, bench: Bench) -> None:
        stated = declaration()
        stated.returns[3, 1] = np.inf
        with pytest.raises(HandoverError, match="found an infinity"):
            hand_over(bench, fitted_elsewhere(bench), stated)

    def test_bytes_that_are_no_model(self, bench: Bench) -> None:
        with pytest.raises(TrainerError, match="LightGBM model text"):
            hand_over(bench, b"not a model", declaration())

    def test_an_objective_that_cannot_be_exported(self, bench: Bench) -> None:
        with pytest.raises(ExportError, match="objective among"):
            hand_over(bench, fitted_elsewhere(bench, objective="quantile"), declaration())

    def test_a_refused_model_leaves_no_run_and_no_declaration(self, bench: Bench) -> None:
        before = bench.author.ledger.head()
        with pytest.raises(ExportError):
            hand_over(bench, fitted_elsewhere(bench, objective="quantile"), declaration())
        assert bench.author.ledger.head() == before
        assert not bench.home.runs.exists()
