"""From a pushed row to an answer that shows it (02.13), by Push and through Redis.

Question: how long after a publisher begins to send a row does the worker answer with it? Method: a home with one
release of the 100-tree model, `signalbox serve` with one worker on core 0, native transport; publisher, subscriber and
redis-server (Unix socket, nothing written to disk) on core 1. The subscriber holds a `Subscribe` of one instrument; a
row of it with the next sequence is sent every 5 ms, or when the last send has returned, whether or not the last row has
been seen. Each row is encoded and signed before its clock starts, which is before the send. It stops three times:
when the worker has scored the row for the subscriber (by the worker's own ring: then it was readable), when the client
has read the reply with the row's sequence, and by Push when the control plane has acknowledged, which it does once
every worker can read the row. The last two have the way back and the client's own work in them. A row that was never
scored, because a newer one came first, counts until that one. Both ways in each round, which is taken once more, and
the quieter kept, when somebody else used more than 5 % of the two cores; p99 of each round, median over the rounds.

Limits: one machine, so Redis' way is a socket and no network, and all clocks are one (the system's); one worker;
grpcio's asyncio client sends and reads.
"""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from features.redis_feed import AsyncRedisSender
from features.redis_server import RedisServer
from loadtests.bars import row
from loadtests.homes import home_of
from loadtests.model import make_rows
from loadtests.processes import busy_seconds, cpu_ns
from loadtests.progress import say
from loadtests.redis_process import RedisProcess, redis_process
from loadtests.results import Row
from loadtests.rounds import QUIET
from loadtests.scorers import Options, home
from loadtests.servers import CLIENT_CORE, SERVER_CORE, Server, running
from loadtests.small_home import SIGNAL, SmallHome
from promotion.record import RingReader
from protos.client import AsyncClient, AsyncControlClient
from protos.score import OK

Int64s = npt.NDArray[np.int64]
Send = Callable[[Sequence[bytes]], Awaitable[None]]
Way = Callable[[], AbstractAsyncContextManager[Send]]

ROUNDS = 5
ROWS = 1000
WARM_ROWS = 100
EVERY_NS = 5_000_000
PUSH_MS, REDIS_MS = 1.0, 5.0
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, eq=False)
class Round:
    """One round of one way, int64 [row] each, nanoseconds from before a row's send: until the send returned, until the
    worker had scored the row, until a reply showed it. others: the share of the two cores that somebody else used
    meanwhile.
    """

    acknowledged: Int64s
    scored: Int64s
    seen: Int64s
    others: float


def rows(rounds: int = ROUNDS, count: int = ROWS) -> list[Row]:
    """Every row of this module."""
    pushed, through_redis = [], []
    with _bench(count) as bench:
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}: rows by Push and through Redis")
            pushed.append(bench.quietest(partial(_by_push, bench.small)))
            through_redis.append(bench.quietest(partial(_by_redis, bench.redis.url)))
    scored, seen = "until the worker has scored it", "until a Subscribe reply shows it"
    return [
        _row("02.13a", f"by Push {scored}", pushed, [r.scored for r in pushed], PUSH_MS),
        _row("02.13b", "by Push until every worker acknowledged", pushed, [r.acknowledged for r in pushed], PUSH_MS),
        _row("02.13c", f"by Push {seen}", pushed, [r.seen for r in pushed], PUSH_MS),
        _row("02.13d", f"through Redis {scored}", through_redis, [r.scored for r in through_redis], REDIS_MS),
        _row("02.13e", f"through Redis {seen}", through_redis, [r.seen for r in through_redis], REDIS_MS),
    ]


