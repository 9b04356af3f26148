"""The one client of a scorer, asyncio and blocking: the OMS, the monitor and the publisher use it.

    async with AsyncClient("127.0.0.1:8500") as scorer:
        score = await scorer.score("large_caps")

    with ControlClient("unix:.signalbox/run/control.sock") as control:
        control.push(rows)

A call that finds a worker gone is sent once more, to the next address: scoring twice is harmless. Every error is a
`protos.errors.CallError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
import numpy.typing as npt

from protos.errors import CallError, Rejected, Shed, TimedOut, Unreachable
from protos.score import Posture, Score, posture_name, read_score
from protos.signalbox.v1 import control_pb2, control_pb2_grpc, scorer_pb2, scorer_pb2_grpc

Float32s = npt.NDArray[np.float32]

TIMEOUT_SECONDS = 5.0
PUSH_BATCH_ROWS = 4096
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


@dataclass(frozen=True)
class Description:
    """A signal as a scorer serves it. features: names in the model's order. instruments: the universe in its order."""

    signal: str
    generation: int
    posture: Posture
    weight: float
    live: str
    releases: tuple[str, ...]
    feature_set_id: str
    features: tuple[str, ...]
    instruments: tuple[str, ...]


@dataclass(frozen=True)
class Pushed:
    """What became of pushed rows. refused: (index among the rows pushed, why)."""

    accepted: int
    refused: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class SignalView:
    """A signal as the control plane sees it. latched: halted there, whatever the ledger says; reason: why, or ""."""

    signal: str
    generation: int
    posture: Posture
    weight: float
    live: str
    previous: str
    latched: bool
    reason: str


@dataclass(frozen=True)
class WorkerView:
    """A worker's address and counts since it started."""

    worker: int
    pid: int
    address: str
    restarts: int
    requests: int
    rows_scored: int
    batches: int
    rows_pushed: int
    refused: int
    stale: int
    expired: int


@dataclass(frozen=True)
class StatusView:
    """A scorer as a whole. ledger_error: why the ledger could not be read when last looked at, or ""."""

    signals: tuple[SignalView, ...]
    workers: tuple[WorkerView, ...]
    ledger_sequence: int
    ledger_error: str


