"""The engine: one run for what one turn of the loop brought, nothing delayed, nothing run that nobody wants."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import (
    CallCancelled,
    DeadlinePassed,
    ModelFailed,
    Overloaded,
    ServingError,
    TooManyScores,
    WrongValue,
)
from serving.runtime.allowance import Allowance
from serving.runtime.backend import LinearBackend, Model
from serving.runtime.engine import NO_DEADLINE_NS, Engine
from serving.runtime.lane import Single

Float32s = npt.NDArray[np.float32]
WAIT = 5  # seconds until a test that hangs fails


class Asker(Single):
    """A call that keeps what it was ended with."""

    def __init__(self, deadline_ns: int = NO_DEADLINE_NS, began_ns: int = 0) -> None:
        self.began_ns = began_ns
        self.deadline_ns = deadline_ns
        self.cancelled = False
        self.got: list[Any] = []
        self._ended = asyncio.Event()

    def answer(self, body: bytes) -> None:
        self.got.append(np.frombuffer(body, "<f4").tolist())
        self._ended.set()

    def refuse(self, error: ServingError) -> None:
        self.got.append(error)
        self._ended.set()

    async def end(self) -> None:
        await asyncio.wait_for(self._ended.wait(), WAIT)


class Rows:
    """A work whose requests have `rows` rows each; `shared`: all its calls ask for the same ones."""

    def __init__(self, engine: Engine, model: Model, rows: int = 1, *, shared: bool = False) -> None:
        self.engine = engine
        self.lane = engine.lane(model)
        self.rows = rows
        self.shared = shared
        self.calls: list[Any] = []
        self.blocks: list[Any] = []
        self.settled: list[tuple[list[list[float]], list[float], bool]] = []

    def take(self, call: Asker, *values: tuple[float, float]) -> Asker:
        """What a form does with a call: `values` are its rows, [rows, 2]."""
        joins = self.shared and bool(self.calls)
        rows = 0 if joins else self.rows
        try:
            if self.lane.waiting + rows > self.lane.free or call.deadline_ns <= self.lane.soonest_ns:
                self.engine.admit(self.lane, rows, call)
        except ServingError as error:
            call.refuse(error)
            return call
        if not self.calls:
            self.engine.enter(self)
        self.lane.waiting += rows
        self.calls.append(call)
        if not joins:
            self.blocks.append(np.array(values, "<f4").tobytes())
        return call

    def fault(self, rows: Float32s) -> ServingError | None:
        return WrongValue(f"found {rows[~np.isfinite(rows)][0]}")

    def finish(self, calls: Sequence[Asker], scores: Float32s, sound: bool) -> None:
        size = 0 if self.shared else self.rows
        for at, call in enumerate(calls):
            call.answer(scores[at * size : at * size + self.rows].astype("<f4").tobytes())

    def refuse(self, calls: Sequence[Asker], error: ServingError) -> None:
        for call in calls:
            call.refuse(error)

    def settle(self, rows: Float32s, scores: Float32s, sound: bool) -> None:
        self.settled.append((rows.tolist(), scores.tolist(), sound))


@dataclass
class Watched:
    """A backend that remembers its batches."""

    inner: Any = field(default_factory=lambda: LinearBackend(np.array([1, 10], np.float32)))
    batches: list[int] = field(default_factory=list)

    def predict(self, rows: Float32s) -> Float32s:
        self.batches.append(len(rows))
        scores: Float32s = self.inner.predict(rows)
        return scores


def make_model(backend: Any, digest: str = "aa", **changes: Any) -> Model:
    return Model(digest, b"\0" * 32, ("x", "y"), np.zeros(2, bool), backend, **changes)


class Broken:
    def predict(self, rows: Float32s) -> Float32s:
        raise RuntimeError("out of order")


class Held:
    """A backend that runs until it is let go."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.began = threading.Event()
        self.go = threading.Event()

    def predict(self, rows: Float32s) -> Float32s:
        self.batches.append(len(rows))
        self.began.set()
        assert self.go.wait(WAIT)
        return rows[:, 0].copy()


