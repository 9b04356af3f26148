"""The workers of one supervisor: started, fed, started again when they die, and replaced one after the other.

    async with open_fleet(setups, listeners, knowledge) as fleet:
        await fleet.broadcast(order)   # every worker has carried it out
        await fleet.roll()             # every worker is another process, and no call was lost

A worker takes calls only when it has been told all that is known: what was ordered before `Open` is in place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from serving.errors import ScorerFailed, WorkerFailed
from serving.host.listeners import Listener
from serving.host.pipe import Ack, Ask, Message, Setup
from serving.host.worker_link import WorkerLink, acknowledged, start_worker

LOG = logging.getLogger("signalbox.supervisor")

_RESTART_SECONDS = (0.0, 0.1, 0.5, 1.0, 5.0)  # how long before the n-th restart in a row
REVIVAL_SECONDS = 10.0  # how long an order waits for a worker when none lives
PULSE_SECONDS = 5.0  # how often a worker is asked whether it is there; one that hangs is killed
Knowledge = Callable[[], Sequence[Message]]


class Fleet:
    """Every worker that lives. Owned by `open_fleet`.

    links: worker number → the process that takes its calls. live: set while there is one. knowledge: the orders that
    bring a worker which starts to where the others are.
    """

    def __init__(self, setups: Sequence[Setup], listeners: Sequence[Listener], knowledge: Knowledge) -> None:
        self.links: dict[int, WorkerLink] = {}
        self.restarts = dict.fromkeys(range(len(setups)), 0)
        self.live = asyncio.Event()
        self._listeners = listeners
        self._knowledge = knowledge
        self._hearing: list[WorkerLink] = []  # those that start or leave included
        self.closing = asyncio.Event()  # from then on the workers go, and none is started
        self.lives: set[asyncio.Task[None]] = set()
        self._rolling = asyncio.Lock()
        self._places = [_Place(self, setup) for setup in setups]
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the live workers answer, in their order."""
        return tuple(self.links[worker].address for worker in sorted(self.links))

    async def broadcast(self, order: Message) -> dict[int, Ack]:
        """Sends `order` to every worker process; worker → acknowledgement, once all that take calls have answered.

        A worker that dies meanwhile is left out: it is started again with all that is known, this order included. When
        the last one dies, the order is sent anew to the first that is back; every order may be carried out twice.
        WorkerFailed when none is back in REVIVAL_SECONDS.
        """
        for _ in range(2):
            await self._someone()
            sent = [(link, link.send(order)) for link in self._hearing]
            asked = [(link, acknowledged(link, ack)) for link, ack in sent if link.is_open]
            answers = await asyncio.gather(*(answer for _, answer in asked), return_exceptions=True)
            acks = {}
            for (link, _), answer in zip(asked, answers, strict=True):
                if isinstance(answer, Ack):
                    link.note(answer)
                    acks[link.setup.worker] = answer
            if acks:
                return acks
        raise WorkerFailed("expected a live worker, found none; they are being restarted: repeat in a moment")

    async def roll(self) -> None:
        """Replaces every worker, one after the other: the next is served by before the present one is drained.

        ScorerFailed when a new one does not start; then the one it was to replace, and those after it, stay.
        """
        async with self._rolling:
            for place in self._places:
                await place.replace()

    async def start(self) -> None:
        """Starts every worker. Raises what kept one from starting."""
        await asyncio.gather(*(place.start() for place in self._places))
        self._keepers = [asyncio.create_task(place.keep()) for place in self._places]

    async def close(self) -> None:
        """Lets every worker drain and starts none again; ends when all are gone."""
        for listener in self._listeners:
            listener.close()  # first: nobody is left in a queue that no worker will look at
        self.closing.set()
        await asyncio.gather(*self._keepers)
        await asyncio.gather(*self.lives)

    @asynccontextmanager
    async def hearing(self, link: WorkerLink) -> AsyncIterator[None]:
        """Has `link` told what is known and, from the same turn of the loop on, whatever the others are told.

        Then it takes calls. WorkerFailed when another takes them already that serves a signal which `link` cannot.
        """
        self._hearing.append(link)
        try:
            await link.tell(self._knowledge())
            self._check_as_good(link)
            await link.open()
            self.links[link.setup.worker] = link
            self.live.set()
            yield
        finally:
            self._hearing.remove(link)
            self.forget(link)

    def forget(self, link: WorkerLink) -> None:
        """`link` takes no more calls."""
        if self.links.get(link.setup.worker) is link:
            del self.links[link.setup.worker]
        if not self.links:
            self.live.clear()

    def _check_as_good(self, link: WorkerLink) -> None:
        present = self.links.get(link.setup.worker)
        worse = (
            {} if present is None else {name: link.failures[name] for name in link.failures.keys() - present.failures}
        )
        if worse:
            raise WorkerFailed(
                f"worker {link.setup.worker}: expected a successor that serves what the present one does, found one "
                f"that cannot: {worse}; the present one stays"
            )

    async def _someone(self) -> None:
        """Waits until a worker lives: one that died alone is back in about a second."""
        for link in list(self.links.values()):
            if link.gone.is_set():
                self.forget(link)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.live.wait(), REVIVAL_SECONDS)


