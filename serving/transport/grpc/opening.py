"""What the head of a request asks for, read once per distinct head (gRPC over HTTP/2, "Requests")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from serving.errors import DeadlinePassed, MalformedRequest, ServingError, UnknownEncoding, UnknownMethod
from serving.runtime.lane import Caller
from serving.transport.call import Bytes, Call
from serving.transport.grpc.message import PREFIX_BYTES
from serving.transport.http2.fields import Field, bytes_of
from serving.transport.http2.hpack import Head
from serving.transport.http2.server import request_fault
from serving.transport.methods import Method, Methods, Unary, one_by_one

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNIT_NS = {b"H": 3_600_000_000_000, b"M": 60_000_000_000, b"S": 1_000_000_000, b"m": 1_000_000, b"u": 1_000, b"n": 1}
_KIND = re.compile(rb"application/grpc([+;].*)?")
NO_LENGTH = -1
_OWN = frozenset((b"grpc-timeout", b"traceparent", b"tracestate", b"x-request-id"))
_MOST_KNOWN, _MOST_KEPT_BYTES = 16, 2048  # heads of a connection, and what one may count to be kept


def _refuse_to(call: Call, body: bytes) -> None:
    raise TypeError("expected a unary method, found none")


class HttpAnswer:
    """What a request gets that is no gRPC: an HTTP status and a short text. bare: the text itself is not sent."""

    __slots__ = ("allow", "bare", "status", "text")

    def __init__(self, status: int, text: str, *, allow: str = "", bare: bool = False) -> None:
        self.status = status
        self.text = text
        self.allow = allow
        self.bare = bare


class Opening:
    """What heads ask for that differ in nothing but what is a call's own. method: None where the call is refused.

    content_length: NO_LENGTH where none was stated. fault: why it is no HTTP request, or "". http: what it gets where
    it is no gRPC. refusal: why the call is refused. answer: of a unary method. usual_bytes, usual_prefix: the size of a
    unary request's content, and its first bytes, that were found good before: what looks like that need not be checked.
    """

    __slots__ = (
        "answer",
        "answer_all",
        "content_length",
        "fault",
        "gzip",
        "http",
        "method",
        "refusal",
        "usual_bytes",
        "usual_prefix",
    )

    def __init__(self) -> None:
        self.method: Method | None = None
        self.answer: Callable[[Call, bytes], None] = _refuse_to
        self.answer_all: Callable[[Caller, Bytes], bool] = one_by_one
        self.usual_bytes = -1
        self.usual_prefix = b""
        self.content_length = NO_LENGTH
        self.gzip = False
        self.fault = ""
        self.http: HttpAnswer | None = None
        self.refusal: ServingError | None = None

    def expect_again(self, content: bytes) -> None:
        """Remembers that `content`, one uncompressed message, was good: so is whatever has its size and prefix."""
        if self.is_usual:
            self.usual_bytes = len(content)
            self.usual_prefix = content[:PREFIX_BYTES]

    @property
    def is_usual(self) -> bool:
        """Whether it is a unary call that nothing stands against."""
        return isinstance(self.method, Unary)


class Asked(NamedTuple):
    """A head's meaning. timeout_ns: 0 for none."""

    opening: Opening
    timeout_ns: int


class Openings:
    """The meanings of heads. Lives as long as the connection that they come on.

    A head that differs from one before in fields of `_OWN` alone, each of its call's own, is not read anew.
    """

    def __init__(self, methods: Methods) -> None:
        self._methods = methods
        self._known: dict[tuple[Field, ...], Opening] = {}

    def of(self, head: Head) -> Asked:
        """What `head` asks for."""
        if head.fault:
            return opening_of(head, self._methods)
        own = [field for field in head.fields if field[0] in _OWN]
        key = tuple([field for field in head.fields if field[0] not in _OWN]) if own else head.fields
        opening = self._known.get(key)
        if opening is not None:
            try:
                return Asked(opening, _timeout_of(own))
            except ServingError:
                return opening_of(head, self._methods)
        asked = opening_of(head, self._methods)
        if asked.opening.is_usual and sum(map(bytes_of, key)) <= _MOST_KEPT_BYTES:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = asked.opening
        return asked


def opening_of(head: Head, methods: Methods) -> Asked:
    """The meaning of `head`, given what is served."""
    opening = Opening()
    opening.fault = request_fault(head)
    if opening.fault:
        return Asked(opening, 0)
    fields = dict(head.fields)
    length = fields.get(b"content-length")
    if length is not None:
        opening.content_length = int(length)
    path = fields.get(b":path", b"").decode("utf-8", "backslashreplace")
    method = methods.get(path)
    opening.http = _not_grpc(fields, path, known=method is not None)
    if opening.http is not None:
        return Asked(opening, 0)
    try:
        opening.gzip = _is_gzip(fields.get(b"grpc-encoding", b"identity"))
        timeout = _timeout_of(head.fields)
        if method is None:
            raise UnknownMethod(f"expected a method that is served here, found {path[:120]!r}")
    except ServingError as error:
        opening.refusal = error
        return Asked(opening, 0)
    opening.method = method
    if isinstance(method, Unary):
        opening.answer, opening.answer_all = method.answer, method.answer_all
    return Asked(opening, timeout)


def _timeout_of(fields: Iterable[Field]) -> int:
    """Of several the last counts, but none may be malformed: so grpcio has it. Raises as `timeout_ns` does."""
    timeout = 0
    for name, value in fields:
        if name == b"grpc-timeout":
            timeout = timeout_ns(value)
    return timeout


@lru_cache(maxsize=1024)
def timeout_ns(text: bytes) -> int:
    """A `grpc-timeout` in nanoseconds. MalformedRequest for what is none, DeadlinePassed for 0 S."""
    found = _TIMEOUT.fullmatch(text)
    if found is None:
        raise MalformedRequest(
            f"grpc-timeout: expected 1 to 8 digits and one of H, M, S, m, u, n, found {text[:32]!r}; leave it out"
        )
    nanoseconds = int(found[1]) * _UNIT_NS[found[2]]
    if not nanoseconds:
        raise DeadlinePassed(f"grpc-timeout: expected more than 0, found {text.decode()}; allow more time")
    return nanoseconds


def _is_gzip(encoding: bytes) -> bool:
    if encoding == b"identity":
        return False
    if encoding == b"gzip":
        return True
    raise UnknownEncoding(
        f"grpc-encoding: expected identity or gzip, found {encoding[:32].decode('latin-1')!r}; send it uncompressed"
    )


def _not_grpc(fields: dict[bytes, bytes], path: str, *, known: bool) -> HttpAnswer | None:
    """The HTTP answer of a request that is no gRPC call, or None."""
    method = fields[b":method"]
    kind = fields.get(b"content-type", b"")
    if method == b"POST" and _KIND.fullmatch(kind):
        return None
    if not known and method != b"CONNECT":
        text = f"404: nothing is served at {path[:120]}; this port speaks gRPC\n"
        return HttpAnswer(404, text, bare=method == b"HEAD")
    if method != b"POST":
        return HttpAnswer(405, "405: expected POST; this port speaks gRPC\n", allow="POST", bare=method == b"HEAD")
    found = kind[:80].decode("latin-1") or "none"
    return HttpAnswer(415, f"415: expected content-type application/grpc, found {found}\n")
