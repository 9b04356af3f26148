"""How an error leaves a grpcio handler: by the one table, and never with a stack."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any, NoReturn

import grpc

from serving.status import INTERNAL, message_of, status_of, trailers_of

LOG = logging.getLogger("signalbox.calls")

_CODES = {code.value[0]: code for code in grpc.StatusCode}


async def refuse(context: Any, error: Exception) -> NoReturn:
    """Ends the call of `context` with the status of `error`, and raises what tells grpcio so."""
    status = status_of(error)
    if status is INTERNAL:
        LOG.error("a call failed: %s", error, exc_info=error)
    await context.abort(_CODES[status.code], message_of(error), trailers_of(error))
    raise AssertionError("grpcio's abort() always raises")


class Refusals:
    """Ends the call of `context` with the status of whatever error leaves the block."""

    def __init__(self, context: Any) -> None:
        self._context = context

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            await refuse(self._context, error)