class _Bench:
    """A scorer, a Redis, and a publisher of one instrument's rows, whose sequence rises over all rounds."""

    def __init__(self, small: SmallHome, redis: RedisProcess, server: Server, count: int) -> None:
        self.small = small
        self.redis = redis
        self._server = server
        self._values = make_rows(WARM_ROWS + count)
        self._sequence = 0

    def quietest(self, way: Way) -> Round:
        """A round; the quieter of two when somebody else was busy. ServerFailed when a row does not arrive."""
        first = self._take(way)
        return first if first.others <= QUIET else min(first, self._take(way), key=lambda taken: taken.others)

    def _take(self, way: Way) -> Round:
        clock, busy, ours = time.monotonic(), self._busy(), self._ours()
        known, sent, acknowledged, seen = asyncio.run(self._measure(way))
        seconds, ours = time.monotonic() - clock, self._ours() - ours
        others = max(self._busy() - busy - ours, 0.0) / (2 * seconds)
        acknowledged, scored, seen = ((end - sent)[WARM_ROWS:] for end in (acknowledged, self._scored(known), seen))
        return Round(acknowledged, scored, seen, others)

    def _scored(self, known: Int64s) -> Int64s:
        """When the worker had scored each row, or the next that it scored, UTC nanoseconds. known: their identity."""
        (path,) = self.small.home.ring(0, "0" * 64).parent.glob("0-*.ring")
        with RingReader(path) as ring:
            records = ring.read().records
        scored: Int64s = records["scored_at_ns"][np.searchsorted(records["knowledge_time_ns"], known)]
        return scored

    async def _measure(self, way: Way) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        """When each row was known, when its send began, when it returned, and when a reply showed the row."""
        first, seen = self._sequence + 1, np.zeros(len(self._values), np.int64)
        self._sequence += len(seen)
        async with way() as send, AsyncClient(self._server.address) as scorer:
            watching = asyncio.create_task(_watch(scorer, self.small.universe[0], first, seen))
            try:
                known, sent, acknowledged = await self._send(send, first)
                await asyncio.wait_for(watching, _PATIENCE_SECONDS)
            except TimeoutError as error:
                raise self._server.failed(f"expected sequence {self._sequence} in a reply, found none") from error
            finally:
                watching.cancel()
        return known, sent, acknowledged, seen

    async def _send(self, send: Send, first: int) -> tuple[Int64s, Int64s, Int64s]:
        total = len(self._values)
        known, sent, acknowledged = (np.zeros(total, np.int64) for _ in range(3))
        start = time.time_ns() + EVERY_NS
        for at in range(total):
            known[at] = time.time_ns()
            batch = self.small.rows(self._values[at : at + 1], sequence=first + at, known_ns=int(known[at]))
            await asyncio.sleep((start + at * EVERY_NS - time.time_ns()) / 1e9)
            sent[at] = time.time_ns()
            await send(batch)
            acknowledged[at] = time.time_ns()
        return known, sent, acknowledged

    def _busy(self) -> float:
        return busy_seconds(SERVER_CORE, CLIENT_CORE)

    def _ours(self) -> float:
        """Seconds of CPU that this bench's processes have used so far."""
        return (cpu_ns(self._server.process.pid) + cpu_ns(self.redis.pid) + time.process_time_ns()) / 1e9


@contextmanager
def _bench(count: int) -> Iterator[_Bench]:
    with (
        _on_core(CLIENT_CORE),
        tempfile.TemporaryDirectory(prefix="redis-") as folder,
        redis_process(Path(folder)) as redis,
        home_of(["m100"], instruments=1) as small,
    ):
        with small.home.config.open("a") as config:
            config.write(f'\n[redis]\nurl = "{redis.url}"\n')
        with running(home(small.home.root, Options())) as server:
            yield _Bench(small, redis, server, count)


async def _watch(scorer: AsyncClient, instrument: str, first: int, seen: Int64s) -> None:
    """Notes when a reply first shows each sequence from `first` on, or one above it; ends with the last."""
    shown = 0
    async for score in scorer.subscribe(SIGNAL, [instrument]):
        now = time.time_ns()
        upto = int(score.row_sequences[0]) - first + 1
        if upto > shown and score.status[0] == OK:
            seen[shown:upto] = now
            shown = upto
        if shown == len(seen):
            return


@asynccontextmanager
async def _by_push(small: SmallHome) -> AsyncIterator[Send]:
    async with AsyncControlClient(f"unix:{small.home.control_socket}") as control:

        async def send(batch: Sequence[bytes]) -> None:
            _check((await control.push(batch)).refused)

        yield send


@asynccontextmanager
async def _by_redis(url: str) -> AsyncIterator[Send]:
    async with AsyncRedisSender(RedisServer(url)) as sender:

        async def send(batch: Sequence[bytes]) -> None:
            _check((await sender.push(batch)).refused)

        yield send


def _check(refused: Sequence[tuple[int, str]]) -> None:
    if refused:
        raise ValueError(f"rows: expected every row taken, found one refused: {refused[0][1]}")


@contextmanager
def _on_core(core: int) -> Iterator[None]:
    """This thread, and what it starts, on `core` alone, and no collector's pauses in its clocks."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        os.sched_setaffinity(0, before)


def _row(row_id: str, what: str, rounds: Sequence[Round], times: Sequence[Int64s], most_ms: float) -> Row:
    """The median over the rounds of their p99; in brackets the range of these, and the median of all times."""
    p99 = [float(np.percentile(each, 99)) / 1e6 for each in times]
    p50 = float(np.median(np.concatenate(times))) / 1e6
    others = max(each.others for each in rounds)
    busy = f"; others used up to {others:.0%} of the two cores meanwhile" if others > QUIET else ""
    words = f"a row {what}, p99 ({min(p99):.2f} to {max(p99):.2f}; p50 {p50:.2f} ms){busy}"
    return row(row_id, words, median(p99), "ms", ok=median(p99) <= most_ms)
