"""One length-prefixed message of a request, whole (gRPC over HTTP/2, "Length-Prefixed-Message")."""

from __future__ import annotations

import zlib
from struct import Struct

from serving.errors import MalformedRequest, MessageTooLarge, WrongCardinality, WrongCompression

PREFIX = Struct(">BI")
PREFIX_BYTES = PREFIX.size
_GZIP = 31  # zlib's window bits for a gzip stream


def check_prefix(content: bytes, max_bytes: int) -> None:
    """Refuses what can be refused from the first bytes of a message: a wrong flag, or a length beyond the limit."""
    flag, size = PREFIX.unpack_from(content)
    if flag > 1:
        raise MalformedRequest(f"message: expected a compressed flag of 0 or 1, found {flag}; send gRPC messages")
    if size > max_bytes:
        raise MessageTooLarge(f"message: expected at most {max_bytes} bytes, found {size}; ask in parts")


def only_message(content: bytes, *, gzip: bool, max_bytes: int) -> bytes:
    """The one message in all of a request's content.

    WrongCardinality for none or more than one, MalformedRequest for a part of one, WrongCompression for one that cannot
    be inflated, MessageTooLarge beyond `max_bytes`, inflated or not.
    """
    if not content:
        raise WrongCardinality("expected one message, found none; send one")
    if len(content) < PREFIX_BYTES:
        raise MalformedRequest(f"message: expected 5 bytes before it, found {len(content)}; it was cut short")
    check_prefix(content, max_bytes)
    flag, size = PREFIX.unpack_from(content)
    found = len(content) - PREFIX_BYTES
    if found < size:
        raise MalformedRequest(f"message: expected {size} bytes, found {found}; it was cut short")
    if found > size:
        raise WrongCardinality("expected one message, found more behind it; send one a call")
    message = content[PREFIX_BYTES:]
    if not flag:
        return message
    if not gzip:
        raise WrongCompression("message: expected grpc-encoding: gzip for a compressed message, found none")
    return _inflated(message, max_bytes)


def _inflated(message: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(_GZIP)
    try:
        plain = inflater.decompress(message, max_bytes + 1)
    except zlib.error as error:
        raise WrongCompression(f"message: expected gzip, found something else ({error})") from error
    if len(plain) > max_bytes:
        raise MessageTooLarge(f"message: expected at most {max_bytes} bytes inflated, found more; ask in parts")
    if not inflater.eof or inflater.unused_data:
        raise WrongCompression("message: expected one whole gzip stream, found a part, or more behind it")
    return plain
