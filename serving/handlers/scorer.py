"""What a worker does with a request, whatever transport brought it: bytes in, bytes out (design, section 3, flow 3).

    transport → Scorer.score(call, bytes) → route → feature table → engine → ring → call.answer(bytes)

Nothing here waits: a question is answered in the turn of the loop that brought it, or in the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from protos.signalbox.v1 import scorer_pb2
from serving.errors import DeadlinePassed, Draining, NoLiveRelease, ServingError, TooManyScores, UnknownSignal
from serving.feature_table import FeatureTables, Rows
from serving.handlers.form import Form, Write
from serving.handlers.plan import Plans
from serving.handlers.routes import Route
from serving.handlers.wire import (
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
from serving.recorder import NoRecorder, Recorder
from serving.runtime.backend import Model
from serving.runtime.engine import Done, Engine, Job
from serving.statistics import ScorerCounts
from serving.transport.call import AwaitedCall, Call

Bools = npt.NDArray[np.bool_]

RECHECK_SECONDS = 1.0  # how long a subscriber may believe in a row that has run out


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One question on its way. Lives as long as the request."""

    call: Call
    question: Question
    route: Route
    model: Model

    def slots(self) -> Int64s:
        """Where the table keeps the instruments asked for, int64 [n]; −1 for one that is not in the universe."""
        places = self.route.places[self.model.feature_set_id]
        names = self.question.instruments or self.route.universe
        return np.array([places.get(name, -1) for name in names], np.int64)


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
        self._books: list[Plans[Form]] = []

    def swap(self, routes: Mapping[str, Route]) -> None:
        """Serves `routes` from now on; subscribers get what changed."""
        self.routes = MappingProxyType(dict(routes))
        self.counts.swaps += 1
        for book in self._books:
            book.drop()
        self._wake()

    def rows_changed(self) -> None:
        """Tells subscribers that the feature tables moved."""
        self._wake()

    def drain(self) -> None:
        """Takes no more calls; those taken are answered. Subscriptions end."""
        self.draining = True
        for book in self._books:
            book.close()
        self._wake()

    def plans(self) -> Plans[Form]:
        """A book of plans for one method; it is emptied at every swap, and closed when the worker drains."""
        book: Plans[Form] = Plans()
        self._books.append(book)
        return book

    def route(self, signal: str) -> Route:
        """The route of `signal`, for a request that has just come in. Draining or UnknownSignal when there is none."""
        self._check_open()
        return self._route(signal)

    def form(self, route: Route, model: Model, rows: int, write: Write) -> Form:
        """What inline requests of `rows` rows to `model` have in common (`serving.handlers.plan`)."""
        return Form(self, route, model, rows, write)

    def take(self, form: Form, call: Call, features: bytes) -> None:
        """Scores a request's rows, float32 [form.rows, feature], and answers `call` by `form.write`."""
        self.counts.requests += 1
        route, model = form.route, form.model
        if route.halted:
            refused = np.full(form.rows, RowStatus.REFUSED, np.uint8)
            nothing = np.full(form.rows, np.nan, np.float32)
            self._send(call, Answer(route.generation, route.posture, None, nothing, refused, 0.0), form.write)
            return
        rows = inline_rows(Question(route.signal, (), features), model)

        def done(outcome: Float32s | ServingError) -> None:
            if isinstance(outcome, ServingError):
                self._refuse(call, outcome)
                return
            status = _score_status(outcome, model)
            self.recorder.record(model, None, rows, outcome, status)
            weight = route.weight_of(model)
            self._send(call, Answer(route.generation, route.posture, model.digest, outcome, status, weight), form.write)

        self._submit(_Asked(call, Question(route.signal, ()), route, model), rows, done)

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
                with suppress(TimeoutError):  # a row also changes by running out of time
                    await asyncio.wait_for(changed.wait(), RECHECK_SECONDS)

    def _ask(self, call: Call, question: Question) -> Job | None:
        route = self._route(question.signal)
        if route.halted:
            self._send(call, _refused_answer(route, question))
            return None
        asked = _Asked(call, question, route, route.model(question.release))
        return self._ask_inline(asked) if question.features else self._ask_table(asked)

    def _ask_inline(self, asked: _Asked) -> Job:
        rows = inline_rows(asked.question, asked.model)

        def done(outcome: Float32s | ServingError) -> None:
            if isinstance(outcome, ServingError):
                self._refuse(asked.call, outcome)
                return
            status = _score_status(outcome, asked.model)
            self.recorder.record(asked.model, None, rows, outcome, status)
            self._reply(asked, outcome, status)

        return self._submit(asked, rows, done)

    def _ask_table(self, asked: _Asked) -> Job | None:
        model, slots = asked.model, asked.slots()
        rows = self.tables.table(model.feature_set_id, model.columns).rows(slots)
        status = _row_status(rows, slots, model, self.tables.clock.now_ns(), asked.question.max_age_ns)
        scores, known = model.memo.look_up(slots, rows.sequences)
        missing = np.flatnonzero((status == RowStatus.OK) & ~known)
        if not len(missing):
            self._reply(asked, scores, status, rows)
            return None

        def done(outcome: Float32s | ServingError) -> None:
            if isinstance(outcome, ServingError):
                self._refuse(asked.call, outcome)
                return
            scores[missing] = outcome
            self._keep(model, slots[missing], rows.at(missing), outcome)
            self._reply(asked, scores, status, rows)

        return self._submit(asked, rows.values[missing], done)

    def _submit(self, asked: _Asked, rows: Float32s, done: Done) -> Job:
        allowance = asked.model.allowance
        if not allowance.take(len(rows), self._monotonic_ns()):
            raise TooManyScores(
                f"release {asked.model.digest[:12]}: expected at most {allowance.per_second:.0f} new scores a second "
                f"in a worker, found {len(rows)} more; ask less often, or raise the limit in a new release"
            )
        job = Job(asked.model, rows, done, asked.call.deadline_ns)
        self.engine.submit(job)
        return job

    def _keep(self, model: Model, slots: Int64s, rows: Rows, scores: Float32s) -> None:
        """Remembers new scores, and records those that are the first of their row."""
        first = np.flatnonzero(model.memo.keep(slots, rows.sequences, scores))
        if len(first):
            status = _score_status(scores[first], model)
            self.recorder.record(model, slots[first], rows.at(first), scores[first], status)

    def _reply(self, asked: _Asked, scores: Float32s, status: Bytes, rows: Rows | None = None) -> None:
        """Answers with the route that the question came in by; a signal that was halted meanwhile is refused."""
        route, model = asked.route, asked.model
        now = self.routes.get(route.signal)
        if now is not None and now.halted:
            route, status = now, np.full(len(status), RowStatus.REFUSED, np.uint8)
        status[(status == RowStatus.OK) & ~_leaves(scores, model)] = RowStatus.REFUSED
        answer = Answer(
            route.generation,
            route.posture,
            model.digest,
            scores,
            status,
            route.weight_of(model),
            None if rows is None else rows.knowledge_times_ns,
            None if rows is None else rows.sequences,
            () if asked.question.instruments else route.universe,
        )
        self._send(asked.call, answer)

    def _send(self, call: Call, answer: Answer, write: Write = write_answer) -> None:
        now_ns = self._monotonic_ns()
        if call.deadline_ns <= now_ns:
            self._refuse(call, DeadlinePassed("the deadline passed before the reply could be sent; allow more time"))
            return
        try:
            body = write(answer)
        except ServingError as error:
            self._refuse(call, error)
            return
        self.counts.take(answer.status, now_ns - call.began_ns)
        call.answer(body)

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
        call = AwaitedCall(self._monotonic_ns())
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


def _score_status(scores: Float32s, model: Model) -> Bytes:
    """uint8 [n] of RowStatus: OK or REFUSED."""
    return np.where(_leaves(scores, model), RowStatus.OK, RowStatus.REFUSED).astype(np.uint8)


def _leaves(scores: Float32s, model: Model) -> Bools:
    """bool [n]: the score is a finite number within the release's limit."""
    return np.abs(scores) <= model.score_limit  # NaN compares false


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
