"""The workers of one supervisor: started, fed, and started again when they die."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from serving.errors import ScorerFailed, WorkerFailed
from serving.host.pipe import Ack, Message, Setup
from serving.host.worker_link import WorkerLink, acknowledged, start_worker

LOG = logging.getLogger("signalbox.supervisor")

_RESTART_SECONDS = (0.0, 0.1, 0.5, 1.0, 5.0)  # how long before the n-th restart in a row
REVIVAL_SECONDS = 10.0  # how long an order waits for a worker when none lives
Knowledge = Callable[[], Sequence[Message]]


class Fleet:
    """Every worker that lives. Owned by `open_fleet`.

    knowledge: the orders that bring a worker which starts to where the others are.
    """

    def __init__(self, setups: Sequence[Setup], knowledge: Knowledge) -> None:
        self.links: dict[int, WorkerLink] = {}
        self.restarts = dict.fromkeys(range(len(setups)), 0)
        self._setups = setups
        self._knowledge = knowledge
        self.live = asyncio.Event()  # set while a worker answers
        self._closing = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the live workers answer, HOST:PORT, in their order."""
        return tuple(self.links[worker].address for worker in sorted(self.links))

    async def broadcast(self, order: Message) -> dict[int, Ack]:
        """Sends `order` to every live worker; worker → acknowledgement, once all have answered.

        A worker that dies meanwhile is left out: it is started again with all that is known, this order included. When
        the last one dies, the order is sent anew to the first that is back; every order may be carried out twice.
        WorkerFailed when none is back in REVIVAL_SECONDS.
        """
        for _ in range(2):
            await self._someone()
            sent = {worker: link.send(order) for worker, link in self.links.items()}
            links = dict(self.links)
            answers = await asyncio.gather(
                *(acknowledged(links[worker], ack) for worker, ack in sent.items()), return_exceptions=True
            )
            acks = {worker: answer for worker, answer in zip(sent, answers, strict=True) if isinstance(answer, Ack)}
            if acks:
                return acks
        raise WorkerFailed("expected a live worker, found none; they are being restarted: repeat in a moment")

    async def _someone(self) -> None:
        """Waits until a worker lives: one that died alone is back in about a second."""
        for worker, link in list(self.links.items()):
            if link.gone.is_set():
                self._remove(worker)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.live.wait(), REVIVAL_SECONDS)

    async def start(self) -> None:
        """Starts every worker. Raises what kept one from starting."""
        starts = [asyncio.get_running_loop().create_future() for _ in self._setups]
        self._keepers = [asyncio.create_task(self._keep(worker, started)) for worker, started in enumerate(starts)]
        for outcome in await asyncio.gather(*starts, return_exceptions=True):
            if outcome is not None:
                raise outcome

    async def close(self) -> None:
        """Lets every worker drain and starts none again; ends when all are gone."""
        self._closing.set()
        await asyncio.gather(*self._keepers)

    async def _keep(self, worker: int, started: asyncio.Future[None]) -> None:
        """Keeps worker number `worker` alive until the fleet closes; `started` tells how its first start went."""
        setup, failures = self._setups[worker], 0
        while not self._closing.is_set():
            try:
                async with start_worker(setup) as link:
                    setup = _at(setup, link.address)
                    await self._bring_up(worker, link)
                    failures = 0
                    _settle(started, None)
                    await self._until_gone(link)
            except ScorerFailed as error:
                LOG.error("worker %d: %s", worker, error)
                if _settle(started, error):
                    return
            finally:
                self._remove(worker)
                _settle(started, WorkerFailed(f"worker {worker}: expected it to start, found it cut short"))
            await self._before_restart(worker, failures)
            failures += 1

    async def _before_restart(self, worker: int, failures: int) -> None:
        if self._closing.is_set():
            return
        self.restarts[worker] += 1
        LOG.warning("worker %d ended; starting it again", worker)
        with suppress(TimeoutError):
            pause = _RESTART_SECONDS[min(failures, len(_RESTART_SECONDS) - 1)]
            await asyncio.wait_for(self._closing.wait(), pause)

    async def _bring_up(self, worker: int, link: WorkerLink) -> None:
        """Tells a new worker all that is known; from the same turn of the loop on it hears what the others hear."""
        acks = [link.send(order) for order in self._knowledge()]
        self.links[worker] = link
        self.live.set()
        for ack in acks:
            await acknowledged(link, ack)

    async def _until_gone(self, link: WorkerLink) -> None:
        gone = asyncio.ensure_future(link.gone.wait())
        closing = asyncio.ensure_future(self._closing.wait())
        await asyncio.wait((gone, closing), return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        closing.cancel()
        self._remove(link.setup.worker)

    def _remove(self, worker: int) -> None:
        self.links.pop(worker, None)
        if not self.links:
            self.live.clear()


@asynccontextmanager
async def open_fleet(setups: Sequence[Setup], knowledge: Knowledge) -> AsyncIterator[Fleet]:
    """The workers of `setups`, all listening. They are drained and gone when the block is left."""
    fleet = Fleet(setups, knowledge)
    try:
        await fleet.start()
        yield fleet
    finally:
        await fleet.close()


def _at(setup: Setup, address: str) -> Setup:
    """`setup` with the port that the worker got: it comes back at the same address."""
    return msgspec.structs.replace(setup, port=int(address.rpartition(":")[2]))


def _settle(started: asyncio.Future[None], error: ScorerFailed | None) -> bool:
    """Says once how a worker's first start went; whether this was that once."""
    if started.done():
        return False
    if error is None:
        started.set_result(None)
    else:
        started.set_exception(error)
    return True
