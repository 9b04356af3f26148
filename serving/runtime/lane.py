"""Where rows wait for one model: works of several shapes, stacked and run together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from serving.errors import ServingError
from serving.runtime.backend import Model

Float32s = npt.NDArray[np.float32]
Block = bytes | memoryview  # rows: little-endian float32, C-contiguous

NO_DEADLINE_NS = 2**63 - 1


class Caller(Protocol):
    """Who waits for scores: a call as the engine and the works see it. Ended once, by its work.

    Many that came in at one moment, with one deadline, may be one Caller, whose block holds the rows of all, in their
    order. What is to be done with some of them alone is done once they are spread.
    """

    @property
    def count(self) -> int:
        """How many calls it is."""
        ...

    @property
    def began_ns(self) -> int:
        """When it came in, monotonic clock."""
        ...

    @property
    def deadline_ns(self) -> int:
        """On the same clock; NO_DEADLINE_NS without one."""
        ...

    @property
    def cancelled(self) -> bool:
        """Nobody waits any more; of many: for some of them."""
        ...

    def answer(self, body: bytes) -> None:
        """Sends the reply; to each of many."""
        ...

    def answer_each(self, head: bytes, contents: bytes, tail: bytes) -> None:
        """Sends each call's reply: `head`, its share of `contents`, `tail`."""
        ...

    def spread(self) -> Sequence[Caller]:
        """Each of the calls by itself, in the order of their rows; those that are cancelled say so."""
        ...

    def refuse(self, error: ServingError) -> None:
        """Ends the call with `error`."""
        ...


class Single:
    """What is alike in Callers that are one call."""

    __slots__ = ()

    count: ClassVar[int] = 1

    def answer(self, body: bytes) -> None:
        """See Caller.answer."""
        raise NotImplementedError

    def answer_each(self, head: bytes, contents: bytes, tail: bytes) -> None:
        """See Caller.answer_each."""
        self.answer(head + contents + tail)

    def spread(self) -> tuple[Self, ...]:
        """See Caller.spread."""
        return (self,)


class Work(Protocol):
    """Calls whose rows one model is to score.

    rows: how many a block has. blocks: the rows in waiting, one block for each call, or one for all where `shared`.
    The engine empties `calls` and `blocks` when it takes them up, and then calls `finish` or `refuse` for every call.
    """

    lane: Lane
    rows: int
    shared: bool
    calls: list[Caller]
    blocks: list[Block]

    def fault(self, rows: Float32s) -> ServingError | None:
        """What is wrong with one block, float32 [rows, feature], that holds what the model does not take; or None."""
        ...

    def finish(self, calls: Sequence[Caller], scores: Float32s, sound: bool) -> None:
        """Answers `calls`: float32 scores in the blocks' order. sound: every score may leave."""
        ...

    def refuse(self, calls: Sequence[Caller], error: ServingError) -> None:
        """Ends `calls` with `error`."""
        ...

    def settle(self, rows: Float32s, scores: Float32s, sound: bool) -> None:
        """Does what can wait until the replies are out: float32 [n, feature] were scored, whoever still waited."""
        ...


class Lane:
    """One model's works in waiting. Lives as long as the release is loaded.

    waiting: rows. free: rows up to which, and soonest_ns: deadline beyond which, a call is admitted without a thought.
    running_until_ns: when the run in a thread should be over; 0 while there is none.
    """

    __slots__ = ("columns", "cost", "free", "limited", "model", "running_until_ns", "soonest_ns", "waiting", "works")

    def __init__(self, model: Model) -> None:
        self.model = model
        self.columns = model.columns
        self.limited = model.allowance.per_second != float("inf")
        self.cost = model.cost
        self.works: list[Work] = []
        self.waiting = 0
        self.free = 0
        self.soonest_ns = 0
        self.running_until_ns = 0

    def take_up(self) -> list[Work]:
        """The works in waiting; the lane is empty then."""
        works, self.works = self.works, []
        self.waiting = self.free = self.soonest_ns = 0
        return works
