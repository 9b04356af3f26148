"""What one run of a model is for: the works' calls and blocks, stacked in the order in which they came."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from serving.errors import ServingError
from serving.runtime.backend import Model
from serving.runtime.counts import EngineCounts
from serving.runtime.lane import NO_DEADLINE_NS, Block, Caller, Lane, Work

Float32s = npt.NDArray[np.float32]

FLOAT32 = np.dtype("<f4")
Moment = tuple[int, int]  # when calls came in, and how many did


class Part(NamedTuple):
    """One work's share of a batch: a block for each caller, or one for all where the work is shared."""

    work: Work
    calls: list[Caller]
    blocks: list[Block]

    @property
    def rows(self) -> int:
        """How many rows the blocks hold."""
        return sum(map(len, self.blocks)) // (4 * self.work.lane.columns)

    @property
    def callers(self) -> int:
        """How many calls it is for."""
        return sum(call.count for call in self.calls)

    def spread(self) -> Part:
        """The same with every call by itself. Callers of a shared work are: nobody hands it many as one."""
        if all(call.count == 1 for call in self.calls):
            return self
        calls = [each for call in self.calls for each in call.spread()]
        data, size = b"".join(self.blocks), 4 * self.work.lane.columns * self.work.rows
        blocks: list[Block] = [data[at : at + size] for at in range(0, len(data), size)]
        return Part(self.work, calls, blocks)


class Alone(NamedTuple):
    """A run for one call, once its reply is out: what there is left to do."""

    work: Work
    began_ns: int
    rows: Float32s
    scores: Float32s
    sound: bool
    gathered_ns: int
    ready_ns: int
    scored_ns: int
    done_ns: int

    def settle(self, counts: EngineCounts) -> None:
        """See Batch.settle."""
        work, began_ns, rows, scores, sound, gathered_ns, ready_ns, scored_ns, done_ns = self
        counts.take_one(len(rows), began_ns, gathered_ns, ready_ns, scored_ns, done_ns)
        work.settle(rows, scores, sound)


class Batch:
    """Lives from the turn that gathers it to its settling.

    parts: none without a block. moments: when their calls came in. soonest_ns: the first of their deadlines. rows:
    float32 [n, feature]; fit: none of them holds a value that the model does not take. scores: float32 [n] once it has
    been run; sound: each of them may leave. gathered_ns, ready_ns, scored_ns, done_ns: its stages, monotonic clock.
    """

    __slots__ = (
        "done_ns",
        "fit",
        "gathered_ns",
        "lane",
        "moments",
        "parts",
        "ready_ns",
        "rows",
        "scored_ns",
        "scores",
        "soonest_ns",
        "sound",
    )

    def __init__(self, lane: Lane, parts: list[Part], moments: list[Moment], soonest_ns: int, now_ns: int) -> None:
        self.lane = lane
        self.parts = parts
        self.moments = moments
        self.soonest_ns = soonest_ns
        self.gathered_ns = self.ready_ns = self.scored_ns = self.done_ns = now_ns
        self.scores: Float32s | None = None
        self.sound = False
        blocks = parts[0].blocks if len(parts) == 1 else [block for part in parts for block in part.blocks]
        data = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        self.rows = rows = np.ndarray((len(data) // (4 * lane.columns), lane.columns), FLOAT32, data)
        self.fit = all_finite(rows) or all_taken(rows, lane.model)

    @property
    def callers(self) -> int:
        """How many calls it is for."""
        return sum(count for _, count in self.moments)

    def slices(self) -> Iterable[tuple[Part, slice]]:
        """Each part, and where its rows are."""
        start = 0
        for part in self.parts:
            stop = start + part.rows
            yield part, slice(start, stop)
            start = stop

    def settle(self, counts: EngineCounts) -> None:
        """Counts the run, and has each work do what could wait."""
        self._count(counts)
        scores = self.scores
        if scores is None:
            return
        if len(self.parts) == 1:
            self.parts[0].work.settle(self.rows, scores, self.sound)
            return
        for part, at in self.slices():
            part.work.settle(self.rows[at], scores[at], self.sound)

    def _count(self, counts: EngineCounts) -> None:
        callers = counts.take_calls(self.moments, self.gathered_ns, self.done_ns)
        counts.take(len(self.rows), callers, self.gathered_ns, self.ready_ns, self.scored_ns, self.done_ns)


def look_over(calls: Sequence[Caller], moments: list[Moment]) -> int:
    """The soonest deadline of `calls`, 0 where one is cancelled; their moments go to the end of `moments`.

    Calls that one read of a socket brought came in at the same moment and stand side by side.
    """
    soonest_ns = NO_DEADLINE_NS
    began_ns, count = calls[0].began_ns, 0
    for call in calls:
        if call.deadline_ns < soonest_ns:
            soonest_ns = call.deadline_ns
        if call.cancelled:
            soonest_ns = 0
        if call.began_ns != began_ns:
            moments.append((began_ns, count))
            began_ns, count = call.began_ns, 0
        count += call.count
    moments.append((began_ns, count))
    return soonest_ns


def look_over_all(parts: Iterable[Part]) -> tuple[list[Moment], int]:
    """The moments and the soonest deadline of all calls of `parts`."""
    moments: list[Moment] = []
    return moments, min((look_over(part.calls, moments) for part in parts), default=NO_DEADLINE_NS)


def rest(part: Part, errors: Sequence[ServingError | None]) -> Part:
    """`part`, whose calls are spread, without those that have an error; those end with it."""
    for call, error in zip(part.calls, errors, strict=True):
        if error is not None:
            part.work.refuse((call,), error)
    kept = [at for at, error in enumerate(errors) if error is None]
    blocks = part.blocks if part.work.shared else [part.blocks[at] for at in kept]
    return Part(part.work, [part.calls[at] for at in kept], blocks)


def without_faults(batch: Batch) -> Batch | None:
    """`batch` without the calls whose rows may not be run; those are refused by name. None when none is left."""
    spread = [(part.spread(), batch.rows[at]) for part, at in batch.slices()]
    parts = [rest(part, _faults(part, rows)) for part, rows in spread]
    parts = [part for part in parts if part.calls]
    if not parts:
        return None
    return Batch(batch.lane, parts, *look_over_all(parts), batch.gathered_ns)


def _faults(part: Part, rows: Float32s) -> list[ServingError | None]:
    """For each call: what is wrong with its rows."""
    work = part.work
    blocks = rows.reshape(len(part.blocks), work.rows, rows.shape[1])
    faults = [None if all_taken(block, work.lane.model) else work.fault(block) for block in blocks]
    return faults * len(part.calls) if work.shared else faults


def all_finite(rows: Float32s) -> bool:
    """Whether there is neither a NaN nor an infinity in `rows`, without a warning for either."""
    return b"\0" not in np.isfinite(rows).tobytes()


def all_taken(rows: Float32s, model: Model) -> bool:
    """Whether `rows` hold no infinity, and NaN only in features that `model` takes one in."""
    wrong = np.isinf(rows) | (np.isnan(rows) & ~model.takes_nan)
    return not wrong.any()
