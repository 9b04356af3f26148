"""A unary call between a transport and the handlers."""

from __future__ import annotations

import asyncio
from typing import Protocol

from serving.errors import ServingError
from serving.runtime.engine import NO_DEADLINE_NS


class Call(Protocol):
    """One unary call, as a transport holds it. Exactly one of the two methods is called, once, from the loop."""

    began_ns: int  # when it came in, monotonic clock
    deadline_ns: int  # on the same clock; NO_DEADLINE_NS without one

    def answer(self, body: bytes) -> None:
        """Sends the reply."""
        ...

    def refuse(self, error: ServingError) -> None:
        """Ends the call with the status that `serving.status` gives `error`."""
        ...


class AwaitedCall:
    """A call whose reply a coroutine awaits. `reply` raises the error that the call was refused with."""

    __slots__ = ("began_ns", "deadline_ns", "reply")

    def __init__(self, began_ns: int, deadline_ns: int = NO_DEADLINE_NS) -> None:
        self.began_ns = began_ns
        self.deadline_ns = deadline_ns
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answer(self, body: bytes) -> None:
        """See Call.answer."""
        if not self.reply.done():
            self.reply.set_result(body)

    def refuse(self, error: ServingError) -> None:
        """See Call.refuse."""
        if not self.reply.done():
            self.reply.set_exception(error)
