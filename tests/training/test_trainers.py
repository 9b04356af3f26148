"""One contract, every trainer: same rows, same model; rows do not influence one another; unknown names are refused."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from features.registry import load_features
from training import trainer as trainers
from training.backtest.walk import fit_on_all
from training.errors import TrainerError
from training.export import export
from training.run import load_samples
from training.trainer import BUILT_IN, FittedModel, Rows, load_trainer, predict
from training.trainers.ridge import RidgeModel, RidgeTrainer

if TYPE_CHECKING:
    from tests.training.conftest import Bench
    from training.plan import Plan


@pytest.fixture(scope="module")
def rows() -> Rows:
    generator = np.random.default_rng(4)
    features = (generator.normal(size=(4000, 4)) * [1.0, 10.0, 0.01, 1.0] + [0.0, 5.0, 1.0, 0.0]).astype(np.float32)
    targets = 0.5 * features[:, 0] - 0.02 * features[:, 1] + generator.normal(size=4000)
    return Rows(features, targets.astype(np.float64), ("a", "b", "c", "d"))


@pytest.fixture(params=sorted(BUILT_IN))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestContract:
    def test_the_same_rows_and_seed_give_the_same_bytes(self, name: str, rows: Rows) -> None:
        one, other = (load_trainer(name).fit(rows, {}, seed=3) for _ in range(2))
        assert one.native() == other.native()
        assert export(one, columns=4) == export(other, columns=4)

    def test_rows_do_not_influence_one_another(self, name: str, rows: Rows) -> None:
        model = load_trainer(name).fit(rows, {}, seed=3)
        together = model.predict(rows.features[:50])
        alone = [model.predict(rows.features[at : at + 1])[0] for at in range(50)]
        np.testing.assert_array_equal(together, alone)

    def test_the_model_is_one_by_protocol(self, name: str, rows: Rows) -> None:
        assert isinstance(load_trainer(name).fit(rows, {}, seed=3), FittedModel)

    def test_it_learns_what_is_there(self, name: str, rows: Rows) -> None:
        answers = load_trainer(name).fit(rows, {}, seed=3).predict(rows.features)
        assert np.corrcoef(answers, rows.targets)[0, 1] > 0.4

    def test_an_unknown_parameter_is_refused_by_name(self, name: str, rows: Rows) -> None:
        with pytest.raises(TrainerError, match="no_such"):
            load_trainer(name).fit(rows, {"no_such": 1}, seed=3)

    def test_training_does_not_write_into_the_rows(self, name: str, rows: Rows) -> None:
        features, targets = rows.features.copy(), rows.targets.copy()
        load_trainer(name).fit(rows, {}, seed=3)
        np.testing.assert_array_equal(rows.features, features)
        np.testing.assert_array_equal(rows.targets, targets)


def test_ridge_is_scikit_learn_s_ridge_on_standardised_features(rows: Rows) -> None:
    model = RidgeTrainer().fit(rows, {"penalty": 250.0}, seed=1)
    scaler = StandardScaler().fit(rows.features.astype(np.float64))
    oracle = Ridge(alpha=250.0).fit(scaler.transform(rows.features.astype(np.float64)), rows.targets)
    expected = oracle.predict(scaler.transform(rows.features.astype(np.float64)))
    np.testing.assert_allclose(model.predict(rows.features), expected, rtol=1e-9, atol=1e-9)


def test_a_constant_feature_weighs_nothing_in_ridge(rows: Rows) -> None:
    features = rows.features.copy()
    features[:, 2] = 7.0
    model = RidgeTrainer().fit(Rows(features, rows.targets, rows.names), {}, seed=1)
    assert model.slopes[2] == 0.0
    assert np.isfinite(model.slopes).all()


def test_a_row_with_a_missing_feature_has_no_score() -> None:
    model = RidgeModel(np.array([1.0, 2.0]), 0.5)
    features = np.array([[1.0, 1.0], [np.nan, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(predict(model, features), [3.5, np.nan])
    assert np.isnan(predict(model, features[1:])).all()


def test_two_trainers_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = EntryPoint("ridge", "elsewhere:Ridge", trainers.GROUP)
    monkeypatch.setattr(trainers, "entry_points", lambda group: [other])
    with pytest.raises(TrainerError, match="expected one trainer called 'ridge'"):
        load_trainer("ridge")


def test_what_is_no_trainer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other = EntryPoint("nothing", "pathlib:PurePosixPath", trainers.GROUP)
    monkeypatch.setattr(trainers, "entry_points", lambda group: [other])
    with pytest.raises(TrainerError, match="expected pathlib:PurePosixPath to make an object with fit"):
        load_trainer("nothing")


def test_the_final_fit_uses_the_newest_sessions(bench: Bench, plan: Plan) -> None:
    """With a window the released model is trained on the last so many labelled sessions, as in the walk-forward."""
    samples = load_samples(
        bench.snapshot, load_features(bench.signal.features), bench.signal, known_at_ns=plan.as_of_ns
    )
    windowed = msgspec.structs.replace(plan, train_sessions=200)
    known = np.flatnonzero(samples.usable.any(axis=1))[-200:]
    expected = RidgeTrainer().fit(Rows(*samples.rows(known), samples.names), {}, seed=1)
    assert fit_on_all(samples, windowed, plan.candidates[0]).native() == expected.native()
    assert fit_on_all(samples, plan, plan.candidates[0]).native() != expected.native()