class AsyncClient:
    """Asks scorers; `addresses` are workers that serve the same. Owned by an `async with`."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses
        self._channels: list[Any] = []
        self._stubs: list[Any] = []
        self._next = 0

    async def __aenter__(self) -> Self:
        self._channels = [grpc.aio.insecure_channel(each, options=_OPTIONS) for each in self._addresses]
        self._stubs = [_scorer_stub(channel) for channel in self._channels]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels:
            await channel.close()

    async def score(
        self,
        signal: str,
        instruments: Sequence[str] = (),
        *,
        features: Float32s | None = None,
        release: str | None = None,
        max_feature_age_ms: int | None = None,
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 - it travels to the server as the call's deadline
    ) -> Score:
        """Scores of `signal`: of `instruments`, of its universe when none is named, or of the rows in `features`.

        features: [n, feature] in the order that `describe` gives; sent as float32. release: digest of a loaded
        release, None for the live one. max_feature_age_ms: older rows are STALE. timeout: seconds.
        """
        request = _score_request(signal, instruments, features, release, max_feature_age_ms)
        reply = await self._call("Score", request, timeout)
        return read_score(signal, tuple(instruments), reply)

    async def subscribe(self, signal: str, instruments: Sequence[str] = ()) -> AsyncIterator[Score]:
        """The present scores, then new ones whenever something changed. Close the generator to end it."""
        call = self._stubs[self._next % len(self._stubs)].Subscribe(
            scorer_pb2.SubscribeRequest(signal=signal, instruments=instruments)
        )
        try:
            async for reply in call:
                yield read_score(signal, tuple(instruments), reply)
        except grpc.RpcError as error:
            raise call_error(error) from error
        finally:
            call.cancel()

    async def describe(
        self,
        signal: str = "",
        *,
        timeout: float = TIMEOUT_SECONDS,  # noqa: ASYNC109 - as above
    ) -> tuple[Description, ...]:
        """What is served: one signal, or all of them."""
        reply = await self._call("Describe", scorer_pb2.DescribeRequest(signal=signal), timeout)
        return tuple(_description(each) for each in reply.signals)

    async def _call(self, method: str, request: Any, seconds: float) -> Any:
        deadline = asyncio.get_running_loop().time() + seconds
        failed: grpc.RpcError | None = None
        for _ in range(2):
            stub = self._stubs[self._next % len(self._stubs)]
            remaining = deadline - asyncio.get_running_loop().time()
            try:
                return await getattr(stub, method)(request, timeout=max(0.0, remaining))
            except grpc.aio.AioRpcError as error:
                failed = error
                if error.code() not in _GONE:
                    break
                self._next += 1
        assert failed is not None
        raise call_error(failed) from failed


class Client:
    """The blocking twin of AsyncClient. Owned by a `with`; usable from several threads."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses
        self._channels: list[Any] = []
        self._stubs: list[Any] = []
        self._next = 0

    def __enter__(self) -> Self:
        self._channels = [grpc.insecure_channel(each, options=_OPTIONS) for each in self._addresses]
        self._stubs = [_scorer_stub(channel) for channel in self._channels]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels:
            channel.close()

    def score(
        self,
        signal: str,
        instruments: Sequence[str] = (),
        *,
        features: Float32s | None = None,
        release: str | None = None,
        max_feature_age_ms: int | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Score:
        """See AsyncClient.score."""
        request = _score_request(signal, instruments, features, release, max_feature_age_ms)
        return read_score(signal, tuple(instruments), self._call("Score", request, timeout))

    def subscribe(self, signal: str, instruments: Sequence[str] = ()) -> Iterator[Score]:
        """See AsyncClient.subscribe."""
        request = scorer_pb2.SubscribeRequest(signal=signal, instruments=instruments)
        call = self._stubs[self._next % len(self._stubs)].Subscribe(request)
        try:
            for reply in call:
                yield read_score(signal, tuple(instruments), reply)
        except grpc.RpcError as error:
            raise call_error(error) from error
        finally:
            call.cancel()

    def describe(self, signal: str = "", *, timeout: float = TIMEOUT_SECONDS) -> tuple[Description, ...]:
        """See AsyncClient.describe."""
        reply = self._call("Describe", scorer_pb2.DescribeRequest(signal=signal), timeout)
        return tuple(_description(each) for each in reply.signals)

    def _call(self, method: str, request: Any, seconds: float) -> Any:
        failed: grpc.RpcError | None = None
        for _ in range(2):
            try:
                return getattr(self._stubs[self._next % len(self._stubs)], method)(request, timeout=seconds)
            except grpc.RpcError as error:
                failed = error
                if error.code() not in _GONE:
                    break
                self._next += 1
        assert failed is not None
        raise call_error(failed) from failed


class AsyncControlClient:
    """Drives a scorer by its control socket ("unix:PATH" or a path). Owned by an `async with`."""

    def __init__(self, address: str) -> None:
        self._address = control_address(address)
        self._channel: Any = None
        self._stub: Any = None

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._address, options=_OPTIONS)
        self._stub = _control_stub(self._channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def sync(self, generation: int = 0, *, signal: str = "", timeout: float = 30.0) -> tuple[SignalView, ...]:  # noqa: ASYNC109 - as above
        """Has the scorer read the ledger now; returns when every worker serves what it says."""
        request = control_pb2.SyncRequest(signal=signal, generation=generation)
        reply = await _awaited(self._stub.Sync(request, timeout=timeout))
        return tuple(_signal_view(each) for each in reply.signals)

    async def push(self, rows: Iterable[bytes]) -> Pushed:
        """Sends encoded feature rows; returns when every worker can read them. A refused row does not stop others."""
        call = self._stub.Push()
        answers: list[Any] = []
        try:
            for batch in _batches(rows):
                await call.write(control_pb2.PushRequest(rows=batch))
                reply = await call.read()
                if reply is grpc.aio.EOF:
                    break
                answers.append((len(batch), reply))
            await call.done_writing()
            await _end_of(call)
        except grpc.RpcError as error:
            raise call_error(error) from error
        finally:
            call.cancel()
        return _pushed(answers)

    async def halt(self, signal: str = "", *, reason: str = "", timeout: float = TIMEOUT_SECONDS) -> tuple[str, ...]:  # noqa: ASYNC109 - as above
        """Stops `signal`, "" for all, at once and without the ledger."""
        request = control_pb2.HaltRequest(signal=signal, reason=reason)
        return tuple((await _awaited(self._stub.Halt(request, timeout=timeout))).halted)

    async def resume(self, signal: str = "", *, timeout: float = TIMEOUT_SECONDS) -> tuple[str, ...]:  # noqa: ASYNC109 - as above
        """Takes such a halt back; what the ledger halted stays halted."""
        request = control_pb2.ResumeRequest(signal=signal)
        return tuple((await _awaited(self._stub.Resume(request, timeout=timeout))).resumed)

    async def status(self, *, timeout: float = TIMEOUT_SECONDS) -> StatusView:  # noqa: ASYNC109 - as above
        """The scorer as it is."""
        return _status(await _awaited(self._stub.Status(control_pb2.StatusRequest(), timeout=timeout)))


class ControlClient:
    """The blocking twin of AsyncControlClient. Owned by a `with`."""

    def __init__(self, address: str) -> None:
        self._address = control_address(address)
        self._channel: Any = None
        self._stub: Any = None

    def __enter__(self) -> Self:
        self._channel = grpc.insecure_channel(self._address, options=_OPTIONS)
        self._stub = _control_stub(self._channel)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def sync(self, generation: int = 0, *, signal: str = "", timeout: float = 30.0) -> tuple[SignalView, ...]:
        """See AsyncControlClient.sync."""
        request = control_pb2.SyncRequest(signal=signal, generation=generation)
        reply = _blocking(lambda: self._stub.Sync(request, timeout=timeout))
        return tuple(_signal_view(each) for each in reply.signals)

    def push(self, rows: Iterable[bytes]) -> Pushed:
        """See AsyncControlClient.push."""
        batches = list(_batches(rows))
        requests = (control_pb2.PushRequest(rows=batch) for batch in batches)
        replies = _blocking(lambda: list(self._stub.Push(requests)))
        return _pushed([(len(batch), reply) for batch, reply in zip(batches, replies, strict=False)])

    def halt(self, signal: str = "", *, reason: str = "", timeout: float = TIMEOUT_SECONDS) -> tuple[str, ...]:
        """See AsyncControlClient.halt."""
        request = control_pb2.HaltRequest(signal=signal, reason=reason)
        return tuple(_blocking(lambda: self._stub.Halt(request, timeout=timeout)).halted)

    def resume(self, signal: str = "", *, timeout: float = TIMEOUT_SECONDS) -> tuple[str, ...]:
        """See AsyncControlClient.resume."""
        request = control_pb2.ResumeRequest(signal=signal)
        return tuple(_blocking(lambda: self._stub.Resume(request, timeout=timeout)).resumed)

    def status(self, *, timeout: float = TIMEOUT_SECONDS) -> StatusView:
        """See AsyncControlClient.status."""
        return _status(_blocking(lambda: self._stub.Status(control_pb2.StatusRequest(), timeout=timeout)))


def control_address(address: str) -> str:
    """`address` as grpc takes it: a path becomes "unix:PATH"."""
    return address if ":" in address else f"unix:{address}"


def call_error(error: Any) -> CallError:
    """What a gRPC error means to the caller."""
    code, details = error.code(), error.details() or "no further word"
    retry = any(key == "signalbox-retry" and value == "1" for key, value in error.trailing_metadata() or ())
    kinds: dict[Any, type[CallError]] = {
        grpc.StatusCode.UNAVAILABLE: Unreachable,
        grpc.StatusCode.CANCELLED: Unreachable,
        grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
        grpc.StatusCode.RESOURCE_EXHAUSTED: Shed,
    }
    return kinds.get(code, Rejected)(f"{code.name}: {details}", code=code.name, retry=retry)


async def _awaited(call: Any) -> Any:
    try:
        return await call
    except grpc.RpcError as error:
        raise call_error(error) from error


async def _end_of(call: Any) -> None:
    if await call.code() is not grpc.StatusCode.OK:
        raise Rejected(f"{(await call.code()).name}: {await call.details()}", code=(await call.code()).name)


def _blocking(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except grpc.RpcError as error:
        raise call_error(error) from error


def _scorer_stub(channel: Any) -> Any:
    return scorer_pb2_grpc.ScorerStub(channel)  # type: ignore[no-untyped-call] # generated code has no types


def _control_stub(channel: Any) -> Any:
    return control_pb2_grpc.ControlStub(channel)  # type: ignore[no-untyped-call] # generated code has no types


def _score_request(
    signal: str,
    instruments: Sequence[str],
    features: Float32s | None,
    release: str | None,
    max_feature_age_ms: int | None,
) -> Any:
    inline = b"" if features is None else np.ascontiguousarray(features, "<f4").tobytes()
    return scorer_pb2.ScoreRequest(
        signal=signal,
        instruments=instruments,
        features=inline,
        release=release or "",
        max_feature_age_ms=max_feature_age_ms,
    )


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


def _description(each: Any) -> Description:
    return Description(
        signal=each.signal,
        generation=each.generation,
        posture=posture_name(each.posture),
        weight=each.weight,
        live=each.live,
        releases=tuple(each.releases),
        feature_set_id=each.feature_set_id.hex(),
        features=tuple(each.features),
        instruments=tuple(each.instruments),
    )


def _signal_view(each: Any) -> SignalView:
    return SignalView(
        signal=each.signal,
        generation=each.generation,
        posture=posture_name(each.posture),
        weight=each.weight,
        live=each.live,
        previous=each.previous,
        latched=each.latched,
        reason=each.reason,
    )


def _status(reply: Any) -> StatusView:
    counts = list(WorkerView.__dataclass_fields__)
    return StatusView(
        signals=tuple(_signal_view(each) for each in reply.signals),
        workers=tuple(WorkerView(**{name: getattr(each, name) for name in counts}) for each in reply.workers),
        ledger_sequence=reply.ledger_sequence,
        ledger_error=reply.ledger_error,
    )
