"""One worker: one process, one loop, one port (design D14). The supervisor runs `python -m serving.host.worker FD`.

Its life: it gets its setup by the pipe and says Ready; then it carries out one order after the other, takes calls from
`Open` on, and ends when it is told to drain, or gets SIGTERM. When its supervisor dies it serves on with what it last
knew: features run out by their time to live, and its kill socket still halts it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
import uvloop

from features.clock import Clock, ReplayClock, SystemClock
from features.errors import RowError
from promotion.config import Environment
from promotion.errors import PromotionError
from promotion.home import Home
from promotion.identity import Principal
from serving.errors import PipeBroken, ScorerFailed
from serving.feature_table import FeatureTables, Refusal
from serving.feed.row_feed import NoFeed, RowFeed
from serving.feed.row_keys import read_row_keys
from serving.handlers.health import HealthBook
from serving.handlers.routes import Route, more_careful, wanted_releases
from serving.handlers.scorer import Scorer
from serving.handlers.table import data_plane
from serving.host.kill import KillSwitch, kill_socket
from serving.host.pauses import Pauses, busy_polling, watched_pauses
from serving.host.pipe import Ack, Ask, Assign, Drain, Open, Pipe, Push, Ready, Served, Setup, open_pipe, principals
from serving.host.process import allow_connections, keep_freed_memory
from serving.host.scratch_model import load_scratch
from serving.host.transports import Transport, open_transport
from serving.recorder import RingRecorder
from serving.runtime.backend import Model
from serving.runtime.engine import Engine
from serving.runtime.loader import load
from serving.statistics import stage, worker_statistics
from serving.transport.statistics import TransportStatistics

LOG = logging.getLogger("signalbox.worker")

_SLICE_ROWS = 64  # rows taken before other work gets its turn: about half a millisecond


class Worker:
    """Carries out a supervisor's orders. Owned by `open_worker`."""

    def __init__(self, setup: Setup, home: Home, tables: FeatureTables, recorder: RingRecorder, pauses: Pauses) -> None:
        self.setup = setup
        self.scorer = Scorer(Engine(), tables, recorder=recorder)
        self.health = HealthBook()
        self.switch = KillSwitch(self._rebuild)
        self._home = home
        self._recorder = recorder
        self._pauses = pauses
        self._models: dict[str, Model] = {}
        self._refused: dict[str, str] = {}  # releases that could not be loaded, and why
        self._ordered: tuple[Served, ...] = ()
        self._loading = asyncio.Lock()
        self._transport: Transport | None = None
        self._feed: RowFeed = NoFeed()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if self.setup.redis is not None:
            from serving.feed.redis_reader import open_redis_feed  # 24 MiB that a worker without Redis does without

            login = partial(self.setup.redis.reader, self._home.root)
            feed = open_redis_feed(self.scorer.tables, login, changed=self.scorer.rows_changed)
            self._feed = await self._open.enter_async_context(feed)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._open.aclose()

    async def open(self) -> Ack:
        """Takes calls from now on, once what was ordered before is in place."""
        async with self._loading:
            try:
                await self._open.enter_async_context(kill_socket(self._home, self.setup.worker, self.switch))
                methods = data_plane(self.scorer, self.health)
                self._transport = await self._open.enter_async_context(open_transport(self.setup, methods))
                self.scorer.engine.turn = self._transport.outbox  # what a turn answers leaves in one write
            except ScorerFailed as error:
                return Ack(error=str(error))
        return Ack()

    async def drain(self) -> None:
        """Says NOT_SERVING, takes no more calls, and ends when those taken are answered or the grace is over."""
        self.health.shutdown()
        if self._transport is not None:
            await self._transport.drain(self.setup.grace_seconds, self.scorer.drain)

    async def push(self, order: Push) -> Ack:
        """Takes rows in slices, so that requests are answered in between."""
        accepted, refused = 0, []
        for start in range(0, len(order.rows), _SLICE_ROWS):
            taken = self.scorer.tables.take(order.rows[start : start + _SLICE_ROWS])
            accepted += taken.accepted
            refused += [Refusal(start + each.index, each.reason) for each in taken.refused]
            if start + _SLICE_ROWS < len(order.rows):
                await asyncio.sleep(0)
        self.scorer.counts.rows_pushed += accepted
        self.scorer.counts.rows_refused += len(refused)
        if accepted:
            self.scorer.rows_changed()
        return Ack(accepted=accepted, refused=tuple(refused))

    def assign_at_once(self, order: Assign) -> None:
        """Serves `order` as far as that needs no release that is not loaded: a halt or a cut waits for nothing."""
        self._ordered = order.signals
        self._refused.clear()
        self._rebuild()

    async def assign(self, order: Assign) -> Ack:
        """Loads what the newest order is missing, then serves it. Other calls are answered meanwhile."""
        known = principals(order.principals)
        async with self._loading:
            for digest in self._wanted():
                if digest not in self._models:
                    await self._load(digest, known)
            await self._feed.follow({model.feature_set_id for model in self._wanted_models()})
            self._rebuild()
            self._let_go()
            self._say_health()
            gc.collect()
            gc.freeze()  # what is loaded now stays: the collector need not look at it again
        return Ack(failures=self._failures())

    def statistics(self) -> Ack:
        """What was done so far."""
        said = worker_statistics(self.scorer.counts, self.scorer.engine, self._feed.statistics())
        network = TransportStatistics() if self._transport is None else self._transport.statistics()
        more = msgspec.structs.replace(
            said,
            collections=stage(self._pauses.collections),
            lags=stage(self._pauses.lags),
            ring_records=self._recorder.written,
            ring_overwritten=self._recorder.overwritten,
            connections=network.connections,
            connections_accepted=network.accepted,
            limits=network.refused,
        )
        return Ack(statistics=more)

    async def _load(self, digest: str, known: Mapping[str, Principal]) -> None:
        try:
            model = await asyncio.to_thread(self._read, digest, known)
            self.scorer.tables.table(model.feature_set_id, model.columns)
            self._recorder.prepare([model])
        except (PromotionError, RowError) as error:
            self._refused[digest] = str(error)
            LOG.error("release %s is not served: %s", digest[:12], error)
        else:
            self._models[digest] = model

    def _read(self, digest: str, known: Mapping[str, Principal]) -> Model:
        if self.setup.scratch:
            return load_scratch(self._home, digest)
        return load(self._home, digest, environment=self.setup.environment, principals=known)

    def _rebuild(self) -> None:
        """Every route anew, in one assignment."""
        self.scorer.swap({each.signal: self._route(each) for each in self._ordered})

    def _route(self, served: Served) -> Route:
        """What `served` is to be; while its release is being loaded, what was before: no heavier, no less careful."""
        reason = self.switch.reason(served.signal) or self._refused.get(served.live or "", "") or served.reason
        before = self.scorer.routes.get(served.signal)
        loading = not (reason or served.posture == "HALTED" or served.live is None or served.live in self._models)
        if loading and before is not None:
            posture = more_careful(before.posture, served.posture)
            return replace(before, posture=posture, weight=min(before.weight, served.weight))
        if loading:
            reason = "its release is being loaded"
        models = {digest: self._models[digest] for digest in wanted_releases(served) if digest in self._models}
        universe = self.setup.universes.get(served.signal, ())
        return Route(
            signal=served.signal,
            generation=served.generation,
            posture="HALTED" if reason else served.posture,
            weight=served.weight,
            live=served.live,
            models=models,
            universe=universe,
            places={model.feature_set_id: self._places(model, universe) for model in models.values()},
            reason=reason,
            shadow=served.shadow,
        )

    def _places(self, model: Model, universe: tuple[str, ...]) -> dict[str, int]:
        table = self.scorer.tables.table(model.feature_set_id, model.columns)
        return dict(zip(universe, table.slots(universe).tolist(), strict=True))

    def _wanted(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(digest for each in self._ordered for digest in wanted_releases(each)))

    def _wanted_models(self) -> list[Model]:
        return [self._models[digest] for digest in self._wanted() if digest in self._models]

    def _let_go(self) -> None:
        for digest in set(self._models) - set(self._wanted()):
            del self._models[digest]
            self.scorer.engine.forget(digest)

    def _failures(self) -> dict[str, str]:
        return {each.signal: self._refused[each.live] for each in self._ordered if each.live in self._refused}

    def _say_health(self) -> None:
        """SERVING means: what the ledger has live is loaded and proven here, signal by signal and as a whole."""
        waiting = self._failures().keys() | {each.signal for each in self._ordered if each.proving}
        for each in self._ordered:
            self.health.set_serving(each.signal, each.signal not in waiting)
        self.health.set_serving("", not waiting)


