"""A warmed model has been run, and says what a run costs."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from serving.runtime.backend import Float32s, LinearBackend, Model
from serving.runtime.lane import Lane
from serving.runtime.warm_up import warm_up


class Counting(LinearBackend):
    sizes: ClassVar[list[int]] = []

    def predict(self, rows: Float32s) -> Float32s:
        self.sizes.append(len(rows))
        return super().predict(rows)


def test_costs_are_known_before_the_first_call() -> None:
    backend = Counting(np.ones(2, np.float32))
    model = warm_up(Model("11" * 32, bytes(32), ("x", "y"), np.zeros(2, bool), backend))
    assert set(backend.sizes) >= {1, 64, 1024}
    assert all(Lane(model).cost.expected_ns(rows) > 0 for rows in (1, 3, 64, 5_000))