class Clock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


async def turn() -> None:
    await asyncio.sleep(0)


async def test_what_one_turn_brings_is_one_run_and_everyone_gets_their_own_rows() -> None:
    backend, engine = Watched(), Engine()
    work = Rows(engine, make_model(backend), 2)
    calls = [work.take(Asker(), (start, 0), (0, start)) for start in range(3)]
    assert backend.batches == []
    assert engine.in_flight == 3
    await turn()
    assert backend.batches == [6]
    assert [call.got for call in calls] == [[[0, 0]], [[1, 10]], [[2, 20]]]
    assert engine.in_flight == 0


async def test_works_of_different_shapes_share_a_run() -> None:
    backend, engine = Watched(), Engine()
    model = make_model(backend)
    one, two = Rows(engine, model), Rows(engine, model, 2)
    calls = [one.take(Asker(), (1, 0)), two.take(Asker(), (2, 0), (3, 0)), one.take(Asker(), (4, 0))]
    await turn()
    assert backend.batches == [4]
    assert [call.got[0] for call in calls] == [[1], [2, 3], [4]]
    assert one.settled == [([[1, 0], [4, 0]], [1, 4], True)]
    assert two.settled == [([[2, 0], [3, 0]], [2, 3], True)]


async def test_a_lone_call_runs_in_the_very_next_turn() -> None:
    engine = Engine()
    call = Rows(engine, make_model(Watched())).take(Asker(), (1, 1))
    await turn()
    assert call.got == [[11]]


async def test_no_batch_holds_two_releases() -> None:
    one, other, engine = Watched(), Watched(), Engine()
    works = Rows(engine, make_model(one, "aa")), Rows(engine, make_model(other, "bb"))
    for number in range(6):
        works[number % 2].take(Asker(), (number, 0))
    await turn()
    assert (one.batches, other.batches) == ([3], [3])


async def test_two_loads_of_one_release_are_two_models() -> None:
    one, other, engine = Watched(), Watched(), Engine()
    works = Rows(engine, make_model(one, "aa")), Rows(engine, make_model(other, "aa"))
    for work in works:
        work.take(Asker(), (1, 0))
    await turn()
    assert (one.batches, other.batches) == ([1], [1])


async def test_calls_that_share_their_rows_have_them_scored_once() -> None:
    backend, engine = Watched(), Engine()
    work = Rows(engine, make_model(backend), 2, shared=True)
    calls = [work.take(Asker(), (1, 0), (2, 0)) for _ in range(3)]
    await turn()
    assert backend.batches == [2]
    assert [call.got for call in calls] == [[[1, 2]]] * 3


async def test_the_replies_of_a_turn_go_out_in_its_context_and_what_can_wait_comes_after() -> None:
    story: list[str] = []

    @contextmanager
    def outbox() -> Any:
        story.append("in")
        yield
        story.append("out")

    class Told(Rows):
        def finish(self, *args: Any) -> None:
            story.append("finish")
            super().finish(*args)

        def settle(self, *args: Any) -> None:
            story.append("settle")

    class Again:
        def __enter__(self) -> None:
            self.inner = outbox()
            self.inner.__enter__()

        def __exit__(self, *error: Any) -> None:
            self.inner.__exit__(*error)

    engine = Engine(turn=Again())
    for digest in ("aa", "bb"):
        Told(engine, make_model(Watched(), digest)).take(Asker(), (1, 0))
    await turn()
    assert story == ["in", "finish", "finish", "out", "settle", "settle"]


