"""Exported models answer like the native ones: every branch, every side of every threshold, NaN too."""

from __future__ import annotations

import lightgbm
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from promotion.evidence.assess import Parity
from training.errors import ExportError, ParityError, TrainerError
from training.export import export
from training.parity import ROWS, comparison_rows, measure, missing_rows, run_onnx, threshold_rows
from training.trainer import FittedModel, Rows, load_trainer, predict
from training.trainers.lightgbm import LightGBMModel
from training.trees import ZERO, branch_values

COLUMNS = 5


@pytest.fixture(scope="module")
def rows() -> Rows:
    generator = np.random.default_rng(11)
    features = generator.normal(size=(ROWS + 500, COLUMNS)).astype(np.float32)
    features[:, 3] = np.round(features[:, 3])  # ties: many rows exactly on a threshold's neighbours
    targets = features[:, 0] + features[:, 1] ** 2 + np.sign(features[:, 3]) + generator.normal(size=len(features))
    return Rows(features, targets.astype(np.float64), tuple(f"f{at}" for at in range(COLUMNS)))


@pytest.fixture(scope="module", params=["lightgbm", "ridge"])
def model(request: pytest.FixtureRequest, rows: Rows) -> FittedModel:
    return load_trainer(request.param).fit(rows, {}, seed=5)


def booster(rows: Rows, **parameters: object) -> LightGBMModel:
    defaults = {"verbosity": -1, "num_threads": 1, "deterministic": True, "num_leaves": 15}
    data = lightgbm.Dataset(rows.features, rows.targets, params={"verbosity": -1})
    return LightGBMModel(lightgbm.train({**defaults, **parameters}, data, num_boost_round=20))


def parity_of(model: FittedModel, exported: bytes, features: np.ndarray, *, nan_ok: bool = False) -> Parity:
    return measure(exported, comparison_rows(model, features, nan_ok=nan_ok))


def test_parity_on_ten_thousand_rows_thresholds_and_missing(model: FittedModel, rows: Rows) -> None:
    compared = comparison_rows(model, rows.features)
    assert compared.missing_rows == COLUMNS + 1
    parity = measure(export(model, columns=COLUMNS), compared)
    assert parity.rows >= ROWS + COLUMNS + 1
    assert parity.max_abs < 1e-5
    assert parity.max_ulp <= 8


def test_a_learned_missing_branch_is_exported(rows: Rows) -> None:
    holes = rows.features.copy()
    holes[::7, 1] = np.nan
    learned = booster(Rows(holes, rows.targets, rows.names), objective="regression")
    parity = parity_of(learned, export(learned, columns=COLUMNS, nan_ok=True), rows.features, nan_ok=True)
    assert parity.max_ulp <= 8
    answered = run_onnx(export(learned, columns=COLUMNS, nan_ok=True), missing_rows(rows.features))
    assert np.isfinite(answered).all()


def test_without_learned_missing_a_nan_is_read_as_zero_like_lightgbm_does(rows: Rows) -> None:
    plain = booster(rows, objective="regression", use_missing=False)
    exported = export(plain, columns=COLUMNS, nan_ok=True)
    holes = missing_rows(rows.features)
    np.testing.assert_allclose(run_onnx(exported, holes), plain.predict(holes), atol=1e-5)
    np.testing.assert_array_equal(run_onnx(exported, holes), run_onnx(exported, np.nan_to_num(holes)))


def test_a_missing_feature_is_no_score_unless_the_model_may_see_it(model: FittedModel, rows: Rows) -> None:
    holes = missing_rows(rows.features)
    assert np.isnan(run_onnx(export(model, columns=COLUMNS), holes)).all()
    assert np.isnan(predict(model, holes)).all()


def test_rows_beside_thresholds_take_both_branches(rows: Rows) -> None:
    trees = booster(rows, objective="regression")
    beside = threshold_rows(trees, rows.features)
    assert len(beside) >= 3 * 20
    below, above = beside[0::3], beside[2::3]
    assert not np.array_equal(trees.predict(below), trees.predict(above))


