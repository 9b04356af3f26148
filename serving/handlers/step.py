"""One run of a model on behalf of an answer that several calls may wait for: an engine's Work with one block for all.

An answer that two releases score takes two steps, one after the other: no batch ever holds two releases, and a call is
in one lane at a time, so it is ended once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from serving.errors import ServingError
from serving.runtime.engine import Engine
from serving.runtime.lane import Block, Caller, Lane

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]


class Owner(Protocol):
    """The answer that a step is a part of."""

    def fault(self, step: Step, rows: Float32s) -> ServingError | None:
        """What is wrong with its rows."""
        ...

    def scored(self, step: Step, calls: Sequence[Caller], scores: Float32s) -> None:
        """The step's scores are there, float32 [m]; `calls` go on to the next step, or end, whatever time it is now."""
        ...

    def refused(self, step: Step, calls: Sequence[Caller], error: ServingError) -> None:
        """`calls` end with `error`."""
        ...

    def settle(self, step: Step, rows: Float32s, scores: Float32s) -> None:
        """What can wait until the replies are out."""
        ...


class Step:
    """Rows of one answer that one release is to score. Lives as long as the answer is in the making.

    values: float32 [m, feature]. at: int64 [m], their places in the answer. of: what the owner knows them by.
    """

    __slots__ = ("_engine", "at", "blocks", "calls", "lane", "of", "owner", "rows", "shared")

    def __init__(
        self, engine: Engine, owner: Owner, lane: Lane, values: Float32s, at: Int64s, *, of: Any = None
    ) -> None:
        self.lane = lane
        self.rows = len(values)
        self.at = at
        self.owner = owner
        self.of = of
        self.shared = True
        self.calls: list[Caller] = []
        self.blocks: list[Block] = [np.ascontiguousarray(values).data.cast("B")]
        self._engine = engine

    @property
    def begun(self) -> bool:
        """Whether the engine has taken it up: calls that come now wait for what it brings."""
        return not self.blocks

    def take(self, call: Caller) -> None:
        """Has `call` wait for the step. DeadlinePassed or Overloaded when that would be in vain."""
        first = not self.calls
        rows = self.rows if first else 0
        if self.lane.waiting + rows > self.lane.free or call.deadline_ns <= self.lane.soonest_ns:
            self._engine.admit(self.lane, rows, call)
        if first:
            self._enter()
        self.calls.append(call)

    def go_on(self, calls: Sequence[Caller]) -> None:
        """Has `calls`, which were admitted with the step before, wait for this one."""
        self._enter()
        self.calls.extend(calls)

    def fault(self, rows: Float32s) -> ServingError | None:
        """See Work.fault."""
        return self.owner.fault(self, rows)

    def finish(self, calls: Sequence[Caller], scores: Float32s, sound: bool) -> None:
        """See Work.finish."""
        self.owner.scored(self, calls, scores)

    def refuse(self, calls: Sequence[Caller], error: ServingError) -> None:
        """See Work.refuse."""
        self.owner.refused(self, calls, error)

    def settle(self, rows: Float32s, scores: Float32s, sound: bool) -> None:
        """See Work.settle."""
        self.owner.settle(self, rows, scores)

    def _enter(self) -> None:
        self._engine.enter(self)
        self.lane.waiting += self.rows