async def test_expired_and_cancelled_calls_are_never_run() -> None:
    backend, clock = Watched(), Clock()
    engine = Engine(monotonic_ns=clock)
    work = Rows(engine, make_model(backend))
    late = work.take(Asker(deadline_ns=1_100), (1, 0))
    gone = work.take(Asker(), (2, 0))
    wanted = work.take(Asker(deadline_ns=1_101), (3, 0))
    clock.now = 1_100
    gone.cancelled = True
    await turn()
    assert backend.batches == [1]
    assert [type(call.got[0]) for call in (late, gone)] == [DeadlinePassed, CallCancelled]
    assert wanted.got == [[3]]
    assert (engine.counts.expired, engine.counts.cancelled, engine.counts.rows) == (1, 1, 1)


@pytest.mark.parametrize("gone", [True, False])
async def test_a_lone_call_that_is_cancelled_or_expired_is_never_run(gone: bool) -> None:
    backend, clock = Watched(), Clock()
    engine = Engine(monotonic_ns=clock)
    call = Rows(engine, make_model(backend)).take(Asker(deadline_ns=1_100), (1, 0))
    call.cancelled = gone
    clock.now = 1_099 if gone else 1_100
    await turn()
    assert backend.batches == []
    assert [type(error) for error in call.got] == [CallCancelled if gone else DeadlinePassed]


async def test_a_shared_work_is_run_while_one_call_wants_it_and_not_when_none_does() -> None:
    backend, engine = Watched(), Engine()
    work = Rows(engine, make_model(backend), shared=True)
    for gone in (1, 2):
        calls = [work.take(Asker(), (1, 0)) for _ in range(2)]
        for call in calls[:gone]:
            call.cancelled = True
        await turn()
        assert backend.batches == [1]
    assert [type(call.got[0]) for call in calls] == [CallCancelled, CallCancelled]


async def test_a_call_whose_deadline_has_passed_is_not_queued() -> None:
    clock = Clock()
    engine = Engine(monotonic_ns=clock)
    call = Rows(engine, make_model(Watched())).take(Asker(deadline_ns=1_000), (1, 0))
    assert isinstance(call.got[0], DeadlinePassed)
    assert (engine.in_flight, engine.counts.expired) == (0, 1)


async def test_a_deadline_that_passes_during_the_run_ends_its_call_alone_and_the_rows_are_recorded() -> None:
    clock = Clock()

    class Slow(Watched):
        def predict(self, rows: Float32s) -> Float32s:
            clock.now += 50
            return super().predict(rows)

    engine = Engine(monotonic_ns=clock)
    work = Rows(engine, make_model(Slow()), 2)
    calls = [work.take(Asker(deadline_ns=ns), (ns, 0), (0, 1)) for ns in (1_051, 1_050, 1_060)]
    await turn()
    assert [call.got[0] for call in (calls[0], calls[2])] == [[1_051, 10], [1_060, 10]]
    assert isinstance(calls[1].got[0], DeadlinePassed)
    assert engine.counts.late == 1
    assert len(work.settled[0][1]) == 6


async def test_more_rows_than_may_wait_are_shed_at_once() -> None:
    engine = Engine(max_waiting_rows=2)
    work, pair = (lambda model: (Rows(engine, model), Rows(engine, model, 2)))(make_model(Watched()))
    first = pair.take(Asker(), (1, 0), (2, 0))
    refused = work.take(Asker(), (3, 0))
    assert isinstance(refused.got[0], Overloaded)
    assert "at most 2 rows" in str(refused.got[0])
    await turn()
    assert work.take(Asker(), (3, 0)).got == []
    await turn()
    assert first.got == [[1, 2]]
    assert engine.counts.shed == 1


async def learnt(clock: Clock, ns_a_row: int, **options: Any) -> tuple[Engine, Rows]:
    """An engine that has learnt what a row costs."""

    class Slow(Watched):
        def predict(self, rows: Float32s) -> Float32s:
            clock.now += ns_a_row * len(rows)
            return super().predict(rows)

    engine = Engine(monotonic_ns=clock, **options)
    work = Rows(engine, make_model(Slow()))
    for _ in range(2):
        work.take(Asker(began_ns=clock.now), (1, 0))
        await turn()
    return engine, work