class _Place:
    """One worker's number and address, whichever process is there. Lives as long as the fleet."""

    def __init__(self, fleet: Fleet, setup: Setup) -> None:
        self._fleet = fleet
        self._setup = setup
        self._life = _Life(fleet, setup)

    async def start(self) -> None:
        """Starts the first process. Raises what kept it from starting."""
        self._life.start()
        await self._life.begun

    async def replace(self) -> None:
        """Has another process take the calls, then drains the present one. ScorerFailed when it does not start."""
        successor = _Life(self._fleet, self._setup)
        successor.start()
        try:
            await successor.begun
        except BaseException:
            successor.leave.set()
            raise
        before, self._life = self._life, successor
        before.leave.set()
        await before.over.wait()

    async def keep(self) -> None:
        """Starts the worker again whenever it ends, until the fleet closes."""
        failures = 0
        while True:
            life = self._life
            await life.over.wait()
            if life is not self._life:
                continue  # it was replaced
            if self._fleet.closing.is_set():
                return
            failures = 0 if life.has_begun else failures + 1
            await self._pause(failures)
            if self._fleet.closing.is_set():
                return
            if life is self._life:
                self._life = _Life(self._fleet, self._setup)
                self._life.start()

    async def _pause(self, failures: int) -> None:
        fleet = self._fleet
        fleet.restarts[self._setup.worker] += 1
        LOG.warning("worker %d ended; starting it again", self._setup.worker)
        with suppress(TimeoutError):
            pause = _RESTART_SECONDS[min(failures, len(_RESTART_SECONDS) - 1)]
            await asyncio.wait_for(fleet.closing.wait(), pause)


class _Life:
    """One worker process, from its start to its end: a task that the fleet owns.

    begun: done when the process takes calls, or with the ScorerFailed that kept it from it. leave: set to have it
    drained. over: set when it is gone.
    """

    def __init__(self, fleet: Fleet, setup: Setup) -> None:
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.leave = asyncio.Event()
        self.over = asyncio.Event()
        self.has_begun = False
        self._fleet = fleet
        self._setup = setup

    def start(self) -> None:
        """Starts the process."""
        task = asyncio.create_task(self._run())
        self._fleet.lives.add(task)
        task.add_done_callback(self._fleet.lives.discard)

    async def _run(self) -> None:
        fleet, setup = self._fleet, self._setup
        try:
            async with start_worker(setup) as link, fleet.hearing(link):
                self.has_begun = True
                self.begun.set_result(None)
                await self._until_leaving(link)
                fleet.forget(link)
                await link.stop(setup.grace_seconds)  # it hears of a halt for as long as it answers
        except ScorerFailed as error:
            LOG.error("worker %d: %s", setup.worker, error)
            self._fail(error)
        finally:
            self._fail(WorkerFailed(f"worker {setup.worker}: expected it to start, found it cut short"))
            self.over.set()

    async def _until_leaving(self, link: WorkerLink) -> None:
        pulse = asyncio.create_task(_feel_pulse(link))
        waiting = [asyncio.create_task(each.wait()) for each in (link.gone, self.leave, self._fleet.closing)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pulse, *waiting):
                task.cancel()

    def _fail(self, error: ScorerFailed) -> None:
        if not self.begun.done():
            self.begun.set_exception(error)
            self.begun.exception()  # looked at: a restart that fails has nobody who waits for it


async def _feel_pulse(link: WorkerLink) -> None:
    """Asks the worker again and again; one that hangs is killed, and so started again. Runs until it is cancelled."""
    with suppress(WorkerFailed):
        while True:
            await asyncio.sleep(PULSE_SECONDS)
            await link.order(Ask())


@asynccontextmanager
async def open_fleet(
    setups: Sequence[Setup], listeners: Sequence[Listener], knowledge: Knowledge
) -> AsyncIterator[Fleet]:
    """The workers of `setups`, all taking calls at `listeners`. They are drained and gone when the block is left."""
    fleet = Fleet(setups, listeners, knowledge)
    try:
        await fleet.start()
        yield fleet
    finally:
        await fleet.close()
