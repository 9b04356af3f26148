"""One connection to a Redis: a question, its answer, and nothing between them.

The redis library is used at its connection, not at its pool. A question that is cancelled or times out leaves an answer
unread, which the next question on that connection would take for its own (redis-py #2665): so a connection belongs to
one task, and is dropped with the block that opened it, whatever ended the block. The library's own time limits are
off: its limit on sending loses a cancellation that comes together with the end of the send (`asyncio.wait_for` before
Python 3.12), its limit on reading leaves the answer unread when it is given for one question.
"""

from __future__ import annotations

import asyncio
import builtins
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - the library's own, not Python's
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004 - as above
)

from features.errors import (
    FeedAddressError,
    FeedAnswerError,
    FeedDeniedError,
    FeedError,
    FeedKeyError,
    FeedUnreachableError,
)
from features.redis_server import RedisServer

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 5.0
_DENIED = (AuthenticationError, AuthorizationError, NoPermissionError)
_AWAY = (ConnectionError, TimeoutError, BusyLoadingError, MasterDownError, ReadOnlyError, OutOfMemoryError, OSError)
_AnyConnection = Connection | SSLConnection | UnixDomainSocketConnection


class RedisConnection:
    """An open connection. Owned by `redis_connection`."""

    def __init__(self, connection: _AnyConnection, server: RedisServer, answer_seconds: float) -> None:
        self._connection = connection
        self._server = server
        self._answer_seconds = answer_seconds

    async def ask(self, *command: bytes | str | int) -> Any:
        """The answer to `command`: bytes, int, None, or lists and dictionaries of these (RESP3).

        FeedUnreachableError when none comes in time, FeedDeniedError, FeedKeyError for a key of another type,
        FeedAnswerError for any other error. After each of these but a refusal the connection is of no more use.
        """
        try:
            async with asyncio.timeout(self._answer_seconds):
                await self._connection.send_command(*command, check_health=False)
                return await self._connection.read_response(disable_decoding=True)
        except Exception as error:  # a peer that is no Redis makes the library's parser raise anything
            raise feed_error(self._server, error) from error


@asynccontextmanager
async def redis_connection(
    server: RedisServer, *, connect_seconds: float = CONNECT_SECONDS, answer_seconds: float = ANSWER_SECONDS
) -> AsyncIterator[RedisConnection]:
    """A connection of its own, logged in; it is dropped when the block is left.

    connect_seconds: for the socket and TLS. answer_seconds: for each answer, the greeting's too. Raises as
    `RedisConnection.ask` does, and FeedAddressError for a URL that cannot be used.
    """
    connection = _connection(server, connect_seconds)
    try:
        if isinstance(connection, SSLConnection):
            connection.ssl_context.context = await asyncio.to_thread(_tls, server.ca_file)
        try:
            async with asyncio.timeout(connect_seconds + answer_seconds):
                await connection.connect()  # type: ignore[no-untyped-call] # the library leaves this one without types
        except Exception as error:  # as in `ask`
            raise feed_error(server, error) from error
        yield RedisConnection(connection, server, answer_seconds)
    finally:
        await connection.disconnect(nowait=True)


def feed_error(server: RedisServer, error: Exception) -> FeedError:
    """What an error of the library means. Its text names the server and the user, never the password."""
    if isinstance(error, ConnectionError) and error.args and isinstance(error.args[0], Exception):
        error = error.args[0]  # over a Unix socket the library wraps what its own greeting raised
    text = str(error) or type(error).__name__
    if isinstance(error, _DENIED) or "user executing the script" in text:
        user = server.user or "default"
        return FeedDeniedError(
            f"{server.url}: expected that user {user!r} may do this, found: {text}; give it its password and its "
            "rights (docs/redis.md)"
        )
    if isinstance(error, _AWAY):
        text = "no answer in time" if isinstance(error, builtins.TimeoutError) else text
        return FeedUnreachableError(f"{server.url}: expected a Redis that answers, found: {text}; is it running?")
    if isinstance(error, ResponseError) and "WRONGTYPE" in text:
        return FeedKeyError(
            f"{server.url}: expected a stream and a hash under `sb:`, found a key of another type: {text}; delete that "
            "key, then publish again"
        )
    return FeedAnswerError(f"{server.url}: expected an answer of Redis 7 or later, found: {text}; what listens there?")


def _connection(server: RedisServer, connect_seconds: float) -> _AnyConnection:
    address = server.address
    options: dict[str, Any] = {
        "db": address.database,
        "username": server.user or None,
        "password": server.password or None,
        "socket_connect_timeout": connect_seconds,
        "socket_timeout": None,
        "protocol": 3,
        "driver_info": None,  # CLIENT SETINFO would be one right more
    }
    if address.path:
        return UnixDomainSocketConnection(path=address.path, **options)
    kind = SSLConnection if address.tls else Connection
    return kind(host=address.host, port=address.port, **options)


def _tls(ca_file: str) -> ssl.SSLContext:
    """Trusts `ca_file` alone; the library's own context would trust the system's authorities beside it."""
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # ssl.SSLError is one of these
        raise FeedAddressError(
            f"{ca_file}: expected a PEM file of the authority that Redis' certificate comes from, found: {error}; "
            "correct ca_file"
        ) from error