async def test_calls_that_were_cancelled_keep_nobody_out() -> None:
    engine, work = await learnt(Clock(), 1_000_000, max_queue_ns=50_000_000, stall_ns=10**12)
    ran = engine.counts.rows
    gone = [work.take(Asker(), (1, 0)) for _ in range(65)]
    for call in gone:
        call.cancelled = True
    honest = [work.take(Asker(), (1, 0)) for _ in range(60)]
    await turn()
    assert [call.got for call in honest] == [[[1]]] * 60
    assert (engine.counts.cancelled, engine.counts.shed, engine.counts.rows - ran) == (65, 0, 60)


async def test_a_call_that_would_wait_too_long_is_refused_at_once_and_told_when_to_come_back() -> None:
    engine, work = await learnt(Clock(), 1_000_000, max_queue_ns=50_000_000, stall_ns=10**12)
    calls = [work.take(Asker(), (1, 0)) for _ in range(200)]
    shed = [call for call in calls if call.got]
    assert len(shed) == engine.counts.shed
    assert len(shed) == 200 - 65  # looked at after the first, then every 64 rows
    assert all(isinstance(call.got[0], Overloaded) for call in shed)
    assert shed[0].got[0].retry_after_ms == 65
    await turn()
    assert sum(isinstance(call.got[0], list) for call in calls) == 200 - len(shed)


async def test_a_call_that_cannot_be_answered_in_time_is_refused_at_once() -> None:
    clock = Clock()
    _, work = await learnt(clock, 1_000_000, stall_ns=10**12)
    waiting = [work.take(Asker(), (1, 0)) for _ in range(3)]
    hopeless = work.take(Asker(deadline_ns=clock.now + 3_500_000), (1, 0))
    tight = work.take(Asker(deadline_ns=clock.now + 4_500_000), (1, 0))
    assert isinstance(hopeless.got[0], Overloaded)
    assert hopeless.got[0].retry_after_ms == 3
    assert "expected an answer within 3.5 ms, found 4.0 ms of work" in str(hopeless.got[0])
    await turn()
    assert (tight.got, [call.got for call in waiting]) == ([[1]], [[[1]]] * 3)


async def test_other_releases_in_waiting_count_as_well() -> None:
    clock = Clock()
    engine, work = await learnt(clock, 1_000_000, stall_ns=10**12)
    for _ in range(3):
        work.take(Asker(), (1, 0))
    other = Rows(engine, make_model(Watched(), "bb"))
    assert isinstance(other.take(Asker(deadline_ns=clock.now + 2_900_000), (1, 0)).got[0], Overloaded)


async def test_what_nobody_is_ahead_of_is_tried_whatever_is_expected_of_it() -> None:
    clock = Clock()
    _, work = await learnt(clock, 1_000_000, stall_ns=10**12)
    call = work.take(Asker(deadline_ns=clock.now + 10), (1, 0))
    assert call.got == []
    await turn()
    assert isinstance(call.got[0], DeadlinePassed)  # it took as long as was expected


@given(st.lists(st.sampled_from([0.0, 1.0, float("nan"), float("inf"), -float("inf")]), min_size=2, max_size=12))
def test_a_row_that_the_model_does_not_take_ends_its_own_call_alone(values: list[float]) -> None:
    async def run() -> None:
        backend, engine = Watched(), Engine()
        work = Rows(engine, make_model(backend))
        pairs = list(zip(values[::2], values[1::2], strict=False))
        calls = [work.take(Asker(), pair) for pair in pairs]
        await turn()
        for pair, call in zip(pairs, calls, strict=True):
            if np.isfinite(pair).all():
                assert call.got == [[pair[0] + 10 * pair[1]]]
            else:
                assert isinstance(call.got[0], WrongValue)
        assert sum(backend.batches) == sum(bool(np.isfinite(pair).all()) for pair in pairs)

    asyncio.run(run())