@asynccontextmanager
async def open_worker(setup: Setup) -> AsyncIterator[Worker]:
    """A worker that takes orders. ScorerFailed when it cannot: no keys, no such core."""
    home = Home(Path(setup.root))
    allow_connections(setup.limits.connections)
    if setup.core is not None:
        os.sched_setaffinity(0, {setup.core})
    async with AsyncExitStack() as owned:
        tables = FeatureTables(await asyncio.to_thread(read_row_keys, home), worker_clock(setup.environment))
        instruments = (name for universe in setup.universes.values() for name in universe)
        recorder = owned.enter_context(RingRecorder(home, setup.worker, tables, instruments))
        pauses = owned.enter_context(watched_pauses())
        if setup.busy_poll:
            owned.enter_context(busy_polling())
        yield await owned.enter_async_context(Worker(setup, home, tables, recorder, pauses))


def worker_clock(environment: Environment) -> Clock:
    """What "now" is: the rows' own time in a replay, the machine's elsewhere (design D13)."""
    return ReplayClock(environment) if environment == "replay" else SystemClock()


async def run_worker(pipe: Pipe, stop: asyncio.Event) -> None:
    """A worker's whole life, over `pipe`, until it is told to drain or `stop` is set."""
    _, setup = await pipe.order()
    if not isinstance(setup, Setup):
        raise PipeBroken(f"expected a Setup as the first order, found {type(setup).__name__}")
    try:
        async with open_worker(setup) as worker, asyncio.TaskGroup() as tasks:
            pipe.send(0, Ready())
            orders = tasks.create_task(_carry_out_orders(worker, pipe, stop))
            await stop.wait()
            await worker.drain()
            orders.cancel()
    except ScorerFailed as error:
        pipe.send(0, Ready(error=str(error)))
        await pipe.flush()


