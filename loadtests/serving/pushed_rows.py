"""From a pushed row to an answer that shows it (02.13), by Push and through Redis.

Question: how long after a publisher begins to send a row does the worker answer with it? Method: a home with one
release of the 100-tree model, `signalbox serve` with one worker on core 0, native transport; on core 1 the publisher, a
redis-server (Unix socket, nothing written to disk) and a client that asks for one instrument's score again and again,
one call in flight (`loadtests.clients.row_watcher`). A row of that instrument with the next sequence is sent every 5
ms, or when the last send has returned, whether or not the last row has been seen. Rows are encoded and signed before
the round. A row's clock starts before its send and stops when the client has a reply with its sequence and its score.
So the wait for the client's next question, the model's run and the reply's way are in it. By Push also until the
control plane has acknowledged, which it does once every worker can read the row. A row that no reply showed, because a
newer one came first, counts until that one's. Both ways in each round, which is taken once more, and the quieter kept,
when somebody else used more than 5 % of the two cores; p99 of each round, median over the rounds.

Limits: one machine, so Redis' way is a socket and no network, and all clocks are one (the system's); one worker;
the publisher is the blocking client that `signalbox publish` uses, and shares its core with the asking client.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from features.redis_feed import RedisSender
from features.redis_server import RedisServer
from loadtests.harness.homes import home_of
from loadtests.harness.model import make_rows
from loadtests.harness.processes import busy_seconds, cpu_ns
from loadtests.harness.progress import say
from loadtests.harness.redis_process import RedisProcess, redis_process
from loadtests.harness.results import Row
from loadtests.harness.rounds import QUIET
from loadtests.harness.scorers import Options, home
from loadtests.harness.servers import CLIENT_CORE, SERVER_CORE, Server, pinned, running
from loadtests.harness.small_home import SmallHome
from loadtests.serving.bars import row
from protos.client import ControlClient
from signalbox.publishing import Sender

Int64s = npt.NDArray[np.int64]
Way = Callable[[], AbstractContextManager[Sender]]

ROUNDS = 5
ROWS = 1000
WARM_ROWS = 100
EVERY_NS = 5_000_000
PUSH_MS, REDIS_MS = 1.0, 5.0
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, eq=False)
class Round:
    """One round of one way, int64 [row] each, nanoseconds from before a row's send: until the send returned, until a
    reply showed the row. others: the share of the two cores that somebody else used meanwhile.
    """

    returned: Int64s
    seen: Int64s
    others: float


def rows(rounds: int = ROUNDS, count: int = ROWS) -> list[Row]:
    """Every row of this module."""
    pushed, through_redis = [], []
    with _bench(count) as bench:
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}: rows by Push and through Redis")
            pushed.append(bench.quietest(bench.by_push))
            through_redis.append(bench.quietest(bench.by_redis))
    seen = "until an answer to a client shows it"
    return [
        _row("02.13a", f"by Push {seen}", pushed, [each.seen for each in pushed], PUSH_MS),
        _row("02.13b", "by Push until all is acknowledged", pushed, [each.returned for each in pushed], PUSH_MS),
        _row("02.13c", f"through Redis {seen}", through_redis, [each.seen for each in through_redis], REDIS_MS),
    ]


class _Bench:
    """A scorer, a Redis, and a publisher of one instrument's rows, whose sequence rises over all rounds."""

    def __init__(self, small: SmallHome, redis: RedisProcess, server: Server, count: int) -> None:
        self.small = small
        self.redis = redis
        self._server = server
        self._values = make_rows(WARM_ROWS + count)
        self._sequence = 0

    def by_push(self) -> AbstractContextManager[Sender]:
        """To the scorer's control socket."""
        return ControlClient(f"unix:{self.small.home.control_socket}")

    def by_redis(self) -> AbstractContextManager[Sender]:
        """To Redis."""
        return RedisSender(RedisServer(self.redis.url))

    def quietest(self, way: Way) -> Round:
        """A round; the quieter of two when somebody else was busy. ServerFailed when a row does not arrive."""
        first = self._take(way)
        return first if first.others <= QUIET else min(first, self._take(way), key=lambda taken: taken.others)

    def _take(self, way: Way) -> Round:
        clock, busy, ours = time.monotonic(), self._busy(), self._ours()
        sent, returned, seen = (times[WARM_ROWS:] for times in self._measure(way))
        seconds, ours = time.monotonic() - clock, self._ours() - ours
        others = max(self._busy() - busy - ours, 0.0) / (2 * seconds)
        return Round(returned - sent, seen - sent, others)

    def _measure(self, way: Way) -> tuple[Int64s, Int64s, Int64s]:
        """When each row's send began, when it returned, and when a reply showed the row."""
        first = self._sequence + 1
        self._sequence += len(self._values)
        batches = self._batches(first)
        with way() as sender, self._watching(first, self._sequence) as watcher:
            sent, returned = _send_all(sender, batches)
            try:
                watcher.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired as error:
                raise self._server.failed(f"expected sequence {self._sequence} in a reply, found none") from error
            assert watcher.stdout is not None
            return sent, returned, np.array(json.load(watcher.stdout), np.int64)

    @contextmanager
    def _watching(self, first: int, last: int) -> Iterator[subprocess.Popen[bytes]]:
        """A client that is asking already; it ends when it has seen sequence `last`, and has then said when."""
        asked = (self._server.address, self.small.universe[0], str(first), str(last))
        command = pinned(CLIENT_CORE, sys.executable, "-m", "loadtests.clients.row_watcher", *asked)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - a module of ours
            assert process.stdout is not None
            process.stdout.readline()
            try:
                yield process
            finally:
                process.kill()

    def _batches(self, first: int) -> list[list[bytes]]:
        """A batch of one signed row for each sequence of a round, known from now on, a nanosecond apart."""
        now_ns = time.time_ns()
        return [
            self.small.rows(self._values[at : at + 1], sequence=first + at, known_ns=now_ns + at)
            for at in range(len(self._values))
        ]

    def _busy(self) -> float:
        return busy_seconds(SERVER_CORE, CLIENT_CORE)

    def _ours(self) -> float:
        """Seconds of CPU that this bench's processes have used so far; of the clients, those that have ended."""
        spent = os.times()
        children = spent.children_user + spent.children_system
        return (cpu_ns(self._server.process.pid) + cpu_ns(self.redis.pid) + time.process_time_ns()) / 1e9 + children


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


def _send_all(sender: Sender, batches: Sequence[list[bytes]]) -> tuple[Int64s, Int64s]:
    """When each send began, and when it returned, UTC nanoseconds."""
    sent, returned = np.zeros(len(batches), np.int64), np.zeros(len(batches), np.int64)
    start = time.time_ns() + EVERY_NS
    for at, batch in enumerate(batches):
        time.sleep(max(0, start + at * EVERY_NS - time.time_ns()) / 1e9)
        sent[at] = time.time_ns()
        taken = sender.push(batch)
        returned[at] = time.time_ns()
        if taken.refused:
            raise ValueError(f"rows: expected every row taken, found one refused: {taken.refused[0][1]}")
    return sent, returned


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
