"""The engine: one run for what one turn of the loop brought, nothing delayed, nothing run that nobody wants."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from serving.errors import CallCancelled, DeadlinePassed, ModelFailed, Overloaded
from serving.runtime.backend import LinearBackend, Model
from serving.runtime.engine import Engine, Job

Float32s = npt.NDArray[np.float32]


@dataclass
class Watched:
    """A backend that remembers its batches."""

    inner: Any = field(default_factory=lambda: LinearBackend(np.array([1, 10], np.float32)))
    batches: list[int] = field(default_factory=list)

    def predict(self, rows: Float32s) -> Float32s:
        self.batches.append(len(rows))
        return self.inner.predict(rows)


class Broken:
    def predict(self, rows: Float32s) -> Float32s:
        raise RuntimeError("out of order")


def make_model(backend: Any, digest: str = "aa") -> Model:
    return Model(digest, b"\0" * 32, ("x", "y"), np.zeros(2, bool), backend)


def job(model: Model, values: list[list[float]], got: list[Any], **options: Any) -> Job:
    return Job(model, np.array(values, np.float32), got.append, **options)


async def turn() -> None:
    await asyncio.sleep(0)


async def test_what_one_turn_brings_is_one_run_and_everyone_gets_their_own_rows() -> None:
    backend, got = Watched(), []
    model, engine = make_model(backend), Engine()
    for start in range(3):
        engine.submit(job(model, [[start, 0], [0, start]], got))
    assert backend.batches == []
    await turn()
    assert backend.batches == [6]
    assert [each.tolist() for each in got] == [[0, 0], [1, 10], [2, 20]]


async def test_a_lone_job_runs_in_the_very_next_turn() -> None:
    backend, got = Watched(), []
    engine = Engine()
    engine.submit(job(make_model(backend), [[1, 1]], got))
    await turn()
    assert got[0].tolist() == [11]


async def test_no_batch_holds_two_releases() -> None:
    one, other, got = Watched(), Watched(), []
    models = make_model(one, "aa"), make_model(other, "bb")
    engine = Engine()
    for number in range(6):
        engine.submit(job(models[number % 2], [[number, 0]], got))
    await turn()
    assert (one.batches, other.batches) == ([3], [3])


async def test_expired_and_cancelled_jobs_are_never_run() -> None:
    backend, got, wanted = Watched(), [], []
    model, engine = make_model(backend), Engine(monotonic_ns=lambda: 100)
    engine.submit(job(model, [[1, 0]], got, deadline_ns=100))
    gone = job(model, [[2, 0]], got)
    engine.submit(gone)
    engine.submit(job(model, [[3, 0]], wanted, deadline_ns=101))
    gone.cancelled = True
    await turn()
    assert backend.batches == [1]
    assert [type(each) for each in got] == [DeadlinePassed, CallCancelled]
    assert wanted[0].tolist() == [3]
    assert (engine.counts.expired, engine.counts.cancelled, engine.counts.rows) == (1, 1, 1)


async def test_more_rows_than_may_wait_are_shed_at_once() -> None:
    got: list[Any] = []
    model, engine = make_model(Watched()), Engine(max_waiting_rows=2)
    engine.submit(job(model, [[1, 0], [2, 0]], got))
    with pytest.raises(Overloaded, match="at most 2 rows"):
        engine.submit(job(model, [[3, 0]], got))
    await turn()
    engine.submit(job(model, [[3, 0]], got))
    await turn()
    assert len(got) == 2
    assert engine.counts.shed == 1


async def test_a_runtime_that_raises_answers_every_caller_and_harms_no_other_release() -> None:
    got, fine = [], []
    engine = Engine()
    broken, sound = make_model(Broken(), "aa"), make_model(Watched(), "bb")
    for _ in range(2):
        engine.submit(job(broken, [[1, 0]], got))
    engine.submit(job(sound, [[1, 0]], fine))
    await turn()
    assert [type(each) for each in got] == [ModelFailed, ModelFailed]
    assert "out of order" in str(got[0])
    assert fine[0].tolist() == [1]


async def test_a_backend_that_returns_another_shape_is_a_failure() -> None:
    class Wide:
        def predict(self, rows: Float32s) -> Float32s:
            return rows

    got: list[Any] = []
    Engine().submit(job(make_model(Wide()), [[1, 0]], got))
    await turn()
    assert "expected 1 scores, found shape (1, 2)" in str(got[0])


async def test_a_reply_that_cannot_be_made_is_an_error_and_the_others_are_answered() -> None:
    calls: list[Any] = []

    def defective(outcome: Any) -> None:
        calls.append(outcome)
        if not isinstance(outcome, ModelFailed):
            raise ZeroDivisionError

    got: list[Any] = []
    engine, model = Engine(), make_model(Watched())
    engine.submit(Job(model, np.ones((1, 2), np.float32), defective))
    engine.submit(job(model, [[1, 0]], got))
    await turn()
    assert isinstance(calls[1], ModelFailed)
    assert got[0].tolist() == [1]


async def test_a_run_that_would_stall_the_loop_leaves_it() -> None:
    backend, got = Watched(), []
    engine = Engine(stall_ns=0)  # whatever is known to take any time at all
    model = make_model(backend)
    engine.submit(job(model, [[1, 0]], got))
    await turn()
    assert engine.counts.threaded == 0  # nothing is known of the first run
    answered = asyncio.Event()
    engine.submit(Job(model, np.ones((1, 2), np.float32), lambda outcome: (got.append(outcome), answered.set())))
    await asyncio.wait_for(answered.wait(), 5)
    assert engine.counts.threaded == 1
    assert got[1].tolist() == [11]


async def test_rows_in_waiting_are_given_back_however_a_job_ends() -> None:
    got: list[Any] = []
    engine = Engine(max_waiting_rows=1, monotonic_ns=lambda: 5)
    for model, deadline_ns in ((make_model(Broken()), 9), (make_model(Watched()), 1), (make_model(Watched()), 9)):
        engine.submit(job(model, [[1, 0]], got, deadline_ns=deadline_ns))
        await turn()
    assert len(got) == 3
