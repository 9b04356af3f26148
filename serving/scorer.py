"""What a worker does with a request, whatever transport brought it: bytes in, bytes out (design, section 3, flow 3).

    transport → Scorer.score(call, bytes) → route → feature table → engine → ring → call.answer(bytes)

Nothing here waits: a question is answered in the turn of the loop that brought it, or in the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from protos.signalbox.v1 import scorer_pb2
from serving.errors import DeadlinePassed, Draining, NoLiveRelease, ServingError, TooManyScores, UnknownSignal
from serving.feature_table import FeatureTables, Rows
from serving.routes import Route
from serving.runtime.backend import Model
from serving.runtime.engine import NO_DEADLINE_NS, Engine, Job
from serving.statistics import ScorerCounts
from serving.wire import (
    Answer,
    Bytes,
    Float32s,
    Int64s,
    Question,
    RowStatus,
    describe,
    distinct,
    inline_rows,
    parse,
    read_question,
    write_answer,
)

Bools = npt.NDArray[np.bool_]


class Call(Protocol):
    """One unary call, as a transport holds it. Exactly one of the two methods is called, once, from the loop."""

    deadline_ns: int  # on the monotonic clock; NO_DEADLINE_NS without one

    def answer(self, body: bytes) -> None:
        """Sends the reply."""
        ...

    def refuse(self, error: ServingError) -> None:
        """Ends the call with the status that `serving.status` gives `error`."""
        ...


class Recorder(Protocol):
    """Where scored rows are recorded (the ring)."""

    def record(
        self, model: Model, slots: Int64s | None, rows: Rows | Float32s, scores: Float32s, status: Bytes
    ) -> None:
        """Records rows that `model` scored for the first time; slots None and bare values for inline rows."""
        ...


class NoRecorder:
    """Records nothing: where no monitor reads."""

    def record(
        self, model: Model, slots: Int64s | None, rows: Rows | Float32s, scores: Float32s, status: Bytes
    ) -> None:
        """See Recorder.record."""


class Scorer:
    """The handlers of `signalbox.v1.Scorer`. Lives as long as the worker.

    routes: signal → route; `swap` replaces all of them in one assignment.
    """

    def __init__(
        self,
        engine: Engine,
        tables: FeatureTables,
        *,
        recorder: Recorder | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.counts = ScorerCounts()
        self.tables = tables
        self.routes: Mapping[str, Route] = MappingProxyType({})
        self.engine = engine
        self.draining = False
        self.recorder: Recorder = recorder or NoRecorder()
        self._monotonic_ns = monotonic_ns
        self._watchers: set[asyncio.Event] = set()

    def swap(self, routes: Mapping[str, Route]) -> None:
        """Serves `routes` from now on; subscribers get what changed."""
        self.routes = MappingProxyType(dict(routes))
        self.counts.swaps += 1
        self._wake()

    def rows_changed(self) -> None:
        """Tells subscribers that the feature tables moved."""
        self._wake()

    def drain(self) -> None:
        """Takes no more calls; those taken are answered. Subscriptions end."""
        self.draining = True
        self._wake()

    def score(self, call: Call, body: bytes) -> Job | None:
        """Answers a `ScoreRequest`. Returns the job while it waits to be run, so that a transport can cancel it."""
        self.counts.requests += 1
        try:
            self._check_open()
            return self._ask(call, read_question(body))
        except ServingError as error:
            self._refuse(call, error)
            return None

    def describe(self, body: bytes) -> bytes:
        """Answers a `DescribeRequest`. UnknownSignal or MalformedRequest for a bad one."""
        name = parse(scorer_pb2.DescribeRequest, body).signal
        return describe([self._route(name)] if name else list(self.routes.values()))

    async def subscribe(self, body: bytes) -> AsyncIterator[bytes]:
        """Answers a `SubscribeRequest`: the present reply, then one whenever something changed, newest state only."""
        message = parse(scorer_pb2.SubscribeRequest, body)
        question = Question(message.signal, distinct(message.instruments))
        self._route(question.signal)
        last = b""
        with self._watching() as changed:
            while not self.draining:
                changed.clear()
                reply = await self._answer_to(question)
                if reply != last:
                    yield reply
                last = reply
                await changed.wait()

    def _ask(self, call: Call, question: Question) -> Job | None:
        route = self._route(question.signal)
        if route.halted:
            self._send(call, _refused_answer(route, question))
            return None
        model = route.model(question.release)
        if question.features:
            return self._ask_inline(call, question, route, model)
        return self._ask_table(call, question, route, model)

    def _ask_inline(self, call: Call, question: Question, route: Route, model: Model) -> Job:
        rows = inline_rows(question, model)

        def done(outcome: Float32s | ServingError) -> None:
            if isinstance(outcome, ServingError):
                self._refuse(call, outcome)
                return
            status = np.where(_leaves(outcome, model), RowStatus.OK, RowStatus.REFUSED).astype(np.uint8)
            self.recorder.record(model, None, rows, outcome, status)
            self._reply(call, question, route, model, outcome, status)

        return self._submit(Job(model, rows, done, call.deadline_ns))

    def _ask_table(self, call: Call, question: Question, route: Route, model: Model) -> Job | None:
        places = route.places[model.feature_set_id]
        names = question.instruments or route.universe
        slots = np.array([places.get(name, -1) for name in names], np.int64)
        rows = self.tables.table(model.feature_set_id, model.columns).rows(slots)
        status = _row_status(rows, slots, model, self.tables.clock.now_ns(), question.max_age_ns)
        scores, known = model.memo.look_up(slots, rows.sequences)
        missing = np.flatnonzero((status == RowStatus.OK) & ~known)
        if not len(missing):
            self._reply_rows(call, question, route, model, rows, scores, status)
            return None

        def done(outcome: Float32s | ServingError) -> None:
            if isinstance(outcome, ServingError):
                self._refuse(call, outcome)
                return
            scores[missing] = outcome
            self._keep(model, slots, rows, missing, outcome)
            self._reply_rows(call, question, route, model, rows, scores, status)

        return self._submit(Job(model, rows.values[missing], done, call.deadline_ns))

    def _submit(self, job: Job) -> Job:
        if not job.model.allowance.take(len(job.rows), self._monotonic_ns()):
            raise TooManyScores(
                f"release {job.model.digest[:12]}: expected at most {job.model.allowance.per_second:.0f} new scores a "
                f"second in a worker, found {len(job.rows)} more; ask less often, or raise the limit in a new release"
            )
        self.engine.submit(job)
        return job

    def _keep(self, model: Model, slots: Int64s, rows: Rows, at: Int64s, scores: Float32s) -> None:
        """Remembers new scores, and records those that are the first of their row."""
        new = model.memo.keep(slots[at], rows.sequences[at], scores)
        if new.any():
            first = at[new]
            status = np.where(_leaves(scores[new], model), RowStatus.OK, RowStatus.REFUSED).astype(np.uint8)
            self.recorder.record(model, slots[first], rows.at(first), scores[new], status)

    def _reply_rows(
        self, call: Call, question: Question, route: Route, model: Model, rows: Rows, scores: Float32s, status: Bytes
    ) -> None:
        status[(status == RowStatus.OK) & ~_leaves(scores, model)] = RowStatus.REFUSED
        self._reply(call, question, route, model, scores, status, rows)

    def _reply(
        self,
        call: Call,
        question: Question,
        route: Route,
        model: Model,
        scores: Float32s,
        status: Bytes,
        rows: Rows | None = None,
    ) -> None:
        now = self.routes.get(question.signal)
        if now is not None and now.halted:  # halted while the rows were being scored
            route, status = now, np.full(len(status), RowStatus.REFUSED, np.uint8)
        answer = Answer(
            route.generation,
            route.posture,
            model.digest,
            scores,
            status,
            route.weight_of(model),
            None if rows is None else rows.knowledge_times_ns,
            None if rows is None else rows.sequences,
            () if question.instruments else route.universe,
        )
        self._send(call, answer)

    def _send(self, call: Call, answer: Answer) -> None:
        if call.deadline_ns != NO_DEADLINE_NS and call.deadline_ns <= self._monotonic_ns():
            self._refuse(call, DeadlinePassed("the deadline passed before the reply could be sent; allow more time"))
            return
        self.counts.take(answer.status)
        call.answer(write_answer(answer))

    def _refuse(self, call: Call, error: ServingError) -> None:
        self.counts.errors[type(error).__name__] += 1
        call.refuse(error)

    def _route(self, signal: str) -> Route:
        route = self.routes.get(signal)
        if route is None:
            served = ", ".join(sorted(self.routes)) or "none"
            raise UnknownSignal(f"signal: expected one that is served here ({served}), found {signal[:80]!r}")
        return route

    def _check_open(self) -> None:
        if self.draining:
            raise Draining("this worker is stopping; ask another worker, or repeat in a moment")

    async def _answer_to(self, question: Question) -> bytes:
        call = AwaitedCall()
        self._ask(call, question)
        return await call.reply

    @contextmanager
    def _watching(self) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            yield changed
        finally:
            self._watchers.discard(changed)

    def _wake(self) -> None:
        for changed in self._watchers:
            changed.set()


class AwaitedCall:
    """A call whose reply a coroutine awaits. `reply` raises the error that the call was refused with."""

    __slots__ = ("deadline_ns", "reply")

    def __init__(self, deadline_ns: int = NO_DEADLINE_NS) -> None:
        self.deadline_ns = deadline_ns
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answer(self, body: bytes) -> None:
        """See Call.answer."""
        if not self.reply.done():
            self.reply.set_result(body)

    def refuse(self, error: ServingError) -> None:
        """See Call.refuse."""
        if not self.reply.done():
            self.reply.set_exception(error)


def _leaves(scores: Float32s, model: Model) -> Bools:
    """bool [n]: the score is a finite number within the release's limit."""
    return np.abs(scores) <= min(model.max_abs_score, float(np.finfo(np.float32).max))  # NaN compares false


