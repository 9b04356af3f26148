"""The data plane on grpcio's asyncio server: the second transport, same methods as the first (design D1).

async with grpcio_transport(methods, listen="127.0.0.1:8500") as transport:
    ...
    await transport.drain(grace_seconds, stop)
"""

from __future__ import annotations

import asyncio
import base64
import logging
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
from serving.transport.statistics import TransportStatistics

MAX_CONCURRENT_CALLS = 4096  # over all connections
_LAST_CALLS_SECONDS = 0.25  # how long a call that grpcio has taken may still be on its way to a handler
_LOOK_SECONDS = 0.1  # between two looks at whether grpcio's server still runs
_TURNS = 16  # of the loop; a call behind others comes about four after the one before
_NS = 1_000_000_000
_UNIX = "unix:"

LOG = logging.getLogger("signalbox.transport")

Answers = Callable[[bytes, Any], Awaitable[bytes]]
Opens = Callable[[str], Awaitable[tuple[grpc.aio.Server, str]]]  # at an address → and which that is
Streams = Callable[[bytes, Any], Awaitable[None]]


class GrpcioTransport:
    """One worker's data-plane server. Owned by `grpcio_transport`.

    address: HOST:PORT or unix:PATH. outbox: the context that an engine's turn runs in; grpcio needs none.
    """

    def __init__(self, open_server: Opens, arrivals: Arrivals, address: str) -> None:
        self.address = address
        self.outbox: AbstractContextManager[object] = nullcontext()
        self._open_server = open_server
        self._server: grpc.aio.Server = None
        self._arrivals = arrivals
        self._is_leaving = False

    async def start(self) -> None:
        """Begins to serve. ListenRefused when it cannot."""
        self._server, self.address = await self._open_server(self.address)

    async def watch(self) -> None:
        """Opens another server where grpcio's has ended by itself: a :path that is not UTF-8 is enough for that.

        Its calls were CANCELLED, and its port is free. Runs until it is cancelled, or this drains.
        """
        while not self._is_leaving:
            await asyncio.sleep(_LOOK_SECONDS)
            if not self._is_leaving and not self._is_running:
                LOG.error("%s: grpcio's server has ended by itself; another one takes its place", self.address)
                try:
                    await self.start()
                except ListenRefused as error:  # somebody was quicker: the next look tries again
                    LOG.error("%s", error)

    async def close(self) -> None:
        """Cuts off what is left."""
        if self._is_running:
            await self._server.stop(0)

    @property
    def _is_running(self) -> bool:
        return bool(self._server._server.is_running())  # no public word tells of it

    async def drain(self, grace_seconds: float, stop: Callable[[], None]) -> None:
        """Takes no more calls, and ends when those taken are answered or the grace is over.

        stop: called once no new call is taken: streaming methods are to end. A call that comes in this moment may be
        held by grpcio and never given to a handler (grpc/grpc#41785): it is CANCELLED soon, not when the grace is over.
        """
        self._is_leaving = True
        if not self._is_running:
            stop()
            return
        stopping = asyncio.ensure_future(self._server.stop(grace_seconds))
        stop()
        with suppress(TimeoutError):  # what is still unanswered then is cut off by stop()
            await asyncio.wait_for(self._arrivals.over(), grace_seconds)
        await asyncio.wait((stopping,), timeout=_LAST_CALLS_SECONDS)
        await self._server.stop(None)
        await stopping

    @property
    def calls(self) -> int:
        """How many are under way."""
        return self._arrivals.calls

    def statistics(self) -> TransportStatistics:
        """What it holds now."""
        return TransportStatistics(calls=self.calls)


