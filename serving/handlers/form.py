"""Inline requests of one shape: their rows go to the engine, their replies come from a template.

The replies to n rows whose scores may all leave differ in the scores alone while route, release and n are the same:
head + scores + tail, found by having the protocol's own writer write two such replies. Every other reply (a score that
may not leave, a signal halted meanwhile) is written by that writer, for each call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.errors import DeadlinePassed, ModelFailed, RequestRefused, ServingError, WrongShape
from serving.handlers.routes import Route
from serving.handlers.wire import OK, REFUSED, Answer, Bytes, RowStatus, check_values
from serving.recorder import Recorder
from serving.runtime.backend import Model
from serving.runtime.engine import Engine
from serving.runtime.lane import Block, Caller
from serving.statistics import ScorerCounts

LOG = logging.getLogger("signalbox.handlers")

Float32s = npt.NDArray[np.float32]
Write = Callable[[Answer], bytes]

_UNLIKE = tuple(np.array([0x01020304, 0x41424344], "<u4").view("<f4").tolist())  # finite, and no byte the same


class Host(Protocol):
    """The scorer, as what it answers with sees it."""

    @property
    def engine(self) -> Engine:
        """Runs the models."""
        ...

    @property
    def recorder(self) -> Recorder:
        """Where scored rows go."""
        ...

    @property
    def counts(self) -> ScorerCounts:
        """What was done so far."""
        ...

    @property
    def routes(self) -> Mapping[str, Route]:
        """Signal → route, as served now."""
        ...

    def refuse(self, call: Caller, error: ServingError) -> None:
        """Counts the error and ends the call with it."""
        ...


class Form:
    """Inline requests of one shape, and those of them that wait: an engine's Work. Lives until the next swap.

    rows: how many a request has. write: the reply to an answer; it raises the ServingError that a call is refused with.
    """

    __slots__ = (
        "_engine",
        "_halves",
        "_host",
        "_routes",
        "_seen",
        "_shadows",
        "_size",
        "blocks",
        "calls",
        "lane",
        "model",
        "route",
        "rows",
        "shared",
        "weight",
        "write",
    )

    def __init__(self, host: Host, route: Route, model: Model, rows: int, write: Write, weight: float) -> None:
        self.route = route
        self.model = model
        self.rows = rows
        self.write = write
        self.weight = weight
        self.lane = host.engine.lane(model)
        self.shared = False
        self.calls: list[Caller] = []
        self.blocks: list[Block] = []
        self._host = host
        self._engine = host.engine
        self._routes = host.routes
        self._shadows = tuple(host.engine.lane(shadow) for shadow in route.shadows_of(model))
        self._size = 4 * model.columns * rows
        self._halves: tuple[bytes, bytes] | None = None
        self._seen = False

    def take(self, call: Caller, features: Block) -> None:
        """Has `call` answered: `features` are little-endian float32 [rows, feature]. What is wrong with it ends it."""
        lane = self.lane
        try:
            if len(features) != self._size:
                raise _wrong_size(self, len(features))
            if lane.waiting + self.rows > lane.free or call.deadline_ns <= lane.soonest_ns:
                self._engine.admit(lane, self.rows, call)
        except ServingError as error:
            self._host.refuse(call, error)
            return
        if not self.calls:
            self._engine.enter(self)
        lane.waiting += self.rows  # not by what waited before: to admit a call may let go of others
        self.calls.append(call)
        self.blocks.append(features)

    def take_all(self, calls: Caller, features: Bytes) -> bool:
        """The same of many calls at once, uint8 [call, 4 · rows · feature]; False where it was not done."""
        lane, rows = self.lane, self.rows * calls.count
        if features.shape[1] != self._size:
            return False
        if (lane.waiting + rows > lane.free or calls.deadline_ns <= lane.soonest_ns) and (
            self._engine.objection(lane, rows, calls) is not None
        ):
            return False
        if not self.calls:
            self._engine.enter(self)
        lane.waiting += rows
        self.calls.append(calls)
        self.blocks.append(features.tobytes())
        return True

    def fault(self, rows: Float32s) -> ServingError | None:
        """See Work.fault."""
        try:
            check_values(rows, self.model)
        except RequestRefused as error:
            return error
        return None

    def finish(self, calls: Sequence[Caller], scores: Float32s, sound: bool) -> None:
        """See Work.finish."""
        if not sound or self._routes is not self._host.routes:
            self._finish_each(calls, scores)
            return
        if self._halves is None:
            if len(calls) == 1 and not self._seen:  # a form for one request needs no template
                self._seen = True
                self._finish_each(calls, scores)
                return
            self._halves = template(self)
        head, tail = self._halves
        data, size, at = scores.tobytes(), 4 * self.rows, 0
        for call in calls:
            try:
                if call.count == 1:
                    call.answer(head + data[at : at + size] + tail)
                else:
                    call.answer_each(head, data[at : at + size * call.count], tail)
            except Exception as error:  # noqa: BLE001 - a defect of ours harms no other call
                self._fail(call, error)
            at += size * call.count
        self._host.counts.rows[RowStatus.OK] += len(scores)

    def refuse(self, calls: Sequence[Caller], error: ServingError) -> None:
        """See Work.refuse."""
        for call in calls:
            self._host.refuse(call, error)

    def settle(self, rows: Float32s, scores: Float32s, sound: bool) -> None:
        """See Work.settle."""
        record_inline(self._host, self.model, rows, scores, sound)
        for lane in self._shadows:
            self._engine.shadows.offer(lane, rows, partial(record_shadow, self._host, lane.model))

    def _finish_each(self, calls: Sequence[Caller], scores: Float32s) -> None:
        """Writes one reply after the other, by the route they came in by unless the signal was halted meanwhile."""
        halted = halted_since(self._host, self.route)
        for at, call in enumerate(each for caller in calls for each in caller.spread()):
            own = scores[at * self.rows : (at + 1) * self.rows]
            try:
                answer = self._answer(own) if halted is None else refused_answer(halted, self.rows, self.model.digest)
                call.answer(self.write(answer))
                self._host.counts.take_rows(answer.status)
            except ServingError as error:
                self._host.refuse(call, error)
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(call, error)

    def _answer(self, scores: Float32s) -> Answer:
        status = score_status(scores, self.model)
        return Answer(self.route.generation, self.route.posture, self.model.digest, scores, status, self.weight)

    def _fail(self, call: Caller, error: Exception) -> None:
        LOG.error("release %s: a reply could not be made", self.model.digest[:12], exc_info=error)
        self._host.refuse(
            call, ModelFailed(f"release {self.model.digest[:12]}: its reply could not be made; the log says why")
        )


class Fixed:
    """The same answer to every request of a kind, until the next swap: that of a halted signal.

    answer, write: what is said, and how; a ServingError that `write` raises is what every call is refused with.
    """

    calls: Sequence[Caller] = ()  # none ever waits

    def __init__(self, host: Host, route: Route, answer: Answer, write: Write) -> None:
        self.route = route
        self._host = host
        self._status = answer.status
        try:
            self._reply: bytes | ServingError = write(answer)
        except ServingError as error:
            self._reply = error

    def take_all(self, calls: Caller, features: Bytes) -> bool:
        """See Form.take_all: each is answered by itself."""
        return False

    def take(self, call: Caller, features: Block = b"") -> None:
        """Answers `call`."""
        now_ns = self._host.engine.now_ns()
        if isinstance(self._reply, ServingError):
            self._host.refuse(call, self._reply)
        elif call.deadline_ns <= now_ns:
            self._host.refuse(call, too_late())
        else:
            self._host.counts.take(self._status, now_ns - call.began_ns)
            call.answer(self._reply)


def template(form: Form) -> tuple[bytes, bytes]:
    """What stands before and after the scores in replies of `form` whose scores may all leave.

    Two such replies, whose scores differ in every byte, are written and compared.
    """
    one, other = (
        form.write(
            Answer(
                form.route.generation,
                form.route.posture,
                form.model.digest,
                np.full(form.rows, value, "<f4"),
                np.zeros(form.rows, np.uint8),
                form.weight,
            )
        )
        for value in _UNLIKE
    )
    at = next((at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), 0)
    stop = at + 4 * form.rows
    if one[stop:] != other[stop:] or one[at:stop] != np.full(form.rows, _UNLIKE[0], "<f4").tobytes():
        raise ValueError(f"{form.write}: expected a writer that puts the scores' bytes in one piece, found another")
    return one[:at], one[stop:]


def record_inline(host: Host, model: Model, rows: Float32s, scores: Float32s, sound: bool) -> None:
    """Records rows that came with their requests. sound: every score may leave."""
    if sound:
        host.recorder.record_inline(model, rows, scores)
        return
    status = score_status(scores, model)
    host.counts.refused_scores[model.digest] += int(np.count_nonzero(status))
    host.recorder.record(model, None, rows, scores, status)


def record_shadow(host: Host, model: Model, start: int, rows: Float32s, scores: Float32s) -> None:
    """Records what a shadow release made of inline rows."""
    record_inline(host, model, rows, scores, sound=False)


def score_status(scores: Float32s, model: Model) -> Bytes:
    """uint8 [n] of RowStatus: OK, or REFUSED for what is not a finite number within the release's limit."""
    leaves = np.abs(scores) <= model.score_limit  # NaN compares false
    return np.where(leaves, OK, REFUSED)


def halted_since(host: Host, route: Route) -> Route | None:
    """The present route of `route`'s signal where that is halted."""
    now = host.routes.get(route.signal)
    return now if now is not None and now.halted else None


def refused_answer(route: Route, rows: int, release: str | None) -> Answer:
    """The answer of a halted signal to inline rows."""
    nothing = np.full(rows, np.nan, np.float32)
    return Answer(route.generation, route.posture, release, nothing, np.full(rows, REFUSED), 0.0)


def too_late() -> DeadlinePassed:
    """What a call gets whose reply was ready after its deadline."""
    return DeadlinePassed("the deadline passed before the reply could be sent; allow more time")


def _wrong_size(form: Form, found: int) -> WrongShape:
    return WrongShape(
        f"features: expected {form.rows} rows of {form.model.columns} float32, found {found} bytes; send whole rows"
    )
