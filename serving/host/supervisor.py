"""`signalbox serve`: one supervisor per host and its workers (design D14).

    async with serve(home, config, Hosting(listen="127.0.0.1:8500", workers=2)) as supervisor:
        ...  # supervisor.addresses answer Score; supervisor.control answers Push, Sync, Halt, ...

The supervisor alone follows the ledger, keeps the newest rows, latches a halt, and fans all of it out to its workers
by pipe; what it is told is acknowledged when every live worker has acknowledged it. It owns the sockets that the
workers listen on: a worker that dies is started again at the same address with everything the supervisor knows, and
`roll` replaces every worker without a lost call. A latched halt is kept in the home: it holds across restarts of the
supervisor too. Without a readable ledger every signal starts HALTED; on a broken chain nothing starts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import msgspec

from promotion.config import Config, ConfigError, Environment, Redis
from promotion.errors import BrokenChain, LedgerUnreadable, PromotionError
from promotion.home import Home
from promotion.identity import Principal
from promotion.ledger.state import LedgerState
from promotion.release.child import prove_in_child
from serving.errors import GenerationBehind, PushRefused, ServingError
from serving.feature_table import FeatureTables, Taken
from serving.feed.row_book import RowBook
from serving.feed.row_keys import read_row_keys
from serving.host.assignment import Assignment
from serving.host.control import control_server
from serving.host.fleet import Fleet, open_fleet
from serving.host.follower import LedgerFollower
from serving.host.halts import EVERY, HaltFile, scorer_halts
from serving.host.hosting import Hosting
from serving.host.listeners import Listener, open_listeners
from serving.host.pipe import Ask, Message, Push, Served, Setup
from serving.host.proofs import Proofs, Prove
from serving.host.worker import worker_clock
from serving.metrics import metrics_page, render
from serving.statistics import WorkerStatistics
from serving.transport.http2.limits import DEFAULT_LIMITS, Limits

LOG = logging.getLogger("signalbox.supervisor")

POLL_SECONDS = 1.0
ASK_SECONDS = 1.0  # how long a look at the workers waits for one that is busy
MAX_BATCH_ROWS = 8192


class Ledger(Protocol):
    """What says which release each signal serves."""

    async def state(self) -> LedgerState:
        """What it says now. LedgerUnreadable or BrokenChain when it cannot be followed."""
        ...


@dataclass(frozen=True)
class WorkerView:
    """One worker as the supervisor sees it. answers: whether it did when it was asked now."""

    worker: int
    pid: int
    address: str
    answers: bool
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

    control: where the control server listens, "unix:PATH". addresses: where the workers answer, HOST:PORT or unix:PATH.
    metrics: where the metrics page is, HOST:PORT, or "".
    """

    def __init__(self, ledger: Ledger, assignment: Assignment, book: RowBook, halts: HaltFile) -> None:
        self.control = ""
        self.metrics = ""
        self._ledger = ledger
        self._assignment = assignment
        self._book = book
        self._halts = halts
        self._fleet: Fleet | None = None
        self._heard: dict[int, WorkerStatistics] = {}  # what each worker said last
        self._reading = asyncio.Lock()  # one look at the ledger at a time; a halt waits for none

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the live workers answer."""
        return self.fleet.addresses

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes of the live workers, in their order."""
        return tuple(self.fleet.links[worker].pid for worker in sorted(self.fleet.links))

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

    async def follow(self) -> None:
        """Takes in what the ledger says now, and has every worker serve it as far as it is proven.

        LedgerUnreadable or BrokenChain when it cannot be followed: then what was known is served on.
        """
        async with self._reading:
            self._assignment.take(await self._read())
        await self.assign()

    async def sync(self, signal: str = "", generation: int = 0) -> tuple[tuple[Served, ...], int]:
        """Follows the ledger now, and waits until new releases of `signal` ("" = of all) are proven and served.

        Returns the signals as served and the number of workers that acknowledged. GenerationBehind when the ledger
        does not hold generation `generation` of `signal` ("" = of any); else raises as `follow`.
        """
        await self.follow()
        await self._assignment.settled(signal)
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
        self._assignment.note({signal: why for ack in acks.values() for signal, why in (ack.failures or {}).items()})
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
        """Latches a halt of `signal`, "" for all, and returns what is halted once every worker refuses it.

        HaltNotKept when it is in force but could not be written down.
        """
        self._assignment.latch(signal, reason)
        try:
            await self.assign()
        finally:
            await asyncio.to_thread(self._halts.add, signal, self._assignment.latched.get(signal, reason))
        return self._named(signal)

    async def resume(self, signal: str) -> tuple[str, ...]:
        """Takes a latched halt back; what the ledger halted stays halted."""
        await asyncio.to_thread(self._halts.remove, signal)
        self._assignment.unlatch(signal)
        await self.assign()
        return self._named(signal)

    async def roll(self) -> None:
        """Replaces every worker process, one after the other, and loses no call. ScorerFailed when one cannot start."""
        await self.fleet.roll()

    async def view(self) -> ScorerView:
        """The scorer as it is now; of a worker that does not answer at once, what it said last."""
        answered = await self._ask()
        self._heard |= answered
        nothing = WorkerStatistics()
        restarts = self.fleet.restarts
        workers = tuple(
            WorkerView(n, link.pid, link.address, n in answered, restarts[n], self._heard.get(n, nothing))
            for n, link in sorted(self.fleet.links.items())
        )
        assignment = self._assignment
        return ScorerView(
            assignment.signals(), dict(assignment.latched), assignment.sequence, assignment.ledger_error, workers
        )

    async def metrics_text(self) -> bytes:
        """The metrics page."""
        workers = (await self.view()).workers
        answering = {each.worker for each in workers if each.answers}
        return render({each.worker: each.statistics for each in workers}, self.fleet.restarts, answering)

    async def poll(self) -> None:
        """Follows the ledger once a second, for commits that nobody called about. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            with _going_on():
                state = await self._read()
                if state.sequence != self._assignment.sequence:
                    await self.follow()

    async def announce(self, proofs: Proofs) -> None:
        """Tells the workers of every release that was proven meanwhile. Runs until it is cancelled."""
        while True:
            await proofs.moved.wait()
            proofs.moved.clear()
            with _going_on():
                await self.assign()

    async def _ask(self) -> dict[int, WorkerStatistics]:
        """What the workers say of themselves; those that are busy for longer than ASK_SECONDS are left out."""
        asked = {worker: link.send(Ask()) for worker, link in self.fleet.links.items()}
        if asked:
            await asyncio.wait(asked.values(), timeout=ASK_SECONDS)
        answers = {worker: ack.result() for worker, ack in asked.items() if ack.done() and ack.exception() is None}
        return {worker: ack.statistics for worker, ack in answers.items() if ack.statistics is not None}

    async def _read(self) -> LedgerState:
        try:
            return await self._ledger.state()
        except (LedgerUnreadable, BrokenChain) as error:
            self._assignment.ledger_error = str(error)
            raise

    def _named(self, signal: str) -> tuple[str, ...]:
        return tuple(each.signal for each in self._assignment.signals() if signal in (EVERY, each.signal))


@contextmanager
def _going_on() -> Iterator[None]:
    """Nothing may end what runs in the block for good: a cut may come next."""
    try:
        yield
    except (PromotionError, ServingError, OSError) as error:
        LOG.error("what was known is served on: %s", error)


@dataclass(frozen=True)
class Place:
    """What a supervisor serves, and from where. universes: signal → its instruments, of every signal known here.

    redis: whose streams the workers read. limits: what a peer may ask of a connection. scratch: what is served is no
    release (`serving.host.scratch`).
    """

    home: Home
    environment: Environment
    universes: dict[str, tuple[str, ...]]
    ledger: Ledger
    prove: Prove
    redis: Redis | None = None
    limits: Limits = DEFAULT_LIMITS
    scratch: bool = False


@asynccontextmanager
async def serve(home: Home, config: Config, hosting: Hosting) -> AsyncIterator[Supervisor]:
    """Serves what the ledger of `home` says, until the block is left; then the workers drain.

    Raises BrokenChain on a broken ledger, ListenRefused when an address is taken or another supervisor serves this
    home, CoreRefused for cores that cannot be had, KeyRingRefused for bad row keys, ConfigError when Redis' password
    cannot be read or [transport] names no limit.
    """
    if config.redis is not None:
        await asyncio.to_thread(config.redis.reader, home.root)
    universes = {name: signal.universe for name, signal in config.signals.items()}

    def prove(digest: str, principals: Mapping[str, Principal]) -> object:
        return prove_in_child(home, digest, environment=config.environment, principals=principals)

    limits = read_limits(config)
    async with LedgerFollower(home, config.environment) as follower:
        place = Place(home, config.environment, universes, follower, prove, config.redis, limits)
        async with supervise(place, hosting) as supervisor:
            yield supervisor


def read_limits(config: Config) -> Limits:
    """The data plane's limits that `[transport]` of signalbox.toml asks for. ConfigError for what is none."""
    try:
        return msgspec.convert(config.transport, Limits)
    except msgspec.ValidationError as error:
        raise ConfigError(f"signalbox.toml, [transport]: {error}; see docs/configuration.md for every limit") from error