def _row_status(rows: Rows, slots: Int64s, model: Model, now_ns: int, max_age_ns: int | None) -> Bytes:
    """uint8 [n] of RowStatus, before the model is asked; OK means: may be scored."""
    status = np.where(rows.fresh(now_ns, max_age_ns), RowStatus.OK, RowStatus.STALE).astype(np.uint8)
    holes = np.isnan(rows.values)
    if holes.any():
        status[(holes & ~model.takes_nan).any(axis=1) & (status == RowStatus.OK)] = RowStatus.REFUSED
    status[slots < 0] = RowStatus.UNKNOWN_INSTRUMENT
    return status


def _refused_answer(route: Route, question: Question) -> Answer:
    """The answer of a halted signal. NoLiveRelease where even the number of rows is not known."""
    names: Iterable[str] = question.instruments or route.universe
    n = len(tuple(names))
    if question.features and not question.instruments:
        n = len(inline_rows(question, _model_for_shape(route, question)))
    inline = bool(question.features)
    return Answer(
        route.generation,
        route.posture,
        None,
        np.full(n, np.nan, np.float32),
        np.full(n, RowStatus.REFUSED, np.uint8),
        0.0,
        None if inline else np.zeros(n, np.int64),
        None if inline else np.full(n, -1, np.int64),
        () if question.instruments else route.universe,
    )


def _model_for_shape(route: Route, question: Question) -> Model:
    try:
        return route.model(question.release)
    except NoLiveRelease as error:
        raise NoLiveRelease(f"{error}; the signal is halted, and no release says how wide a row is") from error