class Arrivals:
    """The calls of a server, from their arrival to their end. It knows no server, so that one goes with its last user.

    grpcio takes in one call at a time, some turns of the loop after the one before, however many wait. So while others
    are open, a call waits a few turns for those behind it, and all are handed over in one turn, to be scored together.
    A lone call is handed over at once.
    """

    def __init__(self) -> None:
        self.calls = 0  # not answered yet
        self._open = 0  # unary ones that are not answered yet, or whose answers are on their way
        self._waiting: list[tuple[Unary, GrpcioCall, bytes]] = []
        self._turns = 0
        self._loop = asyncio.get_running_loop()
        self._idle: asyncio.Event | None = None

    async def over(self) -> None:
        """Ends when every call is answered."""
        self._idle = asyncio.Event()
        if self.calls:
            await self._idle.wait()

    def came(self) -> None:
        """A call has come."""
        self.calls += 1

    def left(self) -> None:
        """A call is answered."""
        self.calls -= 1
        if not self.calls and self._idle is not None:
            self._idle.set()

    def hand_over(self, method: Unary, call: GrpcioCall, body: bytes) -> None:
        """Has `method` answer `call`, at once or a few turns later."""
        self._open += 1
        call.when_over(self._closed)
        self._waiting.append((method, call, body))
        if self._open == 1:
            self._hand_over_all()
        elif len(self._waiting) == 1:
            self._turns = _TURNS
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._turns -= 1
        if self._turns:
            self._loop.call_soon(self._turn)
        else:
            self._hand_over_all()

    def _hand_over_all(self) -> None:
        waiting, self._waiting = self._waiting, []
        for method, call, body in waiting:
            try:
                method.answer(call, body)
            except Exception as error:  # noqa: BLE001 - whatever a method raises, its caller gets a status
                call.fail(error)

    def _closed(self, _context: Any) -> None:
        self._open -= 1


class GrpcioCall(AwaitedCall):
    """A unary call in grpcio's hands. Lives as long as it."""

    __slots__ = ("_context",)

    def __init__(self, context: Any) -> None:
        now_ns = time.monotonic_ns()
        remaining = context.time_remaining()
        super().__init__(now_ns, NO_DEADLINE_NS if remaining is None else now_ns + int(remaining * _NS))
        self._context = context

    def when_over(self, tell: Callable[[Any], None]) -> None:
        """Has `tell` called once the call's end has been sent, or nobody waits for it any more."""
        self._context.add_done_callback(tell)

    def fail(self, error: Exception) -> None:
        """Ends the call with the status of whatever `error` is, if it has not ended already."""
        if not self.reply.done():
            self.reply.set_exception(error)

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
    arrivals = Arrivals()
    handlers = _Handlers(arrivals, methods)

    async def open_server(address: str) -> tuple[grpc.aio.Server, str]:
        if not joins:
            await asyncio.to_thread(_check_free, address)
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MAX_CONCURRENT_CALLS)
        server.add_generic_rpc_handlers((handlers,))
        found = await _listen(server, address, tls)
        await server.start()
        return server, found

    transport = GrpcioTransport(open_server, arrivals, listen)
    await transport.start()
    watching = asyncio.create_task(transport.watch())
    try:
        yield transport
    finally:
        watching.cancel()
        await transport.close()


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """grpcio's handlers of the methods, by path: bytes in, bytes out."""

    def __init__(self, arrivals: Arrivals, methods: Methods) -> None:
        self._handlers = {path: _handler(arrivals, method) for path, method in methods.items()}
        self._arrivals = arrivals

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """See grpc.GenericRpcHandler."""
        path = handler_call_details.method
        return self._handlers.get(path) or _handler(self._arrivals, _unknown(path))


def _handler(arrivals: Arrivals, method: Unary | Streaming) -> grpc.RpcMethodHandler:
    if isinstance(method, Unary):
        return grpc.unary_unary_rpc_method_handler(_answers(arrivals, method))
    return grpc.unary_stream_rpc_method_handler(_streams(arrivals, method))


def _answers(arrivals: Arrivals, method: Unary) -> Answers:
    async def answer(body: bytes, context: Any) -> bytes:
        call = GrpcioCall(context)
        arrivals.came()
        try:
            arrivals.hand_over(method, call, body)
            return await call.reply
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        except Exception as error:  # noqa: BLE001 - as above
            return await refuse(context, error)
        finally:
            arrivals.left()

    return answer


def _streams(arrivals: Arrivals, method: Streaming) -> Streams:
    async def stream(body: bytes, context: Any) -> None:
        arrivals.came()
        try:
            async with aclosing(method.stream(body)) as replies:
                async for reply in replies:
                    await context.write(reply)
        except grpc.aio.BaseError:
            raise  # the caller is gone: grpcio's own affair
        except Exception as error:  # noqa: BLE001 - as above
            await refuse(context, error)
        finally:
            arrivals.left()

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
