"""Where connections come in: accepted as they come, each through its TLS handshake, not too many of those at once."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial

from serving.transport.http2.limits import Limits
from serving.transport.listen import BACKLOG

LOG = logging.getLogger("signalbox.transport")

_AT_ONCE = 64  # accepted in one turn of the loop: the others' turns come between
_BREATH_SECONDS = 0.5  # after the system had no descriptor left
_GOODBYE_SECONDS = 2.0  # that a TLS peer has to close its side


class Door:
    """Lets connections in at a bound socket, from `open` to `close`.

    make: a protocol for each. Of TLS handshakes under way the oldest is given up where there are too many: an honest
    one is done within moments, and until it is done it counts among no transport's connections.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.Protocol],
        *,
        context: ssl.SSLContext | None,
        limits: Limits,
    ) -> None:
        self._listener = listener
        self._make = make
        self._context = context
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._openings: dict[asyncio.Task[None], None] = {}  # oldest first
        self._pause: asyncio.TimerHandle | None = None
        self._is_open = False

    def open(self) -> None:
        """Begins to accept."""
        self._listener.listen(BACKLOG)
        self._is_open = True
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accepts no more; handshakes under way go on."""
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._listener)
            if self._pause is not None:
                self._pause.cancel()
        self._listener.close()

    async def give_up(self) -> None:
        """Ends the handshakes under way."""
        self.close()
        for opening in list(self._openings):
            opening.cancel()
        await asyncio.gather(*self._openings, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._take_breath(error)
                return
            connection.setblocking(False)
            self._let_in(connection)

    def _take_breath(self, error: OSError) -> None:
        """What waits at the door would wake the loop again and again until a descriptor is free."""
        LOG.error("no connection can be accepted for now: %s; raise the limit of open files (ulimit -n)", error)
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(_BREATH_SECONDS, self._accept_again)

    def _accept_again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listener, self._accept)

    def _let_in(self, connection: socket.socket) -> None:
        opening = self._loop.create_task(self._open(connection))
        self._openings[opening] = None
        opening.add_done_callback(partial(self._opened, connection))
        if self._context is not None and len(self._openings) > self._limits.handshakes:
            oldest = next(iter(self._openings))
            del self._openings[oldest]
            oldest.cancel()

    def _opened(self, connection: socket.socket, opening: asyncio.Task[None]) -> None:
        self._openings.pop(opening, None)
        if opening.cancelled():
            connection.close()

    async def _open(self, connection: socket.socket) -> None:
        context = self._context
        try:
            await self._loop.connect_accepted_socket(
                self._make,
                connection,
                ssl=context,
                ssl_handshake_timeout=None if context is None else self._limits.handshake_seconds,
                ssl_shutdown_timeout=None if context is None else _GOODBYE_SECONDS,
            )
        except OSError as error:  # ssl.SSLError and the handshake's timeout among them
            LOG.debug("a handshake failed: %s", error)
            connection.close()
