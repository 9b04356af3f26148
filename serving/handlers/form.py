"""What requests of one shape have in common: their route, their model, their number of rows, how a reply is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from serving.errors import ServingError
from serving.handlers.routes import Route
from serving.handlers.wire import Answer
from serving.runtime.backend import Model
from serving.transport.call import Call

Write = Callable[[Answer], bytes]


class Taker(Protocol):
    """Whoever scores a form's rows."""

    def take(self, form: Form, call: Call, features: bytes) -> None:
        """Scores `features` and answers `call`."""
        ...


class Form:
    """Inline requests of one shape. Lives until the next swap.

    rows: how many a request has. write: the reply to an answer; it raises the ServingError that a call is refused with.
    """

    def __init__(self, taker: Taker, route: Route, model: Model, rows: int, write: Write) -> None:
        self.route = route
        self.model = model
        self.rows = rows
        self.write = write
        self._taker = taker

    def take(self, call: Call, features: bytes) -> None:
        """Answers `call`: float32 [rows, feature], little-endian. Whatever is wrong with it ends the call."""
        try:
            self._taker.take(self, call, features)
        except ServingError as error:
            call.refuse(error)
