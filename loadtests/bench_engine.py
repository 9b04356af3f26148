"""What a request costs between `Scorer.score` and `call.answer`, ring record included: the worker without its transport.

Question: how much of a request's time is ours, and how much is the model's? Load: a uvloop of its own, one core, calls
that keep nothing; every row differs. "64 together": 64 calls of one turn of the loop; "alone": one. Time is the
process's CPU time (other processes do not count), the best of several rounds; the model's own share is the same rows in
bare runs of the same session, or nothing where the model is a sum.

    python -m loadtests.bench_engine [NAME ...]
"""

from __future__ import annotations

import asyncio
import gc
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
from loadtests.model import COLUMNS, INPUT, bench_model, make_rows
from promotion.home import Home
from protos.signalbox.v1 import scorer_pb2
from serving.errors import ServingError
from serving.feature_table import FeatureTables
from serving.handlers.routes import Route
from serving.handlers.scorer import Scorer
from serving.recorder import RingRecorder
from serving.runtime.backend import Backend, Model
from serving.runtime.engine import NO_DEADLINE_NS, Engine
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


class Call:
    """A call that keeps nothing."""

    __slots__ = ("began_ns", "cancelled", "deadline_ns")

    def __init__(self, began_ns: int) -> None:
        self.began_ns = began_ns
        self.deadline_ns = NO_DEADLINE_NS
        self.cancelled = False

    def answer(self, body: bytes) -> None:
        """Takes the reply."""

    def refuse(self, error: ServingError) -> None:
        """Fails the bench."""
        raise error

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """None was sent."""
        return ()


@dataclass
class Bench:
    """A scorer with its ring, and the loop it runs on."""

    loop: asyncio.AbstractEventLoop
    scorer: Scorer

    def cost_us(self, bodies: list[bytes], together: int) -> float:
        """CPU microseconds of one request, its share of the loop's turn included."""
        best = float("inf")
        for _ in range(ROUNDS):
            best = min(best, self._round_ns(bodies, together))
        return best / together / 1000

    def _round_ns(self, bodies: list[bytes], together: int) -> float:
        """CPU nanoseconds of one turn in which `together` calls come."""
        turns = TURNS if together > 1 else 10 * TURNS
        spent = 0
        done = asyncio.Event()
        left = turns

        def one_turn() -> None:
            nonlocal left
            now_ns = time.monotonic_ns()  # one read of a socket brought them all
            calls = [Call(now_ns) for _ in range(together)]
            score = self.scorer.score
            at = left * together % (len(bodies) - together + 1)
            for call, body in zip(calls, bodies[at : at + together], strict=True):
                score(call, body)
            left -= 1
            self.loop.call_soon(one_turn if left else done.set)

        def begin() -> None:
            nonlocal spent
            spent = -time.process_time_ns()
            one_turn()

        async def run() -> None:
            self.loop.call_soon(begin)
            await done.wait()

        gc.collect()
        self.loop.run_until_complete(run())
        return (spent + time.process_time_ns()) / turns


def main(names: list[str]) -> None:
    """Prints the table."""
    model = bench_model("m100")
    rows = make_rows(4096)
    inline = [_inline(row[None, :]) for row in rows]
    bare = OnnxBackend(model.session, INPUT, model.output)
    with ExitStack() as owned:
        loop = uvloop.new_event_loop()
        owned.callback(loop.close)
        scored = _bench(loop, OnnxBackend(model.session, INPUT, model.output), owned)
        summed = _bench(loop, First(), owned)
        alone_us = _bare_us(bare, rows, 1)
        together_us = _bare_us(bare, rows, TOGETHER) / TOGETHER
        table: dict[str, Callable[[], tuple[float, float]]] = {
            "inline, 64 together, no model": lambda: (summed.cost_us(inline, TOGETHER), 0.0),
            "inline, alone, no model": lambda: (summed.cost_us(inline, 1), 0.0),
            "inline, 64 together, m100": lambda: (scored.cost_us(inline, TOGETHER), together_us),
            "inline, alone, m100": lambda: (scored.cost_us(inline, 1), alone_us),
            "table, unchanged, 64 together": lambda: (scored.cost_us(_tables(), TOGETHER), 0.0),
            "table, unchanged, alone": lambda: (scored.cost_us(_tables(), 1), 0.0),
            "table, universe of 500, unchanged": lambda: (scored.cost_us([_asked()] * 2, 1), 0.0),
        }
        print(f"{'what':36s} {'µs/request':>11s} {'model':>8s} {'ours':>8s}")
        for what, measure in table.items():
            if not names or any(name in what for name in names):
                whole, of_model = measure()
                print(f"{what:36s} {whole:11.2f} {of_model:8.2f} {whole - of_model:8.2f}")


def _bench(loop: asyncio.AbstractEventLoop, backend: Backend, owned: ExitStack) -> Bench:
    """A scorer over 500 instruments whose rows are all there."""
    model = Model(LIVE, SET_ID, tuple(f"f{at}" for at in range(COLUMNS)), np.zeros(COLUMNS, bool), backend)
    tables = FeatureTables({1: KEY}, SystemClock())
    home = Home(Path(owned.enter_context(tempfile.TemporaryDirectory())))
    recorder = owned.enter_context(RingRecorder(home, 0, tables, UNIVERSE))
    recorder.prepare([model])

    async def make() -> Scorer:
        return Scorer(Engine(), tables, recorder=recorder)

    scorer = loop.run_until_complete(make())
    table = tables.table(SET_ID, COLUMNS)
    places = dict(zip(UNIVERSE, table.slots(UNIVERSE).tolist(), strict=True))
    scorer.swap({"bench": Route("bench", 7, "NORMAL", 0.5, LIVE, {LIVE: model}, UNIVERSE, {SET_ID: places})})
    now_ns = time.time_ns()
    for name, row in zip(UNIVERSE, make_rows(len(UNIVERSE)), strict=True):
        tables.take([encode_row(FeatureRow(SET_ID, name, now_ns, now_ns, 0, now_ns + _DAY_NS, row), key_id=1, key=KEY)])
    return Bench(loop, scorer)


def _bare_us(backend: OnnxBackend, rows: Float32s, size: int) -> float:
    """CPU microseconds of one run of `size` rows."""
    parts = [np.ascontiguousarray(rows[at : at + size]) for at in range(0, len(rows) - size, size)]
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time_ns()
        for part in parts:
            backend.predict(part)
        best = min(best, (time.process_time_ns() - began) / len(parts))
    return best / 1000


def _inline(rows: Float32s) -> bytes:
    return scorer_pb2.ScoreRequest(signal="bench", features=rows.astype("<f4").tobytes()).SerializeToString()


def _tables() -> list[bytes]:
    return [_asked(name) for name in UNIVERSE]


def _asked(*names: str) -> bytes:
    return scorer_pb2.ScoreRequest(signal="bench", instruments=names).SerializeToString()


if __name__ == "__main__":
    main(sys.argv[1:])
