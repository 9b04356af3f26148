"""How a call ends: header blocks built once, and errors by the one table (gRPC over HTTP/2, "Responses")."""

from __future__ import annotations

from serving.errors import UnknownEncoding
from serving.status import message_of, status_of, trailers_of
from serving.transport.grpc.opening import HttpAnswer
from serving.transport.http2.hpack import Encoder

_ENCODER = Encoder()  # static: a block never depends on those before
_HEAD = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_PLAIN = frozenset(range(0x20, 0x7F)) - {0x25}
_MAX_MESSAGE_BYTES = 1024

ANSWER_BLOCK = _ENCODER.encode(_HEAD)
OK_BLOCK = _ENCODER.encode(((b"grpc-status", b"0"),))


def percent_encoded(text: str) -> bytes:
    """`text` as a `grpc-message`: UTF-8, every byte that is not printable ASCII, and %, as %XX.

    Spaces at either end, too: no field value may begin or end with one (RFC 9113, section 8.2.1).
    """
    data = text.encode()[:_MAX_MESSAGE_BYTES]
    left, right = len(data) - len(data.lstrip(b" ")), len(data.rstrip(b" "))
    return b"".join(
        bytes((byte,)) if byte in _PLAIN and left <= at < right else b"%%%02X" % byte for at, byte in enumerate(data)
    )


def error_block(error: BaseException, *, answered: bool) -> bytes:
    """The header block that ends a call with `error`. answered: the head of the answer is out already."""
    fields = [
        (b"grpc-status", b"%d" % status_of(error).code),
        (b"grpc-message", percent_encoded(message_of(error))),
        *((name.encode(), value.encode()) for name, value in trailers_of(error)),
    ]
    if isinstance(error, UnknownEncoding):
        fields.append((b"grpc-accept-encoding", b"identity,gzip"))
    return _ENCODER.encode(fields if answered else (*_HEAD, *fields))


def http_block(answer: HttpAnswer, *, length: int) -> bytes:
    """The head of an HTTP answer of `length` bytes."""
    fields = [
        (b":status", b"%d" % answer.status),
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % length),
    ]
    if answer.allow:
        fields.append((b"allow", answer.allow.encode()))
    return _ENCODER.encode(fields)
