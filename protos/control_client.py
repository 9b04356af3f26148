"""The client's control half: rows in, halt, resume, sync, status (`protos/client.py` is where it is imported from)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

import grpc

from protos.calls import OPTIONS, TIMEOUT_SECONDS, awaited, blocking, call_error
from protos.errors import CallError, Unreachable
from protos.signalbox.v1 import control_pb2, control_pb2_grpc
from protos.views import Pushed, SignalView, StatusView, signal_view, status_view

PUSH_BATCH_ROWS = 4096


class AsyncControlClient:
    """Drives a scorer by its control socket ("unix:PATH" or a path). Owned by an `async with`."""

    def __init__(self, address: str) -> None:
        self._address = control_address(address)
        self._channel: Any = None
        self._stub: Any = None
        self._stream: Any = None
        self._pushing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._address, options=OPTIONS)
        self._stub = _control_stub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.cancel()
        await self._channel.close()

    async def sync(self, generation: int = 0, *, signal: str = "", timeout: float = 30.0) -> tuple[SignalView, ...]:  # noqa: ASYNC109 - as above
        """Has the scorer read the ledger now; returns when every worker serves what it says."""
        request = control_pb2.SyncRequest(signal=signal, generation=generation)
        reply = await awaited(self._stub.Sync(request, timeout=timeout))
        return tuple(signal_view(each) for each in reply.signals)

    async def push(self, rows: Iterable[bytes]) -> Pushed:
        """Sends encoded feature rows; returns when every worker can read them. A refused row does not stop others.

        Calls of one client go out one after the other, over one stream.
        """
        async with self._pushing:
            return _pushed([(len(batch), await self._exchange(batch)) for batch in _batches(rows)])

    async def _exchange(self, batch: list[bytes]) -> Any:
        stream, self._stream = self._stream or self._stub.Push(), None  # an exchange that fails leaves no stream
        try:
            await stream.write(control_pb2.PushRequest(rows=batch))
            reply = await stream.read()
            if reply is grpc.aio.EOF:
                raise _ended(await stream.code(), await stream.details())
        except asyncio.InvalidStateError as error:  # the stream had ended before
            raise _ended(await stream.code(), await stream.details()) from error
        except grpc.RpcError as error:
            raise call_error(error) from error
        self._stream = stream
        return reply

    async def halt(self, signal: str = "", *, reason: str = "", timeout: float = TIMEOUT_SECONDS) -> tuple[str, ...]:  # noqa: ASYNC109 - as above
        """Stops `signal`, "" for all, at once and without the ledger."""
        request = control_pb2.HaltRequest(signal=signal, reason=reason)
        return tuple((await awaited(self._stub.Halt(request, timeout=timeout))).halted)

    async def resume(self, signal: str = "", *, timeout: float = TIMEOUT_SECONDS) -> tuple[str, ...]:  # noqa: ASYNC109 - as above
        """Takes such a halt back; what the ledger halted stays halted."""
        request = control_pb2.ResumeRequest(signal=signal)
        return tuple((await awaited(self._stub.Resume(request, timeout=timeout))).resumed)

    async def status(self, *, timeout: float = TIMEOUT_SECONDS) -> StatusView:  # noqa: ASYNC109 - as above
        """The scorer as it is."""
        return status_view(await awaited(self._stub.Status(control_pb2.StatusRequest(), timeout=timeout)))


class ControlClient:
    """The blocking twin of AsyncControlClient. Owned by a `with`."""

    def __init__(self, address: str) -> None:
        self._address = control_address(address)
        self._channel: Any = None
        self._stub: Any = None
        self._stream: _PushStream | None = None
        self._pushing = threading.Lock()

    def __enter__(self) -> Self:
        self._channel = grpc.insecure_channel(self._address, options=OPTIONS)
        self._stub = _control_stub(self._channel)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        self._channel.close()

    def sync(self, generation: int = 0, *, signal: str = "", timeout: float = 30.0) -> tuple[SignalView, ...]:
        """See AsyncControlClient.sync."""
        request = control_pb2.SyncRequest(signal=signal, generation=generation)
        reply = blocking(lambda: self._stub.Sync(request, timeout=timeout))
        return tuple(signal_view(each) for each in reply.signals)

    def push(self, rows: Iterable[bytes]) -> Pushed:
        """See AsyncControlClient.push."""
        with self._pushing:
            return _pushed([(len(batch), self._exchange(batch)) for batch in _batches(rows)])

    def _exchange(self, batch: list[bytes]) -> Any:
        stream, self._stream = self._stream or _PushStream(self._stub), None
        reply = blocking(lambda: stream.exchange(control_pb2.PushRequest(rows=batch)))
        self._stream = stream
        return reply

    def halt(self, signal: str = "", *, reason: str = "", timeout: float = TIMEOUT_SECONDS) -> tuple[str, ...]:
        """See AsyncControlClient.halt."""
        request = control_pb2.HaltRequest(signal=signal, reason=reason)
        return tuple(blocking(lambda: self._stub.Halt(request, timeout=timeout)).halted)

    def resume(self, signal: str = "", *, timeout: float = TIMEOUT_SECONDS) -> tuple[str, ...]:
        """See AsyncControlClient.resume."""
        request = control_pb2.ResumeRequest(signal=signal)
        return tuple(blocking(lambda: self._stub.Resume(request, timeout=timeout)).resumed)

    def status(self, *, timeout: float = TIMEOUT_SECONDS) -> StatusView:
        """See AsyncControlClient.status."""
        return status_view(blocking(lambda: self._stub.Status(control_pb2.StatusRequest(), timeout=timeout)))


class _PushStream:
    """A Push stream that stays open between pushes."""

    def __init__(self, stub: Any) -> None:
        self._requests: SimpleQueue[Any] = SimpleQueue()
        self._replies = stub.Push(iter(self._requests.get, None))

    def exchange(self, request: Any) -> Any:
        """Sends `request` and waits for its reply."""
        self._requests.put(request)
        try:
            return next(self._replies)
        except StopIteration:
            raise _ended(self._replies.code(), self._replies.details()) from None

    def close(self) -> None:
        """Ends the stream."""
        self._requests.put(None)
        self._replies.cancel()


def control_address(address: str) -> str:
    """`address` as grpc takes it: a path becomes "unix:PATH"."""
    return address if ":" in address else f"unix:{address}"


def _ended(code: Any, details: str) -> CallError:
    return Unreachable(f"{code.name}: {details or 'the scorer ended the push'}", code=code.name, retry=True)


def _control_stub(channel: Any) -> Any:
    return control_pb2_grpc.ControlStub(channel)  # type: ignore[no-untyped-call] # generated code has no types


def _batches(rows: Iterable[bytes]) -> Iterator[list[bytes]]:
    left = iter(rows)
    while batch := list(islice(left, PUSH_BATCH_ROWS)):
        yield batch


def _pushed(answers: Sequence[tuple[int, Any]]) -> Pushed:
    refused: list[tuple[int, str]] = []
    start = 0
    for size, reply in answers:
        refused += [(start + each.index, each.reason) for each in reply.refused]
        start += size
    return Pushed(sum(reply.accepted for _, reply in answers), tuple(refused))
