"""What a worker does with a request, whatever transport brought it: bytes in, bytes out (design, section 3, flow 3).

    transport → Scorer.score(call, bytes) → plan → form → engine → call.answer(bytes) → ring     inline rows
                                          → lookup → view → (engine) → call.answer(bytes)        rows of the table

Nothing here waits: a question is answered in the turn of the loop that brought it, or in the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from protos.signalbox.v1 import scorer_pb2
from serving.errors import Draining, NoLiveRelease, ServingError, UnknownSignal
from serving.feature_table import NO_ROW, FeatureTables
from serving.handlers.form import Fixed, Form, Write, refused_answer
from serving.handlers.lookup import Lookup, Lookups
from serving.handlers.mixed import Mixed
from serving.handlers.plan import Plan, Plans
from serving.handlers.routes import Route
from serving.handlers.watchers import Watchers
from serving.handlers.wire import (
    Answer,
    Question,
    count_rows,
    describe,
    distinct,
    parse,
    read_question,
    write_answer,
)
from serving.recorder import NoRecorder, Recorder
from serving.runtime.backend import Model
from serving.runtime.engine import Engine
from serving.runtime.lane import Caller
from serving.statistics import ScorerCounts
from serving.transport.call import AwaitedCall, Bytes, Call

RECHECK_SECONDS = 1.0  # how long a subscriber may believe in a row that has run out
MOST_FORMS = 4096
MOST_LOOKUPS = 16_384  # of one instrument each: about 35 MiB
_FEATURES = scorer_pb2.ScoreRequest.FEATURES_FIELD_NUMBER

Ready = Form | Fixed


class Scorer:
    """The handlers of `signalbox.v1.Scorer`. Lives as long as the worker.

    routes: signal → route; `swap` replaces all of them in one assignment. remember: whether requests are recognised by
    their bytes; without it every one is parsed, and the answers are the same.
    """

    def __init__(
        self,
        engine: Engine,
        tables: FeatureTables,
        *,
        recorder: Recorder | None = None,
        remember: bool = True,
    ) -> None:
        self.counts = ScorerCounts()
        self.tables = tables
        self.routes: Mapping[str, Route] = MappingProxyType({})
        self.engine = engine
        self.draining = False
        self.recorder: Recorder = recorder or NoRecorder()
        self._remember = remember
        self._watchers = Watchers()
        self._books: list[Plans[Ready]] = []
        self._forms: dict[tuple[str, str, int, Write, float], Ready] = {}
        self._lookups: Lookups[Lookup | Fixed] = Lookups(most=MOST_LOOKUPS if remember else 0)
        self._plans = self.plans()
        self._latest: dict[int, Plan[Any]] = self._plans.latest  # Any: what has calls in waiting is a Form

    def swap(self, routes: Mapping[str, Route]) -> None:
        """Serves `routes` from now on; subscribers get what changed."""
        self.routes = MappingProxyType(dict(routes))
        self.counts.swaps += 1
        self._forget()
        self._watchers.wake()

    def rows_changed(self) -> None:
        """Tells subscribers that the feature tables moved."""
        self._watchers.wake()

    def drain(self) -> None:
        """Takes no more calls; those taken are answered. Subscriptions end."""
        self.draining = True
        self._forget()
        for book in self._books:
            book.close()
        self._watchers.wake()

    def plans(self) -> Plans[Ready]:
        """A book of plans for one method; it is emptied at every swap, and closed when the worker drains."""
        book: Plans[Ready] = Plans() if self._remember else Plans(most=0)
        self._books.append(book)
        return book

    def route(self, signal: str) -> Route:
        """The route of `signal`, for a request that has just come in. Draining or UnknownSignal when there is none."""
        self._check_open()
        return self._route(signal)

    def form(self, route: Route, model: Model, rows: int, write: Write) -> Ready:
        """What inline requests of `rows` rows to `model` have in common (`serving.handlers.plan`)."""
        return self._form(route, model, rows, write, route.weight_of(model))

    def refuse(self, call: Caller, error: ServingError) -> None:
        """Counts `error` and ends `call` with it."""
        self.counts.errors[type(error).__name__] += call.count
        call.refuse(error)

    def score(self, call: Call, body: bytes) -> None:
        """Answers a `ScoreRequest`.

        The hot path: `Plans.find` is spelt out for the plan that is likeliest, and `Form.take` for a form that waits.
        """
        self.counts.requests += 1
        plan = self._latest.get(len(body))
        if plan is not None and body.startswith(plan.prefix):
            form = plan.form
            if form.calls:
                lane = form.lane
                waiting = lane.waiting + form.rows
                if waiting <= lane.free and call.deadline_ns > lane.soonest_ns:
                    lane.waiting = waiting
                    form.calls.append(call)
                    form.blocks.append(body[plan.at :])
                    return
            form.take(call, body[plan.at :])
            return
        lookup = self._lookups.find(body)
        if lookup is not None:
            lookup.take(call)
            return
        plan = self._plans.find(body)
        if plan is not None:
            plan.form.take(call, body[plan.at :])
            return
        try:
            self._ask(call, body)
        except ServingError as error:
            self.refuse(call, error)

    def score_all(self, calls: Caller, bodies: Bytes) -> bool:
        """Answers many calls, if their requests differ in inline features alone: see Unary.answer_all."""
        return self.take_all(self._plans, calls, bodies)

    def take_all(self, plans: Plans[Ready], calls: Caller, bodies: Bytes) -> bool:
        """Hands many calls to the form of their one plan, if they have one: see Unary.answer_all."""
        plan = plans.find_all(bodies)
        if plan is None or not plan.form.take_all(calls, bodies[:, plan.at :]):
            return False
        self.counts.requests += calls.count
        return True

    def describe(self, body: bytes) -> bytes:
        """Answers a `DescribeRequest`. UnknownSignal or MalformedRequest for a bad one."""
        name = parse(scorer_pb2.DescribeRequest, body).signal
        return describe([self._route(name)] if name else list(self.routes.values()))

    async def subscribe(self, body: bytes) -> AsyncGenerator[bytes, None]:
        """Answers a `SubscribeRequest`: the present reply, then one whenever something changed, newest state only."""
        message = parse(scorer_pb2.SubscribeRequest, body)
        names = distinct(message.instruments)
        self._route(message.signal)
        asked = scorer_pb2.ScoreRequest(signal=message.signal, instruments=names).SerializeToString()
        last = b""
        with self._watchers.watching() as changed:
            while not self.draining:
                changed.clear()
                reply = await self._answer_to(asked)
                if reply != last:
                    yield reply
                last = reply
                with suppress(TimeoutError):  # a row also changes by running out of time
                    await asyncio.wait_for(changed.wait(), RECHECK_SECONDS)

    def _ask(self, call: Caller, body: bytes) -> None:
        self._check_open()
        question = read_question(body)
        route = self._route(question.signal)
        if question.features:
            self._ask_inline(call, body, question, route)
        else:
            self._ask_table(call, body, question, route)

    def _ask_inline(self, call: Caller, body: bytes, question: Question, route: Route) -> None:
        if route.halted:
            n = len(question.instruments) or count_rows(question, _model_for_shape(route, question))
            ready: Ready = Fixed(self, route, refused_answer(route, n, None), write_answer)
        else:
            split = route.split(question.instruments, question.release, inline=True)
            n = count_rows(question, split.models[0])
            if split.weights is not None:
                Mixed(self, route, split, question.features).take(call)
                return
            ready = self._form(route, split.models[0], n, write_answer, split.weight)
        self._plans.learn(scorer_pb2.ScoreRequest, _FEATURES, body, question.features, ready)
        ready.take(call, question.features)

    def _ask_table(self, call: Caller, body: bytes, question: Question, route: Route) -> None:
        if route.halted:
            ready: Lookup | Fixed = Fixed(self, route, _refused_rows(route, question), write_answer)
        else:
            ready = Lookup(self, self.tables, route, question)
        self._lookups.keep(body, ready, len(question.instruments or route.universe))
        ready.take(call)

    def _form(self, route: Route, model: Model, rows: int, write: Write, weight: float) -> Ready:
        key = (route.signal, model.digest, rows, write, weight)
        form = self._forms.get(key)
        if form is None or form.route is not route:
            if len(self._forms) >= MOST_FORMS:
                self._forms.clear()
            if route.halted:
                form = Fixed(self, route, refused_answer(route, rows, None), write)
            else:
                form = Form(self, route, model, rows, write, weight)
            self._forms[key] = form
        return form

    def _route(self, signal: str) -> Route:
        route = self.routes.get(signal)
        if route is None:
            served = ", ".join(sorted(self.routes)) or "none"
            raise UnknownSignal(f"signal: expected one that is served here ({served}), found {signal[:80]!r}")
        return route

    def _check_open(self) -> None:
        if self.draining:
            raise Draining("this worker is stopping; ask another worker, or repeat in a moment")

    async def _answer_to(self, asked: bytes) -> bytes:
        call = AwaitedCall(self.engine.now_ns())
        lookup = self._lookups.find(asked)
        if lookup is not None:
            lookup.take(call)
        else:
            self._ask(call, asked)
        return await call.reply

    def _forget(self) -> None:
        """What was known of requests said what their routes were."""
        for book in self._books:
            book.drop()
        self._forms.clear()
        self._lookups.clear()


def _refused_rows(route: Route, question: Question) -> Answer:
    """The answer of a halted signal to a request by instrument."""
    n = len(question.instruments or route.universe)
    return replace(
        refused_answer(route, n, None),
        knowledge_times_ns=np.zeros(n, np.int64),
        sequences=np.full(n, NO_ROW, np.int64),
        instruments=() if question.instruments else route.universe,
    )


def _model_for_shape(route: Route, question: Question) -> Model:
    try:
        return route.model(question.release)
    except NoLiveRelease as error:
        raise NoLiveRelease(f"{error}; the signal is halted, and no release says how wide a row is") from error
