"""Rows that shadow releases score after the live one has: when nobody waits, in small runs, and shed first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from serving.errors import ServingError
from serving.runtime.lane import Lane

Float32s = npt.NDArray[np.float32]
Scored = Callable[[int, Float32s, Float32s], None]  # place of the first row, rows [n, feature], their scores [n]

MAX_SHADOW_ROWS = 16_384  # in waiting; more are shed
SLICE_NS = 200_000  # what a run may hold the loop: a live call that comes meanwhile waits no longer


class Host(Protocol):
    """The engine, as its shadow work sees it."""

    @property
    def busy(self) -> bool:
        """Whether live calls wait."""
        ...

    def run(self, lane: Lane, rows: Float32s, then: Callable[[Float32s | ServingError], None]) -> None:
        """Runs the lane's model, in a thread where that would hold the loop for long. then: gets the scores."""
        ...

    def soon(self, turn: Callable[[], None]) -> None:
        """Has `turn` called in the next turn of the loop."""
        ...

    def now_ns(self) -> int:
        """The monotonic clock."""
        ...


class _Offer(NamedTuple):
    lane: Lane
    start: int
    rows: Float32s
    scored: Scored


class Shadows:
    """One worker's shadow work. Lives as long as its engine.

    A turn of the loop without live calls runs one slice of what waits. scored, failed: rows. shed: rows that were not
    scored because too many waited, or by the release's allowance.
    """

    def __init__(self, host: Host, *, max_rows: int = MAX_SHADOW_ROWS, slice_ns: int = SLICE_NS) -> None:
        self.scored = 0
        self.failed = 0
        self.shed = 0
        self.waiting = 0  # rows
        self.running = 0  # likewise
        self._host = host
        self._max_rows = max_rows
        self._slice_ns = slice_ns
        self._offers: deque[_Offer] = deque()

    def offer(self, lane: Lane, rows: Float32s, scored: Scored) -> None:
        """Has the lane's model score `rows`, float32 [n, feature], some time soon, or sheds them.

        scored: called slice by slice.
        """
        too_many = self.waiting + len(rows) > self._max_rows
        if too_many or not lane.model.allowance.take(len(rows), self._host.now_ns()):
            self.shed += len(rows)
            return
        if not self._offers and not self.running:
            self._host.soon(self._turn)
        self._offers.append(_Offer(lane, 0, rows, scored))
        self.waiting += len(rows)

    def _turn(self) -> None:
        if self._host.busy:
            self._host.soon(self._turn)
        else:
            self._run_slice()

    def _run_slice(self) -> None:
        lane, start, rows, scored = self._offers.popleft()
        size = self._slice_rows(lane, len(rows))
        if size < len(rows):
            self._offers.appendleft(_Offer(lane, start + size, rows[size:], scored))
        self.waiting -= size
        self.running = size
        self._host.run(lane, rows[:size], partial(self._ran, start, rows[:size], scored))

    def _ran(self, start: int, rows: Float32s, scored: Scored, outcome: Float32s | ServingError) -> None:
        self.running = 0
        if self._offers:
            self._host.soon(self._turn)
        if isinstance(outcome, ServingError):
            self.failed += len(rows)
        else:
            self.scored += len(rows)
            scored(start, rows, outcome)

    def _slice_rows(self, lane: Lane, most: int) -> int:
        """As many rows as a slice has time for: a power of two, as costs are learnt, or all of them."""
        size = most
        while size > 1 and lane.cost.expected_ns(size) > self._slice_ns:
            size = 1 << (size - 1).bit_length() - 1
        return size
