"""The control plane: `signalbox.v1.Control`, health and reflection on a Unix socket of its owner (grpcio)."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from promotion.home import Home
from protos.signalbox.v1 import control_pb2, control_pb2_grpc
from serving.errors import ListenRefused
from serving.feature_table import Taken
from serving.handlers.wire import POSTURES
from serving.host.halts import EVERY
from serving.host.pipe import Served
from serving.transport.refusals import Refusals

SERVICE: str = control_pb2.DESCRIPTOR.services_by_name["Control"].full_name
MAX_REQUEST_BYTES = 64 * 2**20


class Driven(Protocol):
    """What the control plane drives: the supervisor."""

    async def sync(self, signal: str = "", generation: int = 0) -> tuple[tuple[Served, ...], int]:
        """See Supervisor.sync."""
        ...

    async def push(self, batch: tuple[bytes, ...]) -> Taken:
        """See Supervisor.push."""
        ...

    async def halt(self, signal: str, reason: str) -> tuple[str, ...]:
        """See Supervisor.halt."""
        ...

    async def resume(self, signal: str) -> tuple[str, ...]:
        """See Supervisor.resume."""
        ...

    async def view(self) -> Any:
        """See Supervisor.view."""
        ...


class ControlService(control_pb2_grpc.ControlServicer):
    """The handlers of `signalbox.v1.Control`."""

    def __init__(self, supervisor: Driven) -> None:
        self._supervisor = supervisor

    async def Sync(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name in the proto
        """See control.proto."""
        async with Refusals(context):
            signals, workers = await self._supervisor.sync(request.signal, request.generation)
            return control_pb2.SyncReply(signals=[_signal(each, {}) for each in signals], workers=workers)

    async def Push(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802 - as above
        """See control.proto."""
        async with Refusals(context):
            async for request in requests:
                taken = await self._supervisor.push(tuple(request.rows))
                yield control_pb2.PushReply(
                    accepted=taken.accepted,
                    refused=[control_pb2.RefusedRow(index=each.index, reason=each.reason) for each in taken.refused],
                )

    async def Halt(self, request: Any, context: Any) -> Any:  # noqa: N802 - as above
        """See control.proto."""
        async with Refusals(context):
            return control_pb2.HaltReply(halted=await self._supervisor.halt(request.signal, request.reason))

    async def Resume(self, request: Any, context: Any) -> Any:  # noqa: N802 - as above
        """See control.proto."""
        async with Refusals(context):
            return control_pb2.ResumeReply(resumed=await self._supervisor.resume(request.signal))

    async def Status(self, request: Any, context: Any) -> Any:  # noqa: N802 - as above
        """See control.proto."""
        async with Refusals(context):
            return _status(await self._supervisor.view())


class ControlPlane:
    """The control server. Owned by `control_server`; it listens from `open_for_calls` on."""

    def __init__(self, server: grpc.aio.Server, checks: health.aio.HealthServicer, path: Path) -> None:
        self.address = f"unix:{path}"
        self._server = server
        self._health = checks
        self._path = path

    async def open_for_calls(self) -> None:
        """Listens, mode 0600, and says SERVING."""
        try:
            self._server.add_insecure_port(self.address)
            await asyncio.to_thread(self._path.chmod, 0o600)
        except (RuntimeError, OSError) as error:
            raise ListenRefused(
                f"{self._path}: expected a path for the control socket, found: {error}; a socket's path has at most "
                "107 bytes: give another --control"
            ) from error
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def control_server(supervisor: Driven, home: Home, control: str | None) -> AsyncIterator[ControlPlane]:
    """A control server for `supervisor` at the path `control`, or the home's own.

    ListenRefused when another supervisor has this home: two would follow one ledger and halt apart.
    """
    path = (Path(control.removeprefix("unix:")) if control else home.control_socket).absolute()
    lock = await asyncio.to_thread(_lock, path)
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", MAX_REQUEST_BYTES),))
    checks = health.aio.HealthServicer()
    await checks.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    add_to_server: Any = control_pb2_grpc.add_ControlServicer_to_server  # generated code has no types
    add_to_server(ControlService(supervisor), server)
    reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    try:
        yield ControlPlane(server, checks, path)
    finally:
        await server.stop(0.5)
        await asyncio.to_thread(path.unlink, missing_ok=True)
        os.close(lock)


def _lock(path: Path) -> int:
    """A lock beside the socket, held as long as the descriptor is open; the folder's mode is 0700."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise ListenRefused(
            f"{path}: expected no other supervisor of this home, found one; stop it first, or use another --home"
        ) from error
    return descriptor


def _status(view: Any) -> Any:
    return control_pb2.StatusReply(
        signals=[_signal(each, view.latched) for each in view.signals],
        workers=[_worker(each) for each in view.workers],
        ledger_sequence=view.ledger_sequence,
        ledger_error=view.ledger_error,
    )


def _signal(each: Served, latched: dict[str, str]) -> Any:
    return control_pb2.SignalStatus(
        signal=each.signal,
        generation=each.generation,
        posture=POSTURES[each.posture],
        weight=each.weight,
        live=each.live or "",
        previous=each.previous or "",
        latched=each.signal in latched or EVERY in latched,
        reason=each.reason,
    )


def _worker(each: Any) -> Any:
    said = each.statistics
    return control_pb2.WorkerStatus(
        worker=each.worker,
        pid=each.pid,
        address=each.address,
        serving=each.answers,
        restarts=each.restarts,
        requests=said.requests,
        rows_scored=said.rows_scored,
        batches=said.batches,
        rows_pushed=said.rows_pushed,
        refused=said.rows[3],
        stale=said.rows[1],
        expired=said.expired + said.cancelled,
    )