async def test_nan_is_run_where_the_model_takes_it() -> None:
    backend, engine = Watched(LinearBackend(np.array([1, 0], np.float32))), Engine()
    model = Model("aa", b"\0" * 32, ("x", "y"), np.array([False, True]), backend)
    work = Rows(engine, model)
    calls = [work.take(Asker(), pair) for pair in ((1, np.nan), (np.nan, 1), (2, 0))]
    await turn()
    assert backend.batches == [2]
    assert isinstance(calls[1].got[0], WrongValue)
    assert calls[2].got == [[2]]


@pytest.mark.parametrize("scores", [[1, 2], [1, 5.5], [1, np.nan], [np.inf, 1], [-6, np.nan], [-6, 1], [-5, 5]])
@pytest.mark.parametrize("together", [True, False])
async def test_scores_are_sound_when_each_is_finite_and_within_the_limit(scores: list[float], together: bool) -> None:
    engine = Engine()
    work = Rows(engine, make_model(LinearBackend(np.array([1, 0], np.float32)), max_abs_score=5.0))

    class Gives:
        def predict(self, rows: Float32s) -> Float32s:
            return np.array([scores[int(at)] for at in rows[:, 0]], np.float32)

    work = Rows(engine, make_model(Gives(), max_abs_score=5.0))
    for at in range(2):
        work.take(Asker(), (at, 0))
        if not together:
            await turn()
    await turn()
    found = [sound for _, _, sound in work.settled]
    expected = [bool(np.abs(score) <= 5) for score in scores]
    assert found == ([all(expected)] if together else expected)


async def test_a_release_s_limit_on_scores_a_second_holds_call_by_call() -> None:
    clock = Clock()
    engine = Engine(monotonic_ns=clock)
    model = make_model(Watched(), allowance=Allowance(3))
    one, shared = Rows(engine, model), Rows(engine, model, 2, shared=True)
    calls = [one.take(Asker(), (number, 0)) for number in range(2)]
    sharing = [shared.take(Asker(), (1, 0), (2, 0)) for _ in range(2)]
    await turn()
    assert [call.got for call in calls] == [[[0]], [[1]]]
    assert [type(call.got[0]) for call in sharing] == [TooManyScores, TooManyScores]
    assert "at most 3 new scores a second" in str(sharing[0].got[0])
    clock.now += 10**9
    assert one.take(Asker(), (4, 0)).got == []
    await turn()
    assert engine.counts.rows == 3


async def test_a_runtime_that_raises_answers_every_caller_and_harms_no_other_release() -> None:
    engine = Engine()
    broken, sound = Rows(engine, make_model(Broken(), "aa")), Rows(engine, make_model(Watched(), "bb"))
    calls = [broken.take(Asker(), (1, 0)) for _ in range(2)]
    fine = sound.take(Asker(), (1, 0))
    await turn()
    assert [type(call.got[0]) for call in calls] == [ModelFailed, ModelFailed]
    assert "out of order" in str(calls[0].got[0])
    assert (fine.got, engine.counts.failed, broken.settled) == ([[1]], 2, [])


async def test_a_backend_that_returns_another_shape_is_a_failure() -> None:
    class Wide:
        def predict(self, rows: Float32s) -> Float32s:
            return rows

    call = Rows(Engine(), make_model(Wide())).take(Asker(), (1, 0))
    await turn()
    assert "expected 1 scores, found shape (1, 2)" in str(call.got[0])


async def test_a_work_that_fails_ends_its_calls_and_the_others_are_finished_and_settled() -> None:
    class Defective(Rows):
        def finish(self, *args: Any) -> None:
            raise ZeroDivisionError

        def settle(self, *args: Any) -> None:
            raise ZeroDivisionError

    engine = Engine()
    one, two = make_model(Watched(), "aa"), make_model(Watched(), "bb")
    bad, good, third = Defective(engine, one), Rows(engine, one), Rows(engine, two)
    calls = [work.take(Asker(), (1, 0)) for work in (bad, good, third)]
    await turn()
    assert isinstance(calls[0].got[0], ModelFailed)
    assert [call.got for call in calls[1:]] == [[[1]], [[1]]]
    assert len(third.settled) == 1


