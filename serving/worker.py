"""One worker: one process, one loop, one port (design D14). `python -m serving.worker FD` is run by the supervisor.

Its life: it gets its setup by the pipe, listens, says Ready; then it carries out one order after the other until it is
told to drain, or gets SIGTERM. When its supervisor dies it serves on with what it last knew: features run out by their
time to live, and its kill socket still halts it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import uvloop

from features.clock import Clock, ReplayClock, SystemClock
from features.errors import RowError
from promotion.config import Environment
from promotion.errors import PromotionError
from promotion.home import Home
from serving.errors import PipeBroken, ScorerFailed
from serving.feature_table import FeatureTables
from serving.kill import KillSwitch, kill_socket
from serving.pipe import Ack, Ask, Assign, Drain, Order, Pipe, Push, Ready, Served, Setup, open_pipe, principals
from serving.recorder import RingRecorder
from serving.routes import Route, wanted_releases
from serving.row_keys import read_row_keys
from serving.runtime.backend import Model
from serving.runtime.engine import Engine
from serving.runtime.loader import load
from serving.scorer import Scorer
from serving.statistics import statistics
from serving.transport_grpcio import GrpcioTransport, grpcio_transport

LOG = logging.getLogger("signalbox.worker")


class Worker:
    """Carries out a supervisor's orders. Owned by `open_worker`."""

    def __init__(self, setup: Setup, home: Home, scorer: Scorer, recorder: RingRecorder) -> None:
        self.setup = setup
        self.scorer = scorer
        self.switch = KillSwitch(self._rebuild)
        self._home = home
        self._recorder = recorder
        self._models: dict[str, Model] = {}
        self._ordered: tuple[Served, ...] = ()
        self._failures: dict[str, str] = {}
        self._transport: GrpcioTransport | None = None

    def attach(self, transport: GrpcioTransport) -> None:
        """The transport whose health says what is served."""
        self._transport = transport

    async def carry_out(self, order: Order) -> Ack:
        """Does what `order` says and says what came of it."""
        match order:
            case Assign():
                return await self._assign(order)
            case Push():
                return self._push(order)
            case Ask():
                return Ack(statistics=statistics(self.scorer.counts, self.scorer.engine.counts))
            case _:
                return Ack()

    def _push(self, order: Push) -> Ack:
        taken = self.scorer.tables.take(order.rows)
        self.scorer.counts.rows_pushed += taken.accepted
        self.scorer.counts.rows_refused += len(taken.refused)
        if taken.accepted:
            self.scorer.rows_changed()
        return Ack(accepted=taken.accepted, refused=taken.refused)

    async def _assign(self, order: Assign) -> Ack:
        """Halts at once whatever is to be halted, loads what is missing, then swaps all routes in one assignment."""
        self._ordered = order.signals
        self._halt_now()
        known = principals(order.principals)
        wanted = tuple(dict.fromkeys(digest for each in order.signals for digest in wanted_releases(each)))
        refusals: dict[str, str] = {}
        for digest in wanted:
            if digest not in self._models:
                try:
                    self._models[digest] = await asyncio.to_thread(
                        load, self._home, digest, environment=self.setup.environment, principals=known
                    )
                except PromotionError as error:
                    refusals[digest] = str(error)
                    LOG.error("release %s is not served: %s", digest[:12], error)
        self._failures = {s.signal: refusals[s.live] for s in order.signals if s.live in refusals}
        self._rebuild()
        self._let_go(wanted)
        await self._say_health()
        gc.collect()
        gc.freeze()  # what is loaded now stays: the collector need not look at it again
        return Ack(failures=dict(self._failures))

    def _halt_now(self) -> None:
        halted = {each.signal: each for each in self._ordered if each.posture == "HALTED"}
        if halted:
            kept = {name: route for name, route in self.scorer.routes.items() if name not in halted}
            self.scorer.swap(kept | {name: self._route(each) for name, each in halted.items()})

    def _rebuild(self) -> None:
        routes = {each.signal: self._route(each) for each in self._ordered}
        self._recorder.prepare(routes.values())
        self.scorer.swap(routes)
        self.scorer.counts.swaps += 1

    def _route(self, served: Served) -> Route:
        universe = self.setup.universes.get(served.signal, ())
        models = {digest: self._models[digest] for digest in wanted_releases(served) if digest in self._models}
        reason = self.switch.reason(served.signal) or self._failures.get(served.signal, "") or served.reason
        places: dict[bytes, dict[str, int]] = {}
        try:
            for model in models.values():
                table = self.scorer.tables.table(model.feature_set_id, model.columns)
                places[model.feature_set_id] = dict(zip(universe, table.slots(universe).tolist(), strict=True))
        except RowError as error:
            models, reason = {}, str(error)
        return Route(
            signal=served.signal,
            generation=served.generation,
            posture="HALTED" if reason else served.posture,
            weight=served.weight,
            live=served.live,
            models=models,
            universe=universe,
            places=places,
            reason=reason,
        )

    def _let_go(self, wanted: Iterable[str]) -> None:
        for digest in set(self._models) - set(wanted):
            del self._models[digest]
            self.scorer.engine.forget(digest)

    async def _say_health(self) -> None:
        """SERVING means: what the ledger has live is loaded and proven here, signal by signal and as a whole."""
        if self._transport is None:
            return
        for each in self._ordered:
            await self._transport.set_serving(each.signal, each.signal not in self._failures)
        await self._transport.set_serving("", not self._failures)


