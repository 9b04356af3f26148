"""Inline rows that a live release and its canary share, each its instruments (design, section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from serving.errors import RequestRefused, ServingError
from serving.handlers.form import (
    Host,
    halted_since,
    record_inline,
    record_shadow,
    refused_answer,
    score_status,
    too_late,
)
from serving.handlers.routes import Route, Split
from serving.handlers.step import Step
from serving.handlers.wire import Answer, check_values, write_answer
from serving.runtime.batch import FLOAT32
from serving.runtime.lane import Caller

Float32s = npt.NDArray[np.float32]


class Mixed:
    """One request's rows on their way through two models. The Owner of its steps; lives as long as the call."""

    def __init__(self, host: Host, route: Route, split: Split, features: bytes) -> None:
        self._host = host
        self._route = route
        self._split = split
        self._rows = np.frombuffer(features, FLOAT32).reshape(-1, split.models[0].columns)
        n = len(self._rows)
        self._scores = np.full(n, np.nan, np.float32)
        self._status = np.zeros(n, np.uint8)
        index = np.zeros(n, np.uint8) if split.index is None else split.index
        self._steps = [
            Step(host.engine, self, host.engine.lane(model), self._rows[at], at, of=model)
            for place, model in enumerate(split.models)
            if len(at := np.flatnonzero(index == place))
        ]

    def take(self, call: Caller) -> None:
        """Has `call` answered. Whatever is wrong with it ends it."""
        try:
            self._steps[0].take(call)
        except ServingError as error:
            self._host.refuse(call, error)

    def fault(self, step: Step, rows: Float32s) -> ServingError | None:
        """See Owner.fault: named by its place in the request."""
        whole = np.zeros_like(self._rows)
        whole[step.at] = rows
        try:
            check_values(whole, step.of)
        except RequestRefused as error:
            return error
        return None

    def scored(self, step: Step, calls: Sequence[Caller], scores: Float32s) -> None:
        """See Owner.scored."""
        self._scores[step.at] = scores
        self._status[step.at] = score_status(scores, step.of)
        self._steps.pop(0)
        if self._steps:
            self._steps[0].go_on(calls)
            return
        answer = self._answer()
        reply = write_answer(answer)
        now_ns = self._host.engine.now_ns()
        for call in calls:
            if call.deadline_ns <= now_ns:
                self._host.refuse(call, too_late())
            else:
                call.answer(reply)
                self._host.counts.take_rows(answer.status)

    def refused(self, step: Step, calls: Sequence[Caller], error: ServingError) -> None:
        """See Owner.refused."""
        for call in calls:
            self._host.refuse(call, error)

    def settle(self, step: Step, rows: Float32s, scores: Float32s) -> None:
        """See Owner.settle."""
        record_inline(self._host, step.of, rows, scores, sound=False)
        for shadow in self._route.shadows_of(step.of):
            scored = partial(record_shadow, self._host, shadow)
            self._host.engine.shadows.offer(self._host.engine.lane(shadow), rows, scored)

    def _answer(self) -> Answer:
        models, route = self._split.models, self._route
        halted = halted_since(self._host, route)
        if halted is not None:
            return refused_answer(halted, len(self._scores), models[0].digest)
        return Answer(
            route.generation,
            route.posture,
            models[0].digest,
            self._scores,
            self._status,
            self._split.weight,
            canary=models[1].digest if len(models) > 1 else "",
            weights=self._split.weights,
            release_index=self._split.index,
        )
