"""A scorer without worker and transport, with a live release and a shadow, and a table that a test pushes rows to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from features.clock import ReplayClock
from features.row import FeatureRow, encode_row
from protos.score import Score, read_score
from protos.signalbox.v1 import scorer_pb2
from serving.feature_table import FeatureTables
from serving.handlers.routes import Route
from serving.handlers.scorer import Scorer
from serving.runtime.backend import LinearBackend, Model
from serving.runtime.engine import NO_DEADLINE_NS, Engine
from serving.transport.call import AwaitedCall

SET_ID = bytes.fromhex("ab" * 32)
UNIVERSE = ("AAA", "BBB", "CCC")
LIVE, SHADOW = "11" * 32, "22" * 32
KEY = b"k" * 32


class Recorder:
    """Remembers what was recorded: release, slots (None: inline), scores, status."""

    def __init__(self) -> None:
        self.records: list[tuple[str, Any, Any, Any]] = []

    def record(self, model: Model, slots: Any, rows: Any, scores: Any, status: Any) -> None:
        self.records.append((model.digest, None if slots is None else slots.tolist(), scores.tolist(), status.tolist()))

    def record_inline(self, model: Model, rows: Any, scores: Any) -> None:
        self.records.append((model.digest, None, scores.tolist(), [0] * len(scores)))


class World:
    """A scorer with a live release (x + 10 y, y may be missing) and another (2 x), made by hand.

    tables: another world's, to see the same rows. remember: see Scorer.
    """

    def __init__(self, tables: FeatureTables | None = None, *, remember: bool = True, **options: Any) -> None:
        self.now_ns = 1_000
        self.tables = tables or FeatureTables({1: KEY}, ReplayClock("replay"))
        self.recorder = Recorder()
        engine = Engine(monotonic_ns=lambda: self.now_ns, **options)
        self.scorer = Scorer(engine, self.tables, recorder=self.recorder, remember=remember)
        self.serve()

    def route(self, **changes: Any) -> Route:
        table = self.tables.table(SET_ID, 2)
        facts: dict[str, Any] = {
            "signal": "large_caps",
            "generation": 7,
            "posture": "NORMAL",
            "weight": 0.5,
            "live": LIVE,
            "models": {LIVE: model(LIVE, (1, 10)), SHADOW: model(SHADOW, (2, 0))},
            "universe": UNIVERSE,
        }
        facts |= changes
        facts["places"] = {SET_ID: dict(zip(facts["universe"], table.slots(facts["universe"]).tolist(), strict=True))}
        return Route(**facts)

    def serve(self, **changes: Any) -> None:
        self.scorer.swap({"large_caps": self.route(**changes)})

    def push(
        self, sequence: int = 0, known_ns: int = 1_000, valid_ns: int = 100, **values: tuple[float, float]
    ) -> None:
        rows = [
            FeatureRow(SET_ID, name, known_ns, known_ns, sequence, known_ns + valid_ns, np.array(pair, np.float32))
            for name, pair in values.items()
        ]
        assert not self.tables.take([encode_row(row, key_id=1, key=KEY) for row in rows]).refused
        self.scorer.rows_changed()

    async def ask(
        self, *instruments: str, features: Any = None, deadline_ns: int = NO_DEADLINE_NS, **more: Any
    ) -> Score:
        inline = b"" if features is None else np.asarray(features, "<f4").tobytes()
        signal = more.pop("signal", "large_caps")
        request = scorer_pb2.ScoreRequest(signal=signal, instruments=instruments, features=inline, **more)
        return await self.ask_bytes(request.SerializeToString(), instruments, deadline_ns)

    async def ask_bytes(self, body: bytes, names: Any = (), deadline_ns: int = NO_DEADLINE_NS) -> Score:
        reply = await self.reply(body, deadline_ns)
        return read_score("large_caps", tuple(names), scorer_pb2.ScoreReply.FromString(reply))

    def reply(self, body: bytes, deadline_ns: int = NO_DEADLINE_NS) -> asyncio.Future[bytes]:
        """Asks at once; the reply's bytes, or the error, come with the future."""
        call = AwaitedCall(0, deadline_ns)
        self.scorer.score(call, body)
        return call.reply


def model(digest: str, weights: tuple[float, float], **changes: Any) -> Model:
    facts: dict[str, Any] = {"backend": LinearBackend(np.array(weights, np.float32))}
    return Model(digest, SET_ID, ("x", "y"), np.array([False, True]), **(facts | changes))


@pytest.fixture(scope="session")
def make_world() -> type[World]:
    """For a test with a loop of its own."""
    return World


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    return model