def test_rounding_thresholds_to_nearest_would_have_failed(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = booster(rows, objective="regression")
    wrong = np.vectorize(lambda value: np.float32(value), otypes=[np.float32])
    monkeypatch.setattr("training.trees.branch_values", wrong)
    nearest = export(trees, columns=COLUMNS)
    monkeypatch.undo()
    assert parity_of(trees, nearest, rows.features).max_abs > 1e-3
    assert parity_of(trees, export(trees, columns=COLUMNS), rows.features).max_abs < 1e-5


@settings(max_examples=300, deadline=None)
@given(hnp.arrays(np.float64, 8, elements=st.floats(-1e30, 1e30)), st.floats(-(2.0**99), 2.0**99, width=32))
def test_branch_values_keep_every_comparison_that_lightgbm_makes(thresholds: np.ndarray, value: float) -> None:
    values = branch_values(thresholds)
    beside = np.nextafter(values, np.float32(np.inf))
    for candidate in np.concatenate([values, beside, [np.float32(value), ZERO, -ZERO]]).astype(np.float32):
        read = 0.0 if abs(candidate) <= ZERO else float(candidate)
        np.testing.assert_array_equal(read <= thresholds, candidate <= values)


def test_batch_size_changes_no_answer(model: FittedModel, rows: Rows) -> None:
    exported = export(model, columns=COLUMNS)
    together = run_onnx(exported, rows.features[:64])
    alone = np.concatenate([run_onnx(exported, rows.features[at : at + 1]) for at in range(64)])
    np.testing.assert_array_equal(together, alone)


def test_the_same_rows_give_the_same_bytes(rows: Rows) -> None:
    for name in ("lightgbm", "ridge"):
        first, second = (export(load_trainer(name).fit(rows, {}, seed=5), columns=COLUMNS) for _ in range(2))
        assert first == second
        other = export(load_trainer(name).fit(rows, {}, seed=6), columns=COLUMNS)
        assert (other == first) is (name == "ridge")  # ridge has no chance in it


def test_a_model_comes_back_from_its_native_bytes(model: FittedModel, rows: Rows) -> None:
    name = "lightgbm" if isinstance(model, LightGBMModel) else "ridge"
    again = load_trainer(name).load(model.native())
    np.testing.assert_array_equal(again.predict(rows.features[:100]), model.predict(rows.features[:100]))
    assert export(again, columns=COLUMNS) == export(model, columns=COLUMNS)


def test_the_graph_names_no_time_path_or_library_version(model: FittedModel) -> None:
    proto = onnx.load_from_string(export(model, columns=COLUMNS))
    assert (proto.producer_name, proto.producer_version, proto.doc_string) == ("signalbox", "", "")
    assert not proto.metadata_props


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"objective": "binary"}, "objective among"),
        ({"objective": "poisson"}, "objective among"),
        ({"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "averaged trees"),
        ({"objective": "regression", "zero_as_missing": True}, "zero_as_missing"),
    ],
)
def test_what_has_no_exact_form_is_refused_by_name(rows: Rows, parameters: dict[str, object], message: str) -> None:
    positive = Rows(rows.features, (rows.targets > 0).astype(np.float64), rows.names)
    with pytest.raises(ExportError, match=message):
        export(booster(positive, **parameters), columns=COLUMNS)


def test_categorical_splits_and_several_classes_are_refused(rows: Rows) -> None:
    coded = rows.features.copy()
    coded[:, 3] = np.clip(np.abs(coded[:, 3]), 0, 3)
    data = lightgbm.Dataset(coded, rows.targets, categorical_feature=[3], params={"verbosity": -1})
    trained = lightgbm.train({"objective": "regression", "verbosity": -1, "num_threads": 1}, data, num_boost_round=30)
    with pytest.raises(ExportError, match="categorical"):
        export(LightGBMModel(trained), columns=COLUMNS)


def test_a_short_history_is_filled_up_with_mixed_rows(model: FittedModel, rows: Rows) -> None:
    compared = comparison_rows(model, rows.features[:100])
    assert len(compared.native) - compared.threshold_rows - compared.missing_rows == ROWS
    assert measure(export(model, columns=COLUMNS), compared).max_ulp <= 8


def test_no_row_proves_nothing(model: FittedModel, rows: Rows) -> None:
    with pytest.raises(ParityError, match="found none"):
        comparison_rows(model, rows.features[:0])


def test_an_export_that_answers_nan_elsewhere_is_refused(model: FittedModel, rows: Rows) -> None:
    with pytest.raises(ParityError, match="NaN on both sides"):
        parity_of(model, export(booster(rows, objective="regression"), columns=COLUMNS, nan_ok=True), rows.features)


def test_unknown_trainers_and_parameters_are_refused_by_name(rows: Rows) -> None:
    with pytest.raises(TrainerError, match="did you mean \\['lightgbm'\\]"):
        load_trainer("lightgmb")
    with pytest.raises(TrainerError, match="num_leafs"):
        load_trainer("lightgbm").fit(rows, {"num_leafs": 3}, seed=1)
    with pytest.raises(TrainerError, match="expected rows that LightGBM can split"):
        load_trainer("lightgbm").fit(Rows(rows.features[:50], rows.targets[:50], rows.names), {}, seed=1)
    with pytest.raises(TrainerError, match="penalty above 0"):
        load_trainer("ridge").fit(rows, {"penalty": 0.0}, seed=1)
