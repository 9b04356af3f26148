"""Where a Redis is, and as whom to log in to it: a value that needs no Redis library.

Secrets stand in no URL here: a URL is shown in messages, the password of a `RedisServer` never is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from features.errors import FeedAddressError

DEFAULT_PORT = 6379
_FORMS = "redis://HOST:PORT/DB, rediss://HOST:PORT/DB (TLS) or unix:///PATH"


@dataclass(frozen=True)
class RedisAddress:
    """A parsed URL. path: of a Unix socket, else ""; then host and port are unused. tls: whether it is rediss://."""

    host: str = ""
    port: int = DEFAULT_PORT
    database: int = 0
    path: str = ""
    tls: bool = False


@dataclass(frozen=True)
class RedisServer:
    """A Redis and a user of it.

    url: redis://HOST:PORT/DB, rediss://HOST:PORT/DB (TLS) or unix:///PATH. ca_file: PEM file of the one authority that
    the server's certificate may come from, "" for those that the system trusts. user, password: an ACL user, "" for
    Redis' default user.
    """

    url: str
    ca_file: str = ""
    user: str = ""
    password: str = field(default="", repr=False)

    @property
    def address(self) -> RedisAddress:
        """The URL, parsed. FeedAddressError when it cannot be used."""
        return parse_url(self.url)


def parse_url(url: str) -> RedisAddress:
    """The address in `url`. FeedAddressError, whose text holds no part of a URL that may hold a password."""
    if "@" in url:
        raise FeedAddressError(
            "redis url: expected no user and no password in it, found an @; name them by `user` and `password_file`"
        )
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise FeedAddressError(f"redis url: expected {_FORMS}, found {url!r}: {error}; correct it") from error
    if parts.scheme not in ("redis", "rediss", "unix") or parts.query or parts.fragment:
        raise FeedAddressError(f"redis url: expected {_FORMS}, found {url!r}; correct it")
    return _unix(url, parts) if parts.scheme == "unix" else _tcp(url, parts, port)


def _unix(url: str, parts: SplitResult) -> RedisAddress:
    if parts.netloc or not parts.path.strip("/"):
        raise FeedAddressError(f"redis url: expected unix:///PATH, found {url!r}; give the socket's absolute path")
    return RedisAddress(path=unquote(parts.path))


def _tcp(url: str, parts: SplitResult, port: int) -> RedisAddress:
    database = parts.path.strip("/") or "0"
    if not parts.hostname or not (database.isascii() and database.isdecimal()):
        raise FeedAddressError(f"redis url: expected {_FORMS}, found {url!r}; DB is a number, 0 when left out")
    return RedisAddress(host=parts.hostname, port=port, database=int(database), tls=parts.scheme == "rediss")
