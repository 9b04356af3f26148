"""The transport that a worker was set up with, over the address that its supervisor keeps for it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol

from serving.host.hosting import UNIX
from serving.host.pipe import Setup
from serving.transport.methods import Methods
from serving.transport.statistics import TransportStatistics


class Transport(Protocol):
    """A data-plane server that listens. outbox: the context that an engine's turn runs in."""

    @property
    def outbox(self) -> AbstractContextManager[object]:
        """What a turn's replies are given out in."""
        ...

    def statistics(self) -> TransportStatistics:
        """What it holds now, and has turned away so far."""
        ...

    async def drain(self, grace_seconds: float, stop: Callable[[], None]) -> None:
        """Takes no more calls, then ends when those taken are answered or the grace is over. stop: ends streams."""
        ...


@asynccontextmanager
async def open_transport(setup: Setup, methods: Methods) -> AsyncIterator[Transport]:
    """The transport of `setup`, which answers `methods`. ListenRefused when it cannot, or TLS files do not fit."""
    if setup.transport == "native":
        async with _native(setup, methods) as native:
            yield native
    else:
        async with _grpcio(setup, methods) as grpcio:
            yield grpcio


@asynccontextmanager
async def _native(setup: Setup, methods: Methods) -> AsyncIterator[Transport]:
    from serving.transport.native import native_transport  # a worker imports the transport that it serves with

    assert setup.listener is not None, "a native worker inherits the socket that listens"
    listener = socket.socket(fileno=setup.listener)
    listener.setblocking(False)
    async with native_transport(methods, listen=listener, tls=setup.tls, limits=setup.limits) as transport:
        yield transport


@asynccontextmanager
async def _grpcio(setup: Setup, methods: Methods) -> AsyncIterator[Transport]:
    from serving.transport.grpcio import grpcio_transport  # as above: without it, no grpc

    if not setup.address.startswith(UNIX):
        async with grpcio_transport(
            methods, listen=setup.address, tls=setup.tls, limits=setup.limits, joins=True
        ) as transport:
            yield transport
        return
    # grpcio takes its Unix socket away when it stops: each process has a socket of its own, and the address leads to
    # the newest.
    own = f"{setup.address}.{os.getpid()}"
    async with grpcio_transport(methods, listen=own, tls=setup.tls, limits=setup.limits) as transport:
        await asyncio.to_thread(_lead_to, Path(setup.address.removeprefix(UNIX)), Path(own.removeprefix(UNIX)))
        yield transport


def _lead_to(path: Path, own: Path) -> None:
    """Makes `path` a link to `own`, in one step."""
    link = own.with_name(f"{own.name}.link")
    with suppress(FileNotFoundError):
        link.unlink()
    link.symlink_to(own.name)
    link.replace(path)
