"""`signalbox serve`: one supervisor per host and its workers (design D14).

    async with serve(home, config, listen="127.0.0.1:8500", workers=2) as supervisor:
        ...  # supervisor.addresses answer Score; supervisor.control answers Push, Sync, Halt, ...

The supervisor alone follows the ledger, keeps the newest rows, latches a halt, and fans all of it out to its workers
by pipe; what it is told is acknowledged when every live worker has acknowledged it. A worker that dies is started
again at the same address with everything the supervisor knows. Without a readable ledger every signal starts HALTED;
on a broken chain nothing starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from promotion.config import Config
from promotion.errors import BrokenChain, LedgerUnreadable, PromotionError
from promotion.home import Home
from promotion.ledger.state import LedgerState
from serving.host.assignment import Assignment
from serving.host.control import control_server
from serving.errors import GenerationBehind, ListenRefused, PushRefused, ServingError
from serving.feature_table import FeatureTables, Taken
from serving.host.fleet import Fleet, open_fleet
from serving.host.follower import LedgerFollower
from serving.host.kill import EVERY
from serving.metrics import metrics_page, render
from serving.host.pipe import Ask, Message, Push, Served, Setup
from serving.feed.row_book import RowBook
from serving.feed.row_keys import read_row_keys
from serving.statistics import WorkerStatistics
from serving.host.worker import worker_clock

LOG = logging.getLogger("signalbox.supervisor")

POLL_SECONDS = 1.0
GRACE_SECONDS = 5.0
MAX_BATCH_ROWS = 8192


@dataclass(frozen=True)
class WorkerView:
    """One worker as the supervisor sees it."""

    worker: int
    pid: int
    address: str
    restarts: int
    statistics: WorkerStatistics


@dataclass(frozen=True)
class ScorerView:
    """The scorer as a whole. ledger_error: why the ledger could not be read when it was last looked at, or ""."""

    signals: tuple[Served, ...]
    latched: dict[str, str]
    ledger_sequence: int
    ledger_error: str
    workers: tuple[WorkerView, ...]


class Supervisor:
    """What the control plane drives. Owned by `serve`.

    control: where the control server listens, "unix:PATH". addresses: where the workers answer, HOST:PORT. metrics:
    where the metrics page is, HOST:PORT, or "".
    """

    def __init__(self, config: Config, follower: LedgerFollower, assignment: Assignment, book: RowBook) -> None:
        self.control = ""
        self.metrics = ""
        self._config = config
        self._follower = follower
        self._assignment = assignment
        self._book = book
        self._fleet: Fleet | None = None
        self._reading = asyncio.Lock()  # one look at the ledger at a time; a halt waits for none

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the live workers answer."""
        return self.fleet.addresses

    @property
    def fleet(self) -> Fleet:
        """The workers."""
        assert self._fleet is not None, "a supervisor has its fleet from start to end"
        return self._fleet

    def attach(self, fleet: Fleet) -> None:
        """The workers, once they run."""
        self._fleet = fleet

    def knowledge(self) -> Sequence[Message]:
        """What a worker that starts is told: rows first, so that it never serves a release without them."""
        return (Push(rows=self._book.newest()), self._assignment.order())

    async def sync(self, signal: str = "", generation: int = 0) -> tuple[tuple[Served, ...], int]:
        """Follows the ledger now. Returns the signals as served and the number of workers that acknowledged.

        GenerationBehind when the ledger does not hold generation `generation` of `signal` ("" = of any),
        LedgerUnreadable or BrokenChain when it cannot be followed: then what was known is served on.
        """
        async with self._reading:
            await self._assignment.take(await self._read())
        workers = await self.assign()
        signals = self._assignment.signals()
        reached = max((each.generation for each in signals if signal in (EVERY, each.signal)), default=0)
        if generation > reached:
            raise GenerationBehind(
                f"{signal or 'any signal'}: expected generation {generation} in the ledger, found {reached}; "
                "commit it first"
            )
        return signals, workers

    async def assign(self) -> int:
        """Has every worker serve what is known now; returns how many acknowledged. No look at the ledger."""
        acks = await self.fleet.broadcast(self._assignment.order())
        self._assignment.note({signal: why for ack in acks.values() for signal, why in ack.failures.items()})
        return len(acks)

    async def push(self, batch: Sequence[bytes]) -> Taken:
        """Takes a batch of feature rows; returns once they are readable in every live worker."""
        if len(batch) > MAX_BATCH_ROWS:
            raise PushRefused(f"push: expected at most {MAX_BATCH_ROWS} rows a batch, found {len(batch)}; send fewer")
        taken = self._book.take(batch)
        if taken.rows:
            await self.fleet.broadcast(Push(rows=tuple(batch[index] for index in taken.rows)))
        return taken

    async def halt(self, signal: str, reason: str) -> tuple[str, ...]:
        """Latches a halt of `signal`, "" for all, and returns what is halted once every worker refuses it."""
        self._assignment.latch(signal, reason)
        await self.assign()
        return self._named(signal)

    async def resume(self, signal: str) -> tuple[str, ...]:
        """Takes a latched halt back; what the ledger halted stays halted."""
        self._assignment.unlatch(signal)
        await self.assign()
        return self._named(signal)

    async def view(self) -> ScorerView:
        """The scorer as it is now."""
        acks = await self.fleet.broadcast(Ask()) if self.fleet.live.is_set() else {}
        workers = tuple(
            WorkerView(worker, link.pid, link.address, self.fleet.restarts[worker], said)
            for worker, link in sorted(self.fleet.links.items())
            if worker in acks and (said := acks[worker].statistics) is not None
        )
        assignment = self._assignment
        return ScorerView(
            assignment.signals(), dict(assignment.latched), assignment.sequence, assignment.ledger_error, workers
        )

    async def metrics_text(self) -> bytes:
        """The metrics page."""
        workers = (await self.view()).workers
        return render({each.worker: each.statistics for each in workers}, self.fleet.restarts)

    async def poll(self) -> None:
        """Follows the ledger once a second, for commits that nobody called about. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                state = await self._read()
                if state.sequence != self._assignment.sequence:
                    await self.sync()
            except (PromotionError, ServingError, OSError) as error:  # nothing may end this: a cut may come next
                LOG.error("the ledger is not followed, what was known is served on: %s", error)

    async def _read(self) -> LedgerState:
        try:
            return await self._follower.state()
        except (LedgerUnreadable, BrokenChain) as error:
            self._assignment.ledger_error = str(error)
            raise

    def _named(self, signal: str) -> tuple[str, ...]:
        return tuple(each.signal for each in self._assignment.signals() if signal in (EVERY, each.signal))


@asynccontextmanager
async def serve(
    home: Home,
    config: Config,
    *,
    listen: str = "127.0.0.1:8500",
    workers: int = 1,
    transport: str = "grpcio",
    control: str | None = None,
    metrics: str | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> AsyncIterator[Supervisor]:
    """Serves what the ledger of `home` says, until the block is left; then the workers drain.

    listen: HOST:PORT of worker 0; worker i listens on PORT + i (port 0: any free one each). control: path of the
    control socket, `home.control_socket` by default. metrics: HOST:PORT of a metrics page, None for none.

    Raises BrokenChain on a broken ledger, ListenRefused when an address is taken or another supervisor serves this
    home, KeyRingRefused for bad row keys.
    """
    async with AsyncExitStack() as owned:
        follower = await owned.enter_async_context(LedgerFollower(home, config.environment))
        assignment = Assignment(home, config)
        tables = FeatureTables(await asyncio.to_thread(read_row_keys, home), worker_clock(config.environment))
        supervisor = Supervisor(config, follower, assignment, RowBook(tables))
        try:
            await assignment.take(await follower.state())
        except LedgerUnreadable as error:
            assignment.ledger_error = str(error)
            LOG.error("every signal starts HALTED: %s", error)
        setups = _setups(home, config, listen, workers, transport, grace_seconds)
        plane = await owned.enter_async_context(control_server(supervisor, home, control))
        supervisor.control = plane.address
        fleet = await owned.enter_async_context(open_fleet(setups, supervisor.knowledge))
        supervisor.attach(fleet)
        await supervisor.assign()
        await plane.open_for_calls()
        if metrics is not None:
            supervisor.metrics = await owned.enter_async_context(metrics_page(metrics, supervisor.metrics_text))
        polling = asyncio.create_task(supervisor.poll())
        owned.callback(polling.cancel)
        yield supervisor


def _setups(
    home: Home, config: Config, listen: str, workers: int, transport: str, grace_seconds: float
) -> tuple[Setup, ...]:
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ListenRefused(f"listen: expected HOST:PORT, found {listen!r}; try 127.0.0.1:8500")
    if transport != "grpcio":
        raise ListenRefused(f"transport: expected 'grpcio', found {transport!r}")
    universes = {name: signal.universe for name, signal in config.signals.items()}
    return tuple(
        Setup(
            worker=worker,
            root=str(home.root),
            environment=config.environment,
            host=host,
            port=int(port) + worker if int(port) else 0,
            transport=transport,
            universes=universes,
            grace_seconds=grace_seconds,
        )
        for worker in range(workers)
    )
