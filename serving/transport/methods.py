"""What a transport serves: methods by path, all of them bytes in and bytes out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from serving.runtime.lane import Caller
from serving.transport.call import Bytes, Call


def one_by_one(calls: Caller, bodies: Bytes) -> bool:
    """The `answer_all` of a method that takes no calls together."""
    return False


@dataclass(frozen=True, slots=True)
class Unary:
    """One message in, one out. answer: called in the turn of the loop that brought the request; it never waits.

    answer_all: the same of many calls whose messages have one size: uint8 [call, bytes], a view to be copied if kept.
    It answers each as `answer` would, or does nothing and returns False: they are then handed over one by one.
    """

    answer: Callable[[Call, bytes], None]
    answer_all: Callable[[Caller, Bytes], bool] = one_by_one


@dataclass(frozen=True, slots=True)
class Streaming:
    """One message in, many out. stream: an asynchronous generator; closed when the caller goes away."""

    stream: Callable[[bytes], AsyncGenerator[bytes, None]]


Method = Unary | Streaming
Methods = Mapping[str, Method]  # by path, as in "/signalbox.v1.Scorer/Score"
