"""A unary call between a transport and the handlers."""

from __future__ import annotations

import asyncio
from typing import Protocol

import numpy as np
import numpy.typing as npt

from serving.errors import ServingError
from serving.runtime.engine import NO_DEADLINE_NS
from serving.runtime.lane import Caller, Single

Bytes = npt.NDArray[np.uint8]
Metadata = tuple[tuple[str, str], ...]


class Call(Caller, Protocol):
    """One unary call, as a transport holds it. It is ended once, from the loop."""

    deadline_ns: int

    def metadata(self) -> Metadata:
        """What the caller sent beside the message: lower-case names; binary values in base64 without padding."""
        ...


class AwaitedCall(Single):
    """A call whose reply a coroutine awaits. `reply` raises the error that the call was refused with."""

    __slots__ = ("_metadata", "began_ns", "cancelled", "deadline_ns", "reply")

    def __init__(self, began_ns: int, deadline_ns: int = NO_DEADLINE_NS, metadata: Metadata = ()) -> None:
        self.began_ns = began_ns
        self.deadline_ns = deadline_ns
        self.cancelled = False
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._metadata = metadata

    def answer(self, body: bytes) -> None:
        """See Call.answer."""
        if not self.reply.done():
            self.reply.set_result(body)

    def refuse(self, error: ServingError) -> None:
        """See Call.refuse."""
        if not self.reply.done():
            self.reply.set_exception(error)

    def metadata(self) -> Metadata:
        """See Call.metadata."""
        return self._metadata
