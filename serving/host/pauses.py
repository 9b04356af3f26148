"""What keeps a worker's loop from its callers, measured: the garbage collector, and turns that take long.

with watched_pauses() as pauses:
    ...
    pauses.collections.counts   # stops by the collector, by how long they took
    pauses.lags.counts          # how late a timer of 50 ms was called
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager

from serving.runtime.counts import Histogram

LAG_NS = 50_000_000  # how often the loop is looked at


class Pauses:
    """The pauses of this process. Owned by `watched_pauses`.

    collections: runs of the garbage collector, from start to end, every other Python thread standing still. lags: how
    late the loop called a timer; its timers count in whole milliseconds, so less than one says nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.collections = Histogram()
        self.lags = Histogram()
        self._loop = loop
        self._began_ns = 0
        self._due_ns = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Measures from now on."""
        gc.callbacks.append(self._collecting)
        self._wait()

    def stop(self) -> None:
        """Measures no more."""
        gc.callbacks.remove(self._collecting)
        if self._timer is not None:
            self._timer.cancel()

    def _collecting(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began_ns = time.perf_counter_ns()
        else:
            self.collections.observe(time.perf_counter_ns() - self._began_ns)

    def _wait(self) -> None:
        self._due_ns = time.monotonic_ns() + LAG_NS
        self._timer = self._loop.call_later(LAG_NS / 1e9, self._called)

    def _called(self) -> None:
        self.lags.observe(max(0, time.monotonic_ns() - self._due_ns))
        self._wait()


@contextmanager
def watched_pauses() -> Iterator[Pauses]:
    """The pauses of the running loop, measured until the block is left."""
    pauses = Pauses(asyncio.get_running_loop())
    pauses.start()
    try:
        yield pauses
    finally:
        pauses.stop()


@contextmanager
def busy_polling() -> Iterator[None]:
    """The running loop never sleeps: it looks for what has come without end, and takes a whole core (design D2)."""
    loop = asyncio.get_running_loop()
    polling = True

    def again() -> None:
        if polling:
            loop.call_soon(again)

    again()
    try:
        yield
    finally:
        polling = False
