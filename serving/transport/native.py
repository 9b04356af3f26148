"""Our own gRPC server: asyncio and uvloop around `serving.transport.grpc` (design D1).

    async with native_transport(methods, listen="127.0.0.1:8500") as transport:
        engine = Engine(turn=transport.outbox)
        ...
        await transport.drain(grace_seconds, stop)

No thread, no queue and no task stand between the socket and a unary handler: `data_received` reads every frame of what
came, each request is handed over as it is found, and what a turn of the loop answers leaves in one write a connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from serving.transport.door import Door
from serving.transport.grpc.server import Unfinished
from serving.transport.http2.limits import Budget, Limits
from serving.transport.listen import Tls, address_of, bind
from serving.transport.methods import Methods
from serving.transport.peer import Outbox, Peer
from serving.transport.statistics import TransportStatistics

LOG = logging.getLogger("signalbox.transport")

_LAST_CALLS_SECONDS = 0.5  # how long a peer has to see that no new calls are wanted


class NativeTransport:
    """One worker's data-plane server. Owned by `native_transport`.

    address: HOST:PORT or unix:PATH. outbox: the context that an engine's turn runs in.
    """

    def __init__(self, methods: Methods, limits: Limits) -> None:
        loop = asyncio.get_running_loop()
        self.methods = methods
        self.limits = limits
        self.address = ""
        self.unfinished = Unfinished(limits.unfinished_bytes)
        self.unread = Budget(limits.unread_bytes)
        self.outbox = Outbox(loop)
        self.refused: Counter[str] = Counter()
        self._accepted = 0
        self._peers: set[Peer] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = loop
        self._door: Door | None = None
        self.settled = asyncio.Event()  # while draining: a connection has moved
        self.draining = False

    @property
    def calls(self) -> int:
        """Calls under way."""
        return sum(len(peer.connection.streams) for peer in self._peers)

    def statistics(self) -> TransportStatistics:
        """What the transport holds now, and has refused so far."""
        return TransportStatistics(len(self._peers), self.calls, self._accepted, dict(self.refused))

    def accept(self, peer: Peer) -> None:
        """A connection has come; one too many is told to go."""
        self._accepted += 1
        self._peers.add(peer)
        if len(self._peers) > self.limits.connections:
            peer.give_up("connections")
        elif self.draining:
            peer.connection.announce_end()

    def relieve(self) -> None:
        """Gives up those who leave most unread, until the others' replies fit."""
        for peer in sorted(self._peers, key=lambda peer: -peer.unread):
            if not self.unread.is_over:
                return
            peer.give_up("unread_bytes")

    def lost(self, peer: Peer) -> None:
        """A connection has gone."""
        self._peers.discard(peer)
        self.settled.set()

    def soon(self, work: Callable[[], None]) -> None:
        """Has `work` done in the next turn of the loop."""
        self._loop.call_soon(work)

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """A task that is over before the transport is."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def drain(self, grace_seconds: float, stop: Callable[[], None]) -> None:
        """Takes no more connections, then no more calls, and ends when those taken are answered or the grace is over.

        stop: called between the two, when every peer knows: streaming methods are to end.
        """
        self.draining = True
        if self._door is not None:
            self._door.close()
        until = self._loop.time() + grace_seconds
        for peer in list(self._peers):
            peer.connection.announce_end()
            peer.flush()
        await self._until(lambda peer: peer.connection.final, min(until, self._loop.time() + _LAST_CALLS_SECONDS))
        for peer in list(self._peers):
            peer.connection.finish_end()
            peer.flush()
        stop()
        await self._until(lambda peer: not peer.busy, until)
        for peer in list(self._peers):
            peer.close()
        await self._until(lambda peer: False, until)

    async def _until(self, done: Callable[[Peer], bool], until: float) -> None:
        """Waits until `done` holds for every peer, or until the loop's time `until`."""
        while not all(map(done, self._peers)) and (left := until - self._loop.time()) > 0:
            self.settled.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.settled.wait(), left)

    def serve(self, listener: socket.socket, context: ssl.SSLContext | None) -> None:
        """Listens on a bound socket."""
        self.address = address_of(listener)
        self._door = Door(listener, lambda: Peer(self), context=context, limits=self.limits)
        self._door.open()

    async def watch(self) -> None:
        """Looks at every connection a few times in the shortest limit of time. Runs until it is cancelled."""
        limits = self.limits
        shortest = min(limits.handshake_seconds, limits.frame_seconds, limits.request_seconds, limits.stalled_seconds)
        while True:
            await asyncio.sleep(min(1.0, shortest / 4))
            now_ns = time.monotonic_ns()
            for peer in list(self._peers):
                self._check(peer, now_ns)

    def _check(self, peer: Peer, now_ns: int) -> None:
        try:
            peer.check(now_ns)
        except Exception as error:  # a defect of ours ends its own connection, not the watch over all
            LOG.error("a connection could not be checked: %s", error, exc_info=error)
            peer.give_up("defect")

    async def close(self) -> None:
        """Ends what is left."""
        if self._door is not None:
            await self._door.give_up()
        for peer in list(self._peers):
            await peer.end_streams()
            peer.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._until(lambda peer: False, self._loop.time() + _LAST_CALLS_SECONDS)
        for peer in list(self._peers):
            peer.abort()


@asynccontextmanager
async def native_transport(
    methods: Methods,
    *,
    listen: str | socket.socket,
    tls: Tls | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[NativeTransport]:
    """A server of `methods` that listens at HOST:PORT, unix:PATH or a bound socket. ListenRefused when it cannot."""
    transport = NativeTransport(methods, limits or Limits())
    context = None if tls is None else await asyncio.to_thread(tls.context)  # before anything listens
    listener = await asyncio.to_thread(bind, listen) if isinstance(listen, str) else listen
    transport.serve(listener, context)
    watching = asyncio.create_task(transport.watch())
    try:
        yield transport
    finally:
        watching.cancel()
        await transport.close()
        if transport.address.startswith("unix:") and isinstance(listen, str):
            await asyncio.to_thread(Path(transport.address.removeprefix("unix:")).unlink, missing_ok=True)
