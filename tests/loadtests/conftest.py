"""Linear models where a bench has trees: made in no time, and their scores are plain to see."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from loadtests.harness.model import COLUMNS, BenchModel
from loadtests.harness.small_release import linear_model

Linear = Callable[[str, float], BenchModel]


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Linear:
    """Makes a model by its name and slope: so many times the sum of a row's features."""
    folder = tmp_path_factory.mktemp("models")

    def make(name: str, slope: float) -> BenchModel:
        path = folder / f"{name}.onnx"
        path.write_bytes(linear_model(slope, columns=COLUMNS))
        return BenchModel(name, path)

    return make


@pytest.fixture(scope="session")
def model(linear: Linear) -> BenchModel:
    """The sum of a row's features."""
    return linear("sum", 1.0)