@asynccontextmanager
async def supervise(place: Place, hosting: Hosting) -> AsyncIterator[Supervisor]:
    """A supervisor of `place` and its workers. Raises as `serve`."""
    hosting.check()
    if hosting.tls is not None:
        await asyncio.to_thread(hosting.tls.context)  # what the workers will read, refused before anything starts
    async with AsyncExitStack() as owned:
        proofs = await owned.enter_async_context(Proofs(place.prove))
        assignment = Assignment(place.universes, proofs)
        halts = scorer_halts(place.home)
        for signal, reason in (await asyncio.to_thread(halts.read)).items():
            assignment.latch(signal, reason)
        tables = FeatureTables(await asyncio.to_thread(read_row_keys, place.home), worker_clock(place.environment))
        supervisor = Supervisor(place.ledger, assignment, RowBook(tables), halts)
        try:
            assignment.take(await place.ledger.state())
        except LedgerUnreadable as error:
            assignment.ledger_error = str(error)
            LOG.error("every signal starts HALTED: %s", error)
        plane = await owned.enter_async_context(control_server(supervisor, place.home, hosting.control))
        supervisor.control = plane.address
        listeners = await owned.enter_async_context(open_listeners(hosting))
        setups = [_setup(place, hosting, worker, listener) for worker, listener in enumerate(listeners)]
        fleet = await owned.enter_async_context(open_fleet(setups, listeners, supervisor.knowledge))
        supervisor.attach(fleet)
        await plane.open_for_calls()
        for work in (supervisor.announce(proofs), supervisor.poll()):
            owned.callback(asyncio.create_task(work).cancel)
        await assignment.settled()
        await supervisor.assign()
        if hosting.metrics is not None:
            supervisor.metrics = await owned.enter_async_context(metrics_page(hosting.metrics, supervisor.metrics_text))
        yield supervisor


def _setup(place: Place, hosting: Hosting, worker: int, listener: Listener) -> Setup:
    return Setup(
        worker=worker,
        root=str(place.home.root),
        environment=place.environment,
        address=listener.address,
        listener=listener.descriptor,
        transport=hosting.transport,
        tls=hosting.tls,
        universes=place.universes,
        redis=place.redis,
        limits=place.limits,
        core=hosting.core(worker),
        busy_poll=hosting.busy_poll,
        scratch=place.scratch,
        grace_seconds=hosting.grace_seconds,
    )
