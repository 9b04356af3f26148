"""A model's first runs: no caller pays for them, and what a run costs is known before calls are refused by it."""

from __future__ import annotations

import time

import numpy as np

from serving.runtime.backend import Model

_ROWS = (1, 2, 64, 1024)  # the runtime plans memory per batch size
_TIMES = 3  # a cost is known after two


def warm_up(model: Model) -> Model:
    """Runs `model` on rows of zeros, and has it learn what that takes. Raises ModelFailed when the runtime does."""
    for n in _ROWS:
        rows = np.zeros((n, model.columns), np.float32)
        for _ in range(_TIMES):
            began_ns = time.monotonic_ns()
            model.backend.predict(rows)
            model.cost.learn(n, max(1, time.monotonic_ns() - began_ns))
    return model
