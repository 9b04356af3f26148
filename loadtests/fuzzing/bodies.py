"""Bodies of `Score` and `ModelInfer` through the handlers, and of all other unary methods.

Each input is a first byte that chooses the method and the state of the signal, and the body. Every call ends once: with
a reply that can be read, whose parallel arrays are of one length, or with a refusal that says what was expected and
what was found. A scorer that remembers requests by their bytes and one that parses every one say the same.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np

from features.clock import ReplayClock
from features.row import FeatureRow, encode_row
from promotion.release.manifest import Tensor
from protos.inference import open_inference_pb2 as oip
from protos.signalbox.v1 import scorer_pb2
from serving.errors import ServingError
from serving.feature_table import FeatureTables
from serving.handlers.health import HealthBook
from serving.handlers.routes import Canary, Route
from serving.handlers.scorer import Scorer
from serving.handlers.table import data_plane
from serving.runtime.backend import LinearBackend, Model
from serving.runtime.engine import NO_DEADLINE_NS, Engine
from serving.runtime.lane import Single
from serving.transport.methods import Unary

SET_ID = bytes.fromhex("ab" * 32)
KEY = b"k" * 32
UNIVERSE = ("AAA", "BBB", "CCC", "DDD")
SCORE, INFER = "/signalbox.v1.Scorer/Score", "/inference.GRPCInferenceService/ModelInfer"
_READS = {SCORE: scorer_pb2.ScoreReply, INFER: oip.ModelInferResponse}
_STATES = ("live", "halted", "canary", "none")
_CALLS_AT_ONCE = 2
_NOW_NS = 1_000  # time stands still: what a call is told depends on its body alone


class Call(Single):
    """One call, and how it ended."""

    def __init__(self) -> None:
        self.began_ns = _NOW_NS
        self.deadline_ns = NO_DEADLINE_NS
        self.cancelled = False
        self.ends: list[bytes | ServingError] = []

    def answer(self, body: bytes) -> None:
        """See serving.transport.call.Call."""
        self.ends.append(body)

    def refuse(self, error: ServingError) -> None:
        """See serving.transport.call.Call."""
        self.ends.append(error)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """See serving.transport.call.Call."""
        return ()


class Handlers:
    """The methods of a worker that serves the signal `large_caps`, in one of several states."""

    def __init__(self, *, remember: bool) -> None:
        tables = FeatureTables({1: KEY}, ReplayClock("replay"))
        self.scorer = Scorer(Engine(monotonic_ns=lambda: _NOW_NS), tables, remember=remember)
        self.methods = data_plane(self.scorer, HealthBook())
        self.state = ""
        slots = dict(zip(UNIVERSE, tables.table(SET_ID, 2).slots(UNIVERSE).tolist(), strict=True))
        self._routes = {state: _route(state, slots) for state in _STATES}
        rows = [
            FeatureRow(SET_ID, name, 1, 1, 0, 2**62, np.array([at, at], np.float32)) for at, name in enumerate(UNIVERSE)
        ]
        tables.take([encode_row(row, key_id=1, key=KEY) for row in rows[:-1]])

    def turn_to(self, state: str) -> None:
        """Serves the signal in that state from now on."""
        if state != self.state:
            self.state = state
            self.scorer.swap({"large_caps": self._routes[state]})

    def ask(self, path: str, body: bytes) -> list[Call]:
        """The same question a few times in one turn, so that it is known by its bytes."""
        method = self.methods[path]
        assert isinstance(method, Unary)
        calls = [Call() for _ in range(_CALLS_AT_ONCE)]
        for call in calls:
            method.answer(call, body)
        return calls


def _route(state: str, slots: dict[str, int]) -> Route:
    models = {each.digest: each for each in (_model("11" * 32, 1, 10), _model("22" * 32, 2, 0))}
    return Route(
        signal="large_caps",
        generation=7,
        posture="HALTED" if state == "halted" else "NORMAL",
        weight=0.5,
        live=None if state == "none" else "11" * 32,
        models=models,
        universe=UNIVERSE,
        places={SET_ID: slots},
        kind="time_series" if state == "canary" else "cross_sectional",
        canary=Canary("22" * 32, 0.5) if state == "canary" else None,
        shadow=("22" * 32,) if state == "live" else (),
    )


def _model(digest: str, *weights: float) -> Model:
    return Model(
        digest=digest,
        feature_set_id=SET_ID,
        features=("x", "y"),
        takes_nan=np.array([False, True]),
        backend=LinearBackend(np.array(weights, np.float32)),
        max_abs_score=1000.0,
        input=Tensor(name="features", dtype="float32", shape=("N", 2)),
        output=Tensor(name="variable", dtype="float32", shape=("N", 1)),
    )


class BodyTarget:
    """See the module. The handlers live on `loop`, which nothing else runs."""

    def __init__(self, path: str, loop: asyncio.AbstractEventLoop) -> None:
        self._path = path
        self._loop = loop
        self._quick, self._plain = self._loop.run_until_complete(self._make())
        unary = (name for name, method in self._quick.methods.items() if isinstance(method, Unary))
        self._others = [name for name in unary if name not in (SCORE, INFER)]

    def __call__(self, data: bytes) -> None:
        """One input."""
        if not data:
            return
        first, body = data[0], data[1:]
        path = self._others[first >> 3] if first >> 3 < len(self._others) else self._path
        calls = []
        for handlers in (self._quick, self._plain):
            handlers.turn_to(_STATES[first & 3])
            calls.append(handlers.ask(path, body))
        self._run(calls)
        for call in (each for pair in calls for each in pair):
            self._check(path, call)
        said = {_said(call) for pair in calls for call in pair}
        assert len(said) == 1, f"expected one answer to one question, found {said}"

    def _run(self, calls: list[list[Call]]) -> None:
        """Turns of the loop until every call has ended."""
        for _ in range(20):
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()
            if all(call.ends for pair in calls for call in pair):
                return
        until = time.monotonic() + 5  # a run that leaves the loop comes back in time of its own
        while not all(call.ends for pair in calls for call in pair):
            assert time.monotonic() < until, "expected every call to end, found one that did not"
            self._loop.run_until_complete(asyncio.sleep(0.001))

    def _check(self, path: str, call: Call) -> None:
        (end,) = call.ends
        if isinstance(end, ServingError):
            assert "expected" in str(end) or "halted" in str(end), f"expected what was expected, found {end}"
            return
        kind: Any = _READS.get(path)
        if kind is scorer_pb2.ScoreReply:
            reply = kind.FromString(end)
            count = len(reply.status)
            sizes = [len(reply.scores), len(reply.weights), len(reply.knowledge_time_unix_ns), len(reply.row_sequence)]
            assert sizes == [4 * count, 4 * count, 8 * count, 8 * count], f"expected {count} of each, found {sizes}"
            scores = np.frombuffer(reply.scores, "<f4")
            assert (np.isfinite(scores) == (np.frombuffer(reply.status, np.uint8) == 0)).all()
        elif kind is not None:
            (scores,) = (np.frombuffer(each, "<f4") for each in kind.FromString(end).raw_output_contents)
            assert np.isfinite(scores).all(), "expected no score that is not finite to leave, found one"

    async def _make(self) -> tuple[Handlers, Handlers]:
        return Handlers(remember=True), Handlers(remember=False)


def _said(call: Call) -> bytes | str:
    (end,) = call.ends
    return end if isinstance(end, bytes) else f"{type(end).__name__}: {end}"
