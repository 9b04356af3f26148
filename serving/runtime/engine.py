"""Scores what has arrived: every job of one turn of the loop, stacked per release, in one run (design D2).

Nothing waits for company: a job that is alone when the turn ends runs alone. A run that would hold the loop for long
goes to a thread; the runtime lets go of the interpreter while it computes. A job whose caller has gone, or whose
deadline has passed, is not run.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.errors import CallCancelled, DeadlinePassed, ModelFailed, Overloaded, ServingError
from serving.runtime.backend import Model
from serving.runtime.cost import RunCost

LOG = logging.getLogger("signalbox.engine")

Float32s = npt.NDArray[np.float32]
Done = Callable[[Float32s | ServingError], None]

NO_DEADLINE_NS = 2**63 - 1
STALL_NS = 2_000_000  # a run predicted to take longer than this leaves the loop
MAX_WAITING_ROWS = 200_000


class Job:
    """Rows of one call on their way through the engine. Lives as long as the call.

    rows: C-contiguous float32 [n, feature]. deadline_ns: on the monotonic clock. done: called once, from the loop,
    with float32 [n] scores or the error; a cancelled job's `done` is called too.
    """

    __slots__ = ("cancelled", "deadline_ns", "done", "model", "rows")

    def __init__(self, model: Model, rows: Float32s, done: Done, deadline_ns: int = NO_DEADLINE_NS) -> None:
        self.model = model
        self.rows = rows
        self.done = done
        self.deadline_ns = deadline_ns
        self.cancelled = False


@dataclass(slots=True)
class EngineCounts:
    """What the engine has done since it started."""

    batches: int = 0
    rows: int = 0
    largest_batch: int = 0
    threaded: int = 0
    expired: int = 0
    cancelled: int = 0
    shed: int = 0
    failed: int = 0


class Engine:
    """One worker's engine. Lives as long as the worker; everything runs on the loop it was made in.

    monotonic_ns: the clock that deadlines are instants of.
    """

    def __init__(
        self,
        *,
        executor: Executor | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        stall_ns: int = STALL_NS,
        max_waiting_rows: int = MAX_WAITING_ROWS,
    ) -> None:
        self.counts = EngineCounts()
        self._loop = asyncio.get_running_loop()
        self._executor = executor
        self._monotonic_ns = monotonic_ns
        self._stall_ns = stall_ns
        self._max_waiting_rows = max_waiting_rows
        self._arrived: list[Job] = []
        self._waiting_rows = 0
        self._costs: dict[str, RunCost] = {}

    def submit(self, job: Job) -> None:
        """Takes `job` in; it runs at the end of this turn of the loop. Overloaded when too many rows wait already."""
        if self._waiting_rows + len(job.rows) > self._max_waiting_rows:
            self.counts.shed += 1
            raise Overloaded(
                f"expected at most {self._max_waiting_rows} rows in waiting, found {self._waiting_rows} and "
                f"{len(job.rows)} more; back off and repeat, or ask another worker"
            )
        if not self._arrived:
            self._loop.call_soon(self._turn)
        self._arrived.append(job)
        self._waiting_rows += len(job.rows)

    def forget(self, digest: str) -> None:
        """Drops what is known of a release that is no longer loaded."""
        self._costs.pop(digest, None)

    def _turn(self) -> None:
        arrived, self._arrived = self._arrived, []
        groups: dict[int, list[Job]] = {}
        for job in arrived:
            groups.setdefault(id(job.model), []).append(job)
        for jobs in groups.values():
            self._run(jobs[0].model, jobs)

    def _run(self, model: Model, jobs: list[Job]) -> None:
        wanted = self._still_wanted(jobs)
        if not wanted:
            return
        rows = wanted[0].rows if len(wanted) == 1 else np.concatenate([job.rows for job in wanted])
        self._count(rows)
        cost = self._costs.setdefault(model.digest, RunCost())
        if cost.expected_ns(len(rows)) > self._stall_ns:
            self._run_in_thread(model, wanted, rows, cost)
        else:
            self._finish(wanted, _predict(model, rows, cost))

    def _run_in_thread(self, model: Model, jobs: list[Job], rows: Float32s, cost: RunCost) -> None:
        self.counts.threaded += 1
        running = self._loop.run_in_executor(self._executor, _predict, model, rows, cost)
        running.add_done_callback(lambda done: self._finish(jobs, _outcome(done)))

    def _still_wanted(self, jobs: list[Job]) -> list[Job]:
        now_ns = self._monotonic_ns()
        wanted = [job for job in jobs if not job.cancelled and job.deadline_ns > now_ns]
        if len(wanted) == len(jobs):
            return wanted
        for job in jobs:
            if job.cancelled:
                self.counts.cancelled += 1
                self._end(job, CallCancelled("the caller went away before its rows were scored"))
            elif job.deadline_ns <= now_ns:
                self.counts.expired += 1
                self._end(job, DeadlinePassed("the deadline passed before the rows were scored; allow more time"))
        return wanted

    def _finish(self, jobs: Sequence[Job], outcome: Float32s | ServingError) -> None:
        if isinstance(outcome, ServingError):
            self.counts.failed += len(jobs)
            for job in jobs:
                self._end(job, outcome)
            return
        start = 0
        for job in jobs:
            stop = start + len(job.rows)
            self._end(job, outcome[start:stop])
            start = stop

    def _end(self, job: Job, outcome: Float32s | ServingError) -> None:
        self._waiting_rows -= len(job.rows)
        try:
            job.done(outcome)
        except Exception:  # a defect of ours: the others of the batch still get their answers, and this one an error
            LOG.exception("release %s: a reply could not be made", job.model.digest[:12])
            job.done(ModelFailed(f"release {job.model.digest[:12]}: its reply could not be made; the log says why"))

    def _count(self, rows: Float32s) -> None:
        counts = self.counts
        counts.batches += 1
        counts.rows += len(rows)
        counts.largest_batch = max(counts.largest_batch, len(rows))


def _predict(model: Model, rows: Float32s, cost: RunCost) -> Float32s | ServingError:
    """Runs the model and learns what it costs. An error comes back as a value: nothing may be left unanswered."""
    began = time.perf_counter_ns()
    try:
        scores = model.backend.predict(rows)
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises, its callers get an answer
        return ModelFailed(f"release {model.digest[:12]}: {type(error).__name__}: {error}")
    if scores.shape != (len(rows),):
        return ModelFailed(f"release {model.digest[:12]}: expected {len(rows)} scores, found shape {scores.shape}")
    cost.learn(len(rows), time.perf_counter_ns() - began)
    return scores


def _outcome(done: asyncio.Future[Float32s | ServingError]) -> Float32s | ServingError:
    """What a thread brought back; one that the executor never ran is a failure like any other."""
    error = None if done.cancelled() else done.exception()
    if done.cancelled() or error is not None:
        return ModelFailed(f"the rows were not scored: {error or 'the worker is stopping'}")
    return done.result()
