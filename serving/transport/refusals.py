"""How an error leaves a grpcio handler: by the one table, and never with a stack."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any

import grpc

from serving.status import INTERNAL, message_of, status_of

LOG = logging.getLogger("signalbox.calls")

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class Refusals:
    """Ends the call of `context` with the status of whatever error leaves the block.

    The trailing metadata `signalbox-retry` says whether the same call may succeed when it is sent again.
    """

    def __init__(self, context: Any) -> None:
        self._context = context

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, Exception):
            return
        status = status_of(error)
        if status is INTERNAL:
            LOG.error("a call failed: %s", error, exc_info=error)
        metadata = (("signalbox-retry", "1" if status.retry else "0"),)
        await self._context.abort(_CODES[status.code], message_of(error), metadata)
