"""The ONNX backend on gradient-boosted trees made here: a row's score has the same bits whatever batch it came in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promotion.release.session import make_session
from serving.errors import ModelFailed
from serving.runtime.onnx_backend import OnnxBackend

Float32s = npt.NDArray[np.float32]

COLUMNS = 6
MOST = 512


@pytest.fixture(scope="module")
def backend() -> OnnxBackend:
    """A LightGBM regression of 100 trees, through onnxmltools, as training exports one."""
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    generator = np.random.default_rng(3)
    rows = generator.normal(size=(2_000, COLUMNS)).astype(np.float32)
    targets = rows[:, 0] * rows[:, 1] + np.sin(3 * rows[:, 2]) + generator.normal(scale=0.1, size=len(rows))
    parameters = {"objective": "regression", "num_leaves": 15, "verbosity": -1, "num_threads": 1, "seed": 3}
    booster = lightgbm.train(parameters, lightgbm.Dataset(rows, targets), num_boost_round=100)
    inputs = [("features", FloatTensorType([None, COLUMNS]))]
    proto = convert_lightgbm(booster, initial_types=inputs, target_opset=15, zipmap=False)
    session = make_session(proto.SerializeToString())
    return OnnxBackend(session, "features", session.get_outputs()[0].name)


@pytest.fixture(scope="module")
def alone(backend: OnnxBackend) -> tuple[Float32s, npt.NDArray[np.uint32]]:
    """Rows, some with holes and extremes, and the bits of the score that each gets by itself."""
    generator = np.random.default_rng(4)
    rows = generator.normal(size=(MOST, COLUMNS)).astype(np.float32)
    rows[generator.random(rows.shape) < 0.05] = np.nan
    rows[generator.random(rows.shape) < 0.05] = 3e38
    scores = np.concatenate([backend.predict(rows[at : at + 1]) for at in range(MOST)])
    return rows, scores.view(np.uint32)


@settings(max_examples=60)
@given(st.integers(1, MOST), st.integers(0, MOST - 1), st.randoms(use_true_random=False))
def test_a_row_s_score_has_the_same_bits_in_every_batch(
    backend: OnnxBackend, alone: Any, size: int, start: int, random: Any
) -> None:
    """Batches of 1 to 512 rows, cut out of the rows or drawn from them, in any order."""
    rows, bits = alone
    for places in (np.arange(start, start + size) % MOST, np.array(random.choices(range(MOST), k=size))):
        assert np.array_equal(backend.predict(rows[places]).view(np.uint32), bits[places])


def test_the_sizes_around_which_a_runtime_changes_its_ways(backend: OnnxBackend, alone: Any) -> None:
    rows, bits = alone
    for size in (1, 2, 3, 49, 50, 51, 63, 64, 65, 127, 128, 129, 511, 512):
        assert np.array_equal(backend.predict(rows[:size]).view(np.uint32), bits[:size])


def test_it_says_what_the_session_says(backend: OnnxBackend, alone: Any) -> None:
    rows, bits = alone
    session = backend.session
    (scores,) = session.run([session.get_outputs()[0].name], {"features": rows})
    assert np.array_equal(np.asarray(scores).reshape(-1).view(np.uint32), bits)
    assert backend.predict(rows).shape == (MOST,)


def test_rows_of_another_width_fail_by_name(backend: OnnxBackend) -> None:
    with pytest.raises(ModelFailed, match=r"found float32 of shape \(2, 5\)"):
        backend.predict(np.zeros((2, COLUMNS - 1), np.float32))


class Answers:
    """What stands for a session whose graph gives something else."""

    def __init__(self, give: Callable[[Float32s], Any]) -> None:
        self._give = give

    def run(self, names: Any, feed: Any, options: Any) -> list[Any]:
        return [self._give(feed["features"])]


@pytest.mark.parametrize(
    "give", [lambda rows: np.zeros(len(rows)), lambda rows: np.zeros((len(rows), 2), np.float32)], ids=["dtype", "size"]
)
def test_scores_of_another_dtype_or_number_fail_by_name(give: Callable[[Float32s], Any]) -> None:
    with pytest.raises(ModelFailed, match="expected 3 float32 scores, found"):
        OnnxBackend(Answers(give), "features", "score").predict(np.zeros((3, 2), np.float32))
