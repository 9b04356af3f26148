"""A worker's handlers without worker and transport: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from features.clock import ReplayClock
from promotion.release.manifest import Tensor
from serving.feature_table import FeatureTables
from serving.handlers.health import HealthBook
from serving.handlers.routes import Route
from serving.handlers.scorer import Scorer
from serving.handlers.table import data_plane
from serving.runtime.backend import LinearBackend, Model
from serving.runtime.engine import NO_DEADLINE_NS, Engine
from serving.transport.call import AwaitedCall
from serving.transport.methods import Unary

SET_ID = bytes.fromhex("ab" * 32)
LIVE = "11" * 32
ROWS = Tensor(name="features", dtype="float32", shape=("N", 2))
COLUMN = Tensor(name="variable", dtype="float32", shape=("N", 1))


class World:
    """The signal `large_caps`, whose live release gives x + 10 y; y may be missing, a score is at most 1000.

    Time stands still at 1,000 ns unless a clock is given.
    """

    def __init__(self, clock: Callable[[], int] = lambda: 1_000) -> None:
        tables = FeatureTables({}, ReplayClock("replay"))
        tables.table(SET_ID, 2)
        self.scorer = Scorer(Engine(monotonic_ns=clock), tables)
        self.book = HealthBook()
        self.methods = data_plane(self.scorer, self.book)
        self.serve()

    def serve(self, *, model: Model | None = None, **changes: Any) -> None:
        live = linear() if model is None else model
        facts: dict[str, Any] = {
            "signal": "large_caps",
            "generation": 7,
            "posture": "NORMAL",
            "weight": 0.5,
            "live": live.digest,
            "models": {live.digest: live},
            "universe": (),
            "places": {SET_ID: {}},
        }
        route = Route(**(facts | changes))
        self.scorer.swap({route.signal: route})

    async def call(self, path: str, body: bytes, *, deadline_ns: int = NO_DEADLINE_NS) -> bytes:
        """The reply's bytes; raises what the call was refused with."""
        method = self.methods[path]
        assert isinstance(method, Unary)
        call = AwaitedCall(0, deadline_ns)
        method.answer(call, body)
        return await call.reply


def linear(**changes: Any) -> Model:
    facts: dict[str, Any] = {
        "digest": LIVE,
        "feature_set_id": SET_ID,
        "features": ("x", "y"),
        "takes_nan": np.array([False, True]),
        "backend": LinearBackend(np.array([1, 10], np.float32)),
        "max_abs_score": 1000.0,
        "input": ROWS,
        "output": COLUMN,
    }
    return Model(**(facts | changes))


@pytest.fixture
def make_model() -> Callable[..., Model]:
    return linear


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """For a test with a loop of its own."""
    return World


@pytest.fixture
async def world() -> World:
    return World()
