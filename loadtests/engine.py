"""What a request costs between `Scorer.score` and `call.answer`, ring record included: a worker without transport.

Question: how much of a request's CPU time is ours, how much the model's? Load: a uvloop of its own, calls that keep
nothing, every row different. "64 together": 64 calls of one turn of the loop, in one moment (one read of a socket) or
each in its own (64 connections); "alone": one. Time is this process's CPU time, the best of several rounds, so that
what other processes do does not count. The model's share is the same rows in bare runs of the same session; the loop's
is a turn in which nothing is scored. Ours is the rest: caches that the model has emptied are in it, and so is what the
metrics cost, which the last lines tell on its own: the counts of a run, its stages and its calls.

    python -m loadtests.engine [PART OF A NAME ...]
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import uvloop

from features.clock import SystemClock
from features.row import FeatureRow, encode_row
from loadtests.harness.model import COLUMNS, INPUT, bench_model, make_rows
from promotion.home import Home
from protos.signalbox.v1 import scorer_pb2
from serving.errors import ServingError
from serving.feature_table import FeatureTables
from serving.handlers.routes import Route
from serving.handlers.scorer import Scorer
from serving.recorder import RingRecorder
from serving.runtime.backend import Backend, Model
from serving.runtime.counts import EngineCounts
from serving.runtime.engine import NO_DEADLINE_NS, Engine
from serving.runtime.lane import Single
from serving.runtime.onnx_backend import OnnxBackend

Float32s = npt.NDArray[np.float32]

ROUNDS = 25
TURNS = 40  # of a round
TOGETHER = 64
UNIVERSE = tuple(f"I{number:04}" for number in range(500))
SET_ID = bytes.fromhex("ab" * 32)
LIVE, KEY = "11" * 32, b"k" * 32
_DAY_NS = 86_400 * 10**9


class First:
    """A model that costs next to nothing: the first feature."""

    def predict(self, rows: Float32s) -> Float32s:
        """See Backend.predict."""
        return rows[:, 0].copy()


class Call(Single):
    """A call that keeps nothing."""

    __slots__ = ("began_ns", "cancelled", "deadline_ns")

    refused: ServingError | None = None  # of all calls: the bench is worth nothing then

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.deadline_ns = NO_DEADLINE_NS
        self.cancelled = False

    def answer(self, body: bytes) -> None:
        """Takes the reply."""

    def refuse(self, error: ServingError) -> None:
        """Has the bench fail."""
        Call.refused = error

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """None was sent."""
        return ()


Score = Callable[[Call, bytes], None]


class Unscored:
    """A turn of the loop in which calls are answered with nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: list[Call] = []

    def score(self, call: Call, body: bytes) -> None:
        """Answers at the end of the turn."""
        if not self._calls:
            self._loop.call_soon(self._turn)
        self._calls.append(call)

    def _turn(self) -> None:
        calls, self._calls = self._calls, []
        for call in calls:
            call.answer(b"")


def cost_us(
    loop: asyncio.AbstractEventLoop, score: Score, bodies: list[bytes], together: int, *, apart: bool = False
) -> float:
    """CPU microseconds of one request when `together` calls come in a turn. apart: each came in a moment of its own."""
    best = min(_round_ns(loop, score, bodies, together, apart) for _ in range(ROUNDS))
    if Call.refused is not None:
        raise Call.refused
    return best / together / 1000


def _round_ns(loop: asyncio.AbstractEventLoop, score: Score, bodies: list[bytes], together: int, apart: bool) -> float:
    """CPU nanoseconds of a turn."""
    turns = TURNS if together > 1 else 10 * TURNS
    done = asyncio.Event()
    left = turns

    def turn() -> None:
        nonlocal left
        now_ns = time.monotonic_ns()
        at = left * together % (len(bodies) - together + 1)
        for place in range(together):
            score(Call(now_ns - place * apart), bodies[at + place])
        left -= 1
        loop.call_soon(turn if left else done.set)

    gc.collect()
    loop.call_soon(turn)
    spent = -time.process_time_ns()
    loop.run_until_complete(done.wait())
    return (spent + time.process_time_ns()) / turns


def counting_us(together: int) -> float:
    """CPU microseconds a request of what the engine counts of a run, each of its calls having come at its own time."""
    counts, turns = EngineCounts(), 10 * TURNS
    moments = [(at, 1) for at in range(together)]
    ended = [at * 7_919 for at in range(4, 8)]  # gathered, ready, scored, done

    def turn() -> None:
        if together == 1:
            counts.take_one(1, 0, *ended)
        else:
            counts.take(together, counts.take_calls(moments, ended[0], ended[-1]), *ended)

    best = float("inf")
    for _ in range(ROUNDS):
        spent = -time.process_time_ns()
        for _ in range(turns):
            turn()
        best = min(best, spent + time.process_time_ns())
    return best / turns / together / 1000


