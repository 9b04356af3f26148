"""What a transport serves: methods by path, all of them bytes in and bytes out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from serving.transport.call import Call


@dataclass(frozen=True, slots=True)
class Unary:
    """One message in, one out. answer: called in the turn of the loop that brought the request; it never waits."""

    answer: Callable[[Call, bytes], None]


@dataclass(frozen=True, slots=True)
class Streaming:
    """One message in, many out. stream: an asynchronous generator; closed when the caller goes away."""

    stream: Callable[[bytes], AsyncGenerator[bytes, None]]


Method = Unary | Streaming
Methods = Mapping[str, Method]  # by path, as in "/signalbox.v1.Scorer/Score"
