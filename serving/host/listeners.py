"""The sockets of the data plane: the supervisor has them, its workers inherit them (design D14).

A socket that listens outlives the worker that accepts from it: callers who connect while one worker is being replaced,
or was killed, wait in its queue for the next one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path

from serving.errors import ListenRefused
from serving.host.hosting import UNIX, Hosting
from serving.transport.listen import BACKLOG, address_of, bind


class Listener:
    """One worker's place in the network. Owned by `open_listeners`.

    address: HOST:PORT or unix:PATH. descriptor: of the listening socket that a worker inherits; None where its
    transport cannot take one over (grpcio) and binds the address itself, beside the socket that keeps it free.
    """

    def __init__(self, address: str, held: socket.socket | None, descriptor: int | None) -> None:
        self.address = address
        self.descriptor = descriptor
        self._held = held

    def close(self) -> None:
        """Lets go of the socket: whoever connects from now on is turned away once the workers have, too."""
        if self._held is not None:
            self._held.close()


@asynccontextmanager
async def open_listeners(hosting: Hosting) -> AsyncIterator[tuple[Listener, ...]]:
    """One listener a worker. ListenRefused when an address is taken, or no address at all."""
    owned = ExitStack()
    try:
        yield await asyncio.to_thread(_open, hosting, owned)
    finally:
        await asyncio.to_thread(owned.close)


def _open(hosting: Hosting, owned: ExitStack) -> tuple[Listener, ...]:
    listeners: list[Listener] = []
    for worker in range(hosting.workers):
        shared = listeners[0].address if hosting.reuse_port and listeners else ""
        listeners.append(
            owned.enter_context(_listening(hosting, shared or hosting.address(worker), joins=bool(shared)))
        )
    return tuple(listeners)


@contextmanager
def _listening(hosting: Hosting, address: str, *, joins: bool) -> Iterator[Listener]:
    """joins: another listener of this scorer has the address already, and they share it."""
    if hosting.transport == "grpcio" and address.startswith(UNIX):
        bind(address).close()  # refuses a path that another server answers at
        with _unlinked(address):
            yield Listener(address, None, None)
        return
    with bind(address, reuse_port=joins) as bound, _unlinked(address):
        if hosting.reuse_port or hosting.transport == "grpcio":
            # Only now: the port was free, and from here on it is shared with those that are started here.
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if hosting.transport == "grpcio":
            with nullcontext() if joins else _claimed(address_of(bound)):
                yield Listener(address_of(bound), bound, None)
        else:
            bound.listen(BACKLOG)
            yield Listener(address_of(bound), bound, bound.fileno())


@contextmanager
def _claimed(address: str) -> Iterator[None]:
    """Holds `address` against other scorers: a port that is bound, but not listened on, can be bound a second time."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as claim:
        try:
            claim.bind(f"\0signalbox {address}")  # in the abstract namespace, which goes by network like the ports do
        except OSError as error:
            raise ListenRefused(
                f"{address}: expected a free address, found another scorer's; choose another"
            ) from error
        yield


@contextmanager
def _unlinked(address: str) -> Iterator[None]:
    """Takes a Unix socket's name away in the end."""
    try:
        yield
    finally:
        if address.startswith(UNIX):
            Path(address.removeprefix(UNIX)).unlink(missing_ok=True)