@dataclass(frozen=True)
class Case:
    """One line of the table. model: whether the trees score it."""

    what: str
    bodies: list[bytes]
    together: int = 1
    model: bool = False
    apart: bool = False


def cases() -> list[Case]:
    """The lines of the table."""
    inline = [_inline(row[None, :]) for row in make_rows(4096)]
    by_name = [_asked(name) for name in UNIVERSE]
    return [
        Case("inline, 64 together, no model", inline, TOGETHER),
        Case("inline, 64 together, apart, no model", inline, TOGETHER, apart=True),
        Case("inline, alone, no model", inline),
        Case("inline, 64 together, m100", inline, TOGETHER, model=True),
        Case("inline, alone, m100", inline, model=True),
        Case("table, unchanged, 64 together", by_name, TOGETHER),
        Case("table, unchanged, alone", by_name),
        Case("table, 500 unchanged, alone", [_asked()] * 2),
    ]


def main(names: list[str]) -> None:
    """Prints the table."""
    trees = bench_model("m100")
    with ExitStack() as owned:
        loop = uvloop.new_event_loop()
        owned.callback(loop.close)
        scorers = {
            True: _scorer(loop, OnnxBackend(trees.session, INPUT, trees.output), owned),
            False: _scorer(loop, First(), owned),
        }
        print(f"{'µs of CPU a request':40s} {'all':>8s} {'model':>8s} {'loop':>8s} {'ours':>8s}")
        for case in cases():
            if names and not any(name in case.what for name in names):
                continue
            whole = cost_us(loop, scorers[case.model].score, case.bodies, case.together, apart=case.apart)
            model = _bare_us(OnnxBackend(trees.session, INPUT, trees.output), case.together) if case.model else 0.0
            turn = cost_us(loop, Unscored(loop).score, case.bodies, case.together)
            print(f"{case.what:40s} {whole:8.2f} {model:8.2f} {turn:8.2f} {whole - model - turn:8.2f}")
        for together in (TOGETHER, 1):
            print(f"{f'metrics alone, {together} together, apart':40s} {counting_us(together):35.2f}")


def _scorer(loop: asyncio.AbstractEventLoop, backend: Backend, owned: ExitStack) -> Scorer:
    """A scorer over 500 instruments whose rows are all there, with a ring."""
    model = Model(LIVE, SET_ID, tuple(f"f{at}" for at in range(COLUMNS)), np.zeros(COLUMNS, bool), backend)
    tables = FeatureTables({1: KEY}, SystemClock())
    home = Home(Path(owned.enter_context(tempfile.TemporaryDirectory())))
    owned.callback(shutil.rmtree, home.ring(0, SET_ID.hex()).parent, ignore_errors=True)
    recorder = owned.enter_context(RingRecorder(home, 0, tables, UNIVERSE))
    recorder.prepare([model])

    async def make() -> Scorer:
        return Scorer(Engine(), tables, recorder=recorder)

    scorer = loop.run_until_complete(make())
    places = dict(zip(UNIVERSE, tables.table(SET_ID, COLUMNS).slots(UNIVERSE).tolist(), strict=True))
    scorer.swap({"bench": Route("bench", 7, "NORMAL", 0.5, LIVE, {LIVE: model}, UNIVERSE, {SET_ID: places})})
    now_ns = time.time_ns()
    for name, row in zip(UNIVERSE, make_rows(len(UNIVERSE)), strict=True):
        tables.take([encode_row(FeatureRow(SET_ID, name, now_ns, now_ns, 0, now_ns + _DAY_NS, row), key_id=1, key=KEY)])
    return scorer


def _bare_us(backend: Backend, together: int) -> float:
    """CPU microseconds of a row in bare runs of `together` rows."""
    rows = make_rows(4096)
    parts = [np.ascontiguousarray(rows[at : at + together]) for at in range(0, len(rows), together)]
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for part in parts:
            backend.predict(part)
        best = min(best, time.process_time_ns() - began)
    return best / len(rows) / 1000


def _inline(rows: Float32s) -> bytes:
    return scorer_pb2.ScoreRequest(signal="bench", features=rows.astype("<f4").tobytes()).SerializeToString()


def _asked(*names: str) -> bytes:
    return scorer_pb2.ScoreRequest(signal="bench", instruments=names).SerializeToString()


if __name__ == "__main__":
    main(sys.argv[1:])
