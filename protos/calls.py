"""What every call of the client has in common: channel options, and what a gRPC error means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import grpc

from protos.errors import CallError, Rejected, Shed, TimedOut, Unreachable

T = TypeVar("T")

TIMEOUT_SECONDS = 5.0
OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.enable_http_proxy", 0),
)
GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_KINDS: dict[Any, type[CallError]] = {
    grpc.StatusCode.UNAVAILABLE: Unreachable,
    grpc.StatusCode.CANCELLED: Unreachable,
    grpc.StatusCode.DEADLINE_EXCEEDED: TimedOut,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Shed,
}


def call_error(error: Any) -> CallError:
    """What a gRPC error means to the caller."""
    code, details = error.code(), error.details() or "no further word"
    retry = any(key == "signalbox-retry" and value == "1" for key, value in error.trailing_metadata() or ())
    return _KINDS.get(code, Rejected)(f"{code.name}: {details}", code=code.name, retry=retry)


async def awaited(call: Any) -> Any:
    """The reply of an asyncio call; CallError when it has none."""
    try:
        return await call
    except grpc.RpcError as error:
        raise call_error(error) from error


def blocking(call: Callable[[], T]) -> T:
    """The reply of a blocking call; CallError when it has none."""
    try:
        return call()
    except grpc.RpcError as error:
        raise call_error(error) from error
