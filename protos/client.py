"""The one client of a scorer, asyncio and blocking: the OMS, the monitor and the publisher use it.

    async with AsyncClient("127.0.0.1:8500") as scorer:
        score = await scorer.score("large_caps")

    with ControlClient("unix:.signalbox/run/control.sock") as control:
        control.push(rows)

A call that finds a worker gone is sent once more, to the next address: scoring twice is harmless. Every error is a
`protos.errors.CallError`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
import numpy.typing as npt

from protos.calls import GONE, OPTIONS, TIMEOUT_SECONDS, call_error
from protos.control_client import AsyncControlClient, ControlClient
from protos.errors import CallError, Rejected, Shed, TimedOut, Unreachable
from protos.score import Score, read_score
from protos.signalbox.v1 import scorer_pb2, scorer_pb2_grpc
from protos.views import Description, Pushed, SignalView, StatusView, WorkerView, description

__all__ = [
    "AsyncClient",
    "AsyncControlClient",
    "CallError",
    "Client",
    "ControlClient",
    "Description",
    "Pushed",
    "Rejected",
    "Score",
    "Shed",
    "SignalView",
    "StatusView",
    "TimedOut",
    "Unreachable",
    "WorkerView",
]

Float32s = npt.NDArray[np.float32]


class AsyncClient:
    """Asks scorers; `addresses` are workers that serve the same. Owned by an `async with`."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = addresses
        self._channels: list[Any] = []
        self._stubs: list[Any] = []
        self._next = 0

    async def __aenter__(self) -> Self:
        self._channels = [grpc.aio.insecure_channel(each, options=OPTIONS) for each in self._addresses]
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
        return tuple(description(each) for each in reply.signals)

    async def _call(self, method: str, request: Any, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        failed: grpc.RpcError | None = None
        for _ in range(2):
            asked = self._next
            stub = self._stubs[asked % len(self._stubs)]
            try:
                return await getattr(stub, method)(request, timeout=_remaining(deadline, seconds))
            except grpc.aio.AioRpcError as error:
                failed = error
                if error.code() not in GONE:
                    break
                self._next = max(self._next, asked + 1)  # calls that fail together move on together
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
        self._channels = [grpc.insecure_channel(each, options=OPTIONS) for each in self._addresses]
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
        return tuple(description(each) for each in reply.signals)

    def _call(self, method: str, request: Any, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        failed: grpc.RpcError | None = None
        for _ in range(2):
            asked = self._next
            stub = self._stubs[asked % len(self._stubs)]
            try:
                return getattr(stub, method)(request, timeout=_remaining(deadline, seconds))
            except grpc.RpcError as error:
                failed = error
                if error.code() not in GONE:
                    break
                self._next = max(self._next, asked + 1)  # calls that fail together move on together
        assert failed is not None
        raise call_error(failed) from failed


def _remaining(deadline: float, seconds: float) -> float:
    """What is left until `deadline` on the monotonic clock. TimedOut when nothing is."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimedOut(f"expected an answer within {seconds} s, found no time left to ask", code="DEADLINE_EXCEEDED")
    return remaining


def _scorer_stub(channel: Any) -> Any:
    return scorer_pb2_grpc.ScorerStub(channel)  # type: ignore[no-untyped-call] # generated code has no types


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