async def _carry_out_orders(worker: Worker, pipe: Pipe, stop: asyncio.Event) -> None:
    """Until it is cancelled, through the drain too: a halt counts for as long as there are answers."""
    async with asyncio.TaskGroup() as tasks:
        try:
            while True:
                number, order = await pipe.order()
                match order:
                    case Push():
                        pipe.send(number, await worker.push(order))
                    case Assign():
                        worker.assign_at_once(order)
                        tasks.create_task(_answer(pipe, number, worker.assign(order)))
                    case Open():
                        tasks.create_task(_answer(pipe, number, worker.open()))
                    case Ask():
                        pipe.send(number, worker.statistics())
                    case Drain():
                        stop.set()
        except PipeBroken:
            LOG.warning("worker %d: the supervisor is gone; serving on with what it said last", worker.setup.worker)
            if worker.setup.scratch:
                stop.set()  # nobody's capital follows it: it goes with whoever tried it out


async def _answer(pipe: Pipe, number: int, work: Coroutine[None, None, Ack]) -> None:
    ack = await work
    with suppress(PipeBroken):  # a supervisor that went meanwhile needs no answer
        pipe.send(number, ack)


async def _main(descriptor: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    pipe = await open_pipe(socket.socket(fileno=descriptor))
    try:
        await run_worker(pipe, stop)
    finally:
        pipe.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal's Ctrl-C or end is the supervisor's to handle
        signal.signal(number, signal.SIG_IGN)
    keep_freed_memory()
    uvloop.run(_main(int(sys.argv[1])))
