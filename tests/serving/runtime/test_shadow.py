"""Shadow work: in slices, only while nobody waits, shed before anything else is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from serving.errors import ServingError
from serving.runtime.allowance import Allowance
from serving.runtime.backend import LinearBackend, Model
from serving.runtime.engine import Engine
from serving.runtime.lane import Lane, Single
from serving.runtime.shadow import Shadows

Float32s = npt.NDArray[np.float32]


class Quiet:
    """A host that is busy when it is told to be, and takes its turns one by one. The model gives the first feature."""

    def __init__(self, row_ns: int = 0) -> None:
        self.busy = False
        self.turns: list[Callable[[], None]] = []
        self.runs: list[int] = []
        self.row_ns = row_ns

    def run(self, lane: Lane, rows: Float32s, then: Callable[[Float32s | ServingError], None]) -> None:
        self.runs.append(len(rows))
        lane.cost.learn(len(rows), self.row_ns * len(rows))
        then(rows[:, 0].copy())

    def soon(self, turn: Callable[[], None]) -> None:
        self.turns.append(turn)

    def now_ns(self) -> int:
        return 0

    def turn(self) -> None:
        turns, self.turns = self.turns, []
        for each in turns:
            each()


class Scored:
    """Puts slices back together."""

    def __init__(self) -> None:
        self.scores: list[float] = []

    def __call__(self, start: int, rows: Float32s, scores: Float32s) -> None:
        assert start == len(self.scores)
        assert rows[:, 0].tolist() == scores.tolist()
        self.scores += scores.tolist()


def make_lane(**changes: Any) -> Lane:
    backend = LinearBackend(np.array([1, 0], np.float32))
    facts = {"digest": "aa", "backend": backend} | changes
    return Lane(Model(feature_set_id=b"\0" * 32, features=("x", "y"), takes_nan=np.zeros(2, bool), **facts))


def numbered(count: int) -> Float32s:
    return np.stack([np.arange(count), np.zeros(count)], axis=1).astype(np.float32)


def test_nothing_is_run_while_live_calls_wait() -> None:
    host, scored = Quiet(), Scored()
    shadows = Shadows(host)
    shadows.offer(make_lane(), numbered(3), scored)
    host.busy = True
    for _ in range(3):
        host.turn()
    assert (host.runs, shadows.waiting) == ([], 3)
    host.busy = False
    host.turn()
    assert (host.runs, shadows.waiting, scored.scores) == ([3], 0, [0, 1, 2])
    host.turn()
    assert host.turns == []


def test_long_work_is_cut_into_slices_a_turn_each() -> None:
    host, scored = Quiet(row_ns=10_000), Scored()
    shadows, lane = Shadows(host, slice_ns=200_000), make_lane()
    for _ in range(2):
        lane.cost.learn(1, 10_000)
    shadows.offer(lane, numbered(50), scored)
    while host.turns:
        before = len(host.runs)
        host.turn()
        assert len(host.runs) <= before + 1
    assert host.runs == [16, 16, 18]  # a power of two until the rest has time enough
    assert scored.scores == list(range(50))
    assert shadows.scored == 50


def test_rows_beyond_the_bound_are_shed_and_counted() -> None:
    host, kept, lost = Quiet(), Scored(), Scored()
    shadows, lane = Shadows(host, max_rows=10), make_lane()
    shadows.offer(lane, numbered(8), kept)
    shadows.offer(lane, numbered(3), lost)
    shadows.offer(lane, numbered(2), Scored())
    while host.turns:
        host.turn()
    assert (len(kept.scores), len(lost.scores), shadows.shed, shadows.scored) == (8, 0, 3, 10)


def test_the_release_s_own_limit_holds() -> None:
    shadows = Shadows(Quiet())
    lane = make_lane(allowance=Allowance(5))
    for _ in range(2):
        shadows.offer(lane, numbered(4), Scored())
    assert (shadows.waiting, shadows.shed) == (4, 4)


async def test_live_calls_of_the_next_turn_come_first() -> None:
    """On the engine itself: what is offered in one turn waits for the loop to have looked at its sockets."""
    engine = Engine()
    order: list[str] = []

    class Told:
        def __init__(self, name: str) -> None:
            self.name = name

        def predict(self, rows: Float32s) -> Float32s:
            order.append(self.name)
            return rows[:, 0].copy()

    shadow = engine.lane(make_lane(digest="bb", backend=Told("shadow")).model)
    live = engine.lane(make_lane(backend=Told("live")).model)
    engine.shadows.offer(shadow, numbered(1), Scored())

    class One:
        lane, rows, shared = live, 1, False

        def __init__(self) -> None:
            self.calls: list[Any] = []
            self.blocks: list[Any] = []

        def finish(self, *args: Any) -> None: ...

        def settle(self, *args: Any) -> None: ...

    class Asker(Single):
        began_ns, deadline_ns, cancelled = 0, 2**63 - 1, False

    work = One()
    engine.enter(work)  # type: ignore[arg-type]
    work.calls.append(Asker())
    work.blocks.append(numbered(1).tobytes())
    for _ in range(4):
        await asyncio.sleep(0)
    assert order == ["live", "shadow"]


async def test_a_run_that_would_stall_the_loop_goes_to_a_thread_and_the_next_waits_for_it() -> None:
    began, go = threading.Event(), threading.Event()
    loop_thread = threading.get_ident()
    threads: list[bool] = []

    class Held:
        def predict(self, rows: Float32s) -> Float32s:
            threads.append(threading.get_ident() != loop_thread)
            began.set()
            assert go.wait(5)
            return rows[:, 0].copy()

    engine = Engine(stall_ns=0)
    lane = engine.lane(Model("aa", b"\0" * 32, ("x", "y"), np.zeros(2, bool), Held()))
    for _ in range(2):
        lane.cost.learn(1, 10**9)
    ended = asyncio.Event()
    engine.shadows.offer(lane, numbered(1), Scored())
    engine.shadows.offer(lane, numbered(1), lambda *_: ended.set())
    assert await asyncio.to_thread(began.wait, 5)
    assert (engine.shadows.running, engine.shadows.waiting) == (1, 1)
    go.set()
    await asyncio.wait_for(ended.wait(), 5)
    assert threads == [True, True]


@pytest.mark.parametrize("rows", [1, 5])
def test_a_failed_run_is_counted_and_the_next_goes_on(rows: int) -> None:
    class Failing(Quiet):
        def run(self, lane: Lane, rows: Float32s, then: Callable[[Float32s | ServingError], None]) -> None:
            then(ServingError("out of order"))

    host = Failing()
    shadows = Shadows(host)
    for _ in range(2):
        shadows.offer(make_lane(), numbered(rows), Scored())
    while host.turns:
        host.turn()
    assert (shadows.failed, shadows.scored, shadows.waiting) == (2 * rows, 0, 0)