async def test_a_run_that_would_stall_the_loop_leaves_it_and_later_calls_queue_behind() -> None:
    class Counting(ThreadPoolExecutor):
        runs = 0

        def submit(self, *args: Any, **named: Any) -> Any:
            self.runs += 1
            return super().submit(*args, **named)

    backend, executor = Held(), Counting()
    engine = Engine(stall_ns=0, executor=executor)  # 0: whatever is known to take any time at all
    work = Rows(engine, make_model(backend))
    backend.go.set()
    for _ in range(2):
        work.take(Asker(), (1, 0))
        await turn()
    assert engine.counts.threaded == 0  # nothing is known of the first runs
    backend.go.clear()
    backend.began.clear()
    first = work.take(Asker(), (2, 0))
    await turn()
    assert await asyncio.to_thread(backend.began.wait, WAIT)
    later = [work.take(Asker(), (number, 0)) for number in (3, 4)]
    await turn()
    assert (executor.runs, engine.in_flight, engine.busy) == (1, 3, True)
    backend.go.set()
    await later[1].end()
    assert [call.got for call in (first, *later)] == [[[2]], [[3]], [[4]]]
    assert backend.batches == [1, 1, 1, 2]
    assert (engine.counts.threaded, executor.runs, engine.busy) == (2, 2, False)
    executor.shutdown()


async def test_a_long_run_under_way_is_counted_when_a_call_asks_for_admission() -> None:
    backend, clock = Held(), Clock()
    engine = Engine(stall_ns=0, monotonic_ns=clock)
    work = Rows(engine, make_model(backend))
    backend.go.set()
    for _ in range(2):
        work.lane.cost.learn(1, 10_000_000)
    backend.go.clear()
    first = work.take(Asker(), (2, 0))
    await turn()
    refused = work.take(Asker(deadline_ns=clock.now + 9_000_000), (3, 0))
    assert isinstance(refused.got[0], Overloaded)
    assert refused.got[0].retry_after_ms == 10
    backend.go.set()
    await first.end()


async def test_rows_in_waiting_are_given_back_however_a_call_ends() -> None:
    clock = Clock()
    engine = Engine(max_waiting_rows=1, monotonic_ns=clock)
    for backend, deadline_ns in ((Broken(), 10**6), (Watched(), clock.now + 1), (Watched(), 10**6)):
        work = Rows(engine, make_model(backend))
        for _ in range(2):
            call = work.take(Asker(deadline_ns=deadline_ns), (1, 0))
            await turn()
            assert call.got
        assert work.lane.waiting == 0


async def test_every_call_is_counted_in_every_stage() -> None:
    clock = Clock()
    engine, work = await learnt(clock, 1_000_000, stall_ns=10**12)
    before = clock.now
    for began_ns in (before - 30_000, before - 30_000, before - 400_000):
        work.take(Asker(began_ns=began_ns), (1, 0))
    await turn()
    counts = engine.counts
    for stage in (counts.queue, counts.features, counts.model, counts.encode, counts.total):
        assert sum(stage.counts) == 5
    assert counts.queue.total == 30_000 * 2 + 400_000
    assert counts.model.total == 2 * 1_000_000 + 3 * 3_000_000
    assert counts.total.total == counts.queue.total + counts.model.total
    assert (counts.batch_rows.counts[:3], counts.batch_rows.total, counts.largest_batch) == ([2, 0, 1], 5, 3)


async def test_a_release_that_is_let_go_of_leaves_nothing_behind() -> None:
    engine = Engine()
    model = make_model(Watched())
    call = Rows(engine, model).take(Asker(), (1, 0))
    engine.forget(model.digest)
    await turn()
    assert call.got == [[1]]
    assert engine.lane(model).cost.expected_ns(1) == 0