@asynccontextmanager
async def open_worker(setup: Setup) -> AsyncIterator[tuple[Worker, GrpcioTransport]]:
    """A worker that listens. Raises ScorerFailed when it cannot: no address, no keys, no kill socket."""
    home = Home(Path(setup.root))
    clock = worker_clock(setup.environment)
    async with AsyncExitStack() as owned:
        recorder = owned.enter_context(RingRecorder(home, setup.worker, clock))
        tables = FeatureTables(await asyncio.to_thread(read_row_keys, home), clock)
        scorer = Scorer(Engine(), tables, recorder=recorder)
        worker = Worker(setup, home, scorer, recorder)
        transport = await owned.enter_async_context(grpcio_transport(scorer, host=setup.host, port=setup.port))
        await owned.enter_async_context(kill_socket(home, setup.worker, worker.switch))
        worker.attach(transport)
        yield worker, transport


def worker_clock(environment: Environment) -> Clock:
    """What "now" is: the rows' own time in a replay, the machine's elsewhere (design D13)."""
    return ReplayClock(environment) if environment == "replay" else SystemClock()


async def run_worker(pipe: Pipe, stop: asyncio.Event) -> None:
    """A worker's whole life, over `pipe`, until it is told to drain or `stop` is set."""
    setup = await pipe.order()
    if not isinstance(setup, Setup):
        raise PipeBroken(f"expected a Setup as the first order, found {type(setup).__name__}")
    try:
        async with open_worker(setup) as (worker, transport):
            pipe.send(Ready(address=transport.address))
            orders = asyncio.ensure_future(_carry_out_orders(worker, pipe, stop))
            await stop.wait()
            orders.cancel()
            await transport.drain(setup.grace_seconds)
    except ScorerFailed as error:
        pipe.send(Ready(error=str(error)))
        await pipe.flush()


async def _carry_out_orders(worker: Worker, pipe: Pipe, stop: asyncio.Event) -> None:
    try:
        while not stop.is_set():
            order = await pipe.order()
            pipe.send(await worker.carry_out(order))
            if isinstance(order, Drain):
                stop.set()
    except PipeBroken:
        LOG.warning("worker %d: the supervisor is gone; serving on with what it said last", worker.setup.worker)


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the supervisor's to handle
    uvloop.run(_main(int(sys.argv[1])))
