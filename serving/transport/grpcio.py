"""The data plane on grpcio's asyncio server: the second transport, same handlers as the first (design D1)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protos.signalbox.v1 import scorer_pb2
from serving.errors import ListenRefused
from serving.handlers.scorer import Scorer
from serving.runtime.engine import NO_DEADLINE_NS
from serving.transport.call import AwaitedCall
from serving.transport.refusals import Refusals

SERVICE: str = scorer_pb2.DESCRIPTOR.services_by_name["Scorer"].full_name
MAX_REQUEST_BYTES = 32 * 2**20
MAX_CONCURRENT_CALLS = 4096
_NS = 1_000_000_000
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),  # an address that is taken is an error, not a share
)


class GrpcioTransport:
    """One worker's data-plane server. Owned by `grpcio_transport`."""

    def __init__(self, scorer: Scorer, server: grpc.aio.Server, checks: health.aio.HealthServicer) -> None:
        self.address = ""
        self._scorer = scorer
        self._server = server
        self._health = checks
        self.calls = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def set_serving(self, service: str, serving: bool) -> None:
        """What health checks say of `service`; "" is the worker as a whole."""
        words = health_pb2.HealthCheckResponse
        await self._health.set(service, words.SERVING if serving else words.NOT_SERVING)

    async def drain(self, grace_seconds: float) -> None:
        """Says NOT_SERVING, takes no more calls, and ends when those taken are answered or the grace is over."""
        await self._health.enter_graceful_shutdown()
        self._scorer.drain()
        stopping = asyncio.ensure_future(self._server.stop(grace_seconds))
        with suppress(TimeoutError):  # what is still unanswered then is cut off by stop()
            await asyncio.wait_for(self.idle.wait(), grace_seconds)
        await stopping

    async def score(self, body: bytes, context: Any) -> bytes:
        """The handler of Score."""
        async with _Counted(self, context):
            now_ns = time.monotonic_ns()
            call = AwaitedCall(now_ns, _deadline_ns(context, now_ns))
            job = self._scorer.score(call, body)
            try:
                return await call.reply
            finally:
                if job is not None:
                    job.cancelled = True  # without effect once it has been run

    async def subscribe(self, body: bytes, context: Any) -> AsyncIterator[bytes]:
        """The handler of Subscribe."""
        async with _Counted(self, context):
            async for reply in self._scorer.subscribe(body):
                yield reply

    async def describe(self, body: bytes, context: Any) -> bytes:
        """The handler of Describe."""
        async with _Counted(self, context):
            return self._scorer.describe(body)


class _Counted(Refusals):
    """A call while it is being answered: counted, so that a drain knows when the last one has been."""

    def __init__(self, transport: GrpcioTransport, context: Any) -> None:
        super().__init__(context)
        self._transport = transport

    async def __aenter__(self) -> None:
        self._transport.calls += 1
        self._transport.idle.clear()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transport.calls -= 1
        if not self._transport.calls:
            self._transport.idle.set()
        await super().__aexit__(kind, error, trace)


@asynccontextmanager
async def grpcio_transport(scorer: Scorer, *, host: str, port: int) -> AsyncIterator[GrpcioTransport]:
    """A data-plane server that listens on HOST:PORT (port 0: any free one), NOT_SERVING until told otherwise.

    ListenRefused when the address is taken.
    """
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS)
    checks = health.aio.HealthServicer()
    transport = GrpcioTransport(scorer, server, checks)
    await transport.set_serving("", False)  # a health servicer is born SERVING
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    server.add_generic_rpc_handlers((_handlers(transport),))
    try:
        transport.address = f"{host}:{_listen(server, host, port)}"
        await server.start()
        yield transport
    finally:
        await server.stop(0)


def _handlers(transport: GrpcioTransport) -> grpc.GenericRpcHandler:
    """Bytes in, bytes out: messages are read and written by `serving.handlers.wire` alone."""
    unary: Callable[[Any], Any] = grpc.unary_unary_rpc_method_handler
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Score": unary(transport.score),
            "Subscribe": grpc.unary_stream_rpc_method_handler(transport.subscribe),
            "Describe": unary(transport.describe),
        },
    )


def _listen(server: grpc.aio.Server, host: str, port: int) -> int:
    try:
        bound: int = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise ListenRefused(
            f"{host}:{port}: expected a free address, found one that is taken or not ours; choose another --listen, "
            "or stop what listens there (a worker whose supervisor was killed serves on until it gets SIGTERM)"
        ) from error
    return bound


def _deadline_ns(context: Any, now_ns: int) -> int:
    remaining = context.time_remaining()
    return NO_DEADLINE_NS if remaining is None else now_ns + int(remaining * _NS)
