"""The data plane on grpcio's asyncio server: the second transport, same methods as the first (design D1).

async with grpcio_transport(methods, listen="127.0.0.1:8500") as transport:
    ...
    await transport.drain(grace_seconds, stop)
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import grpc

from serving.errors import ListenRefused, UnknownMethod
from serving.runtime.engine import NO_DEADLINE_NS
from serving.transport.call import AwaitedCall, Call, Metadata
from serving.transport.http2.limits import Limits
from serving.transport.listen import Tls, bind
from serving.transport.methods import Methods, Streaming, Unary
from serving.transport.refusals import refuse

MAX_CONCURRENT_CALLS = 4096  # over all connections
_NS = 1_000_000_000
_UNIX = "unix:"

Answers = Callable[[bytes, Any], Awaitable[bytes]]
Streams = Callable[[bytes, Any], Awaitable[None]]


class GrpcioTransport:
    """One worker's data-plane server. Owned by `grpcio_transport`.

    address: HOST:PORT or unix:PATH. outbox: the context that an engine's turn runs in; grpcio needs none.
    """

    def __init__(self, server: grpc.aio.Server, address: str) -> None:
        self.address = address
        self.outbox: AbstractContextManager[object] = nullcontext()
        self.calls = 0  # under way
        self._server = server
        self._idle = asyncio.Event()
        self._draining = False

    async def drain(self, grace_seconds: float, stop: Callable[[], None]) -> None:
        """Takes no more calls, and ends when those taken are answered or the grace is over.

        stop: called once no new call is taken: streaming methods are to end.
        """
        self._draining = True
        stopping = asyncio.ensure_future(self._server.stop(grace_seconds))
        stop()
        self.left(0)
        with suppress(TimeoutError):  # what is still unanswered then is cut off by stop()
            await asyncio.wait_for(self._idle.wait(), grace_seconds)
        await stopping

    def left(self, calls: int = 1) -> None:
        """So many calls are over."""
        self.calls -= calls
        if self._draining and not self.calls:
            self._idle.set()


class GrpcioCall(AwaitedCall):
    """A unary call in grpcio's hands. Lives as long as it."""

    __slots__ = ("_context",)

    def __init__(self, context: Any) -> None:
        now_ns = time.monotonic_ns()
        remaining = context.time_remaining()
        super().__init__(now_ns, NO_DEADLINE_NS if remaining is None else now_ns + int(remaining * _NS))
        self._context = context

    def metadata(self) -> Metadata:
        """See Call.metadata."""
        return tuple((key, _text(value)) for key, value in self._context.invocation_metadata())


def _text(value: str | bytes) -> str:
    """A metadata value as it came: grpcio decodes the binary ones, which travel as base64 without padding."""
    return value if isinstance(value, str) else base64.b64encode(value).decode().rstrip("=")


@asynccontextmanager
async def grpcio_transport(
    methods: Methods, *, listen: str, tls: Tls | None = None, limits: Limits | None = None, joins: bool = False
) -> AsyncIterator[GrpcioTransport]:
    """A server of `methods` that listens at HOST:PORT (port 0: any free one) or unix:PATH. ListenRefused when it can't.

    Of `limits` it keeps those that grpcio has an option for: concurrent streams, header list and message bytes.
    joins: the port is kept for this scorer already (SO_REUSEPORT), and shared with those who listen there.
    """
    options = (*_options(limits or Limits()), ("grpc.so_reuseport", int(joins)))
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS)
    if not joins:
        await asyncio.to_thread(_check_free, listen)
    transport = GrpcioTransport(server, await _listen(server, listen, tls))
    server.add_generic_rpc_handlers((_Handlers(transport, methods),))
    try:
        await server.start()
        yield transport
    finally:
        await server.stop(0)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """grpcio's handlers of the methods, by path: bytes in, bytes out."""

    def __init__(self, transport: GrpcioTransport, methods: Methods) -> None:
        self._handlers = {path: _handler(transport, method) for path, method in methods.items()}
        self._transport = transport

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """See grpc.GenericRpcHandler."""
        path = handler_call_details.method
        return self._handlers.get(path) or _handler(self._transport, _unknown(path))


def _handler(transport: GrpcioTransport, method: Unary | Streaming) -> grpc.RpcMethodHandler:
    if isinstance(method, Unary):
        return grpc.unary_unary_rpc_method_handler(_answers(transport, method))
    return grpc.unary_stream_rpc_method_handler(_streams(transport, method))


def _answers(transport: GrpcioTransport, method: Unary) -> Answers:
    async def answer(body: bytes, context: Any) -> bytes:
        call = GrpcioCall(context)
        transport.calls += 1
        try:
            method.answer(call, body)
            return await call.reply
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        except Exception as error:  # noqa: BLE001 - whatever a method raises, its caller gets a status
            return await refuse(context, error)
        finally:
            transport.left()

    return answer


def _streams(transport: GrpcioTransport, method: Streaming) -> Streams:
    async def stream(body: bytes, context: Any) -> None:
        transport.calls += 1
        try:
            async with aclosing(method.stream(body)) as replies:
                async for reply in replies:
                    await context.write(reply)
        except grpc.aio.BaseError:
            raise  # the caller is gone: grpcio's own affair
        except Exception as error:  # noqa: BLE001 - as above
            await refuse(context, error)
        finally:
            transport.left()

    return stream


def _unknown(path: str) -> Unary:
    def refuse_it(_call: Call, _body: bytes) -> None:
        raise UnknownMethod(f"expected a method that is served here, found {path[:120]!r}")

    return Unary(refuse_it)


def _options(limits: Limits) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_concurrent_streams", limits.concurrent_streams),
        ("grpc.max_metadata_size", limits.header_list_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_list_bytes),
    )


def _check_free(listen: str) -> None:
    """ListenRefused when `listen` is taken: grpcio would take a Unix socket away from who listens there."""
    bind(listen).close()


async def _listen(server: grpc.aio.Server, listen: str, tls: Tls | None) -> str:
    """Has `server` listen; returns where."""
    try:
        if tls is None:
            port = server.add_insecure_port(listen)
        else:
            port = server.add_secure_port(listen, await asyncio.to_thread(_credentials, tls))
    except RuntimeError as error:
        raise ListenRefused(f"{listen}: expected a free address, found: {error}; choose another --listen") from error
    if listen.startswith(_UNIX):
        await asyncio.to_thread(Path(listen.removeprefix(_UNIX)).chmod, 0o600)
        return listen
    return f"{listen.rpartition(':')[0]}:{port}"


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    tls.context()  # refuses by name what is wrong with the files
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    roots = None if tls.client_ca is None else tls.client_ca.read_bytes()
    return grpc.ssl_server_credentials((pair,), roots, require_client_auth=roots is not None)
