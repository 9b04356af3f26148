"""Where the two transports differ, row by row, and why: docs/conformance.md shows this table.

A kind of request without a row is answered alike, to the byte of its messages and words.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from loadtests.clients import wire
from serving.status import Code
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode

from .asking import Asked, Heard, Service, Train
from .kinds import asks_for, kinds, of_kinds, plain

AS_USUAL = "as usual"  # whatever the same request gets without what is unusual about it
NAMES = {f"status {code.value}": code.name for code in Code}
OK, RESET, BROKEN = "status 0", "reset PROTOCOL_ERROR", "reset INTERNAL_ERROR"


@dataclass(frozen=True)
class Difference:
    """A row. ours, theirs: the outcomes with each transport. shown_by: trains whose last request shows it."""

    what: str
    kinds: tuple[str, ...]
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    why: str
    shown_by: tuple[Train, ...] = ()

    @property
    def row(self) -> str:
        """As the page has it."""
        ours, theirs = (
            " or ".join(NAMES.get(each, each) for each in outcomes) for outcomes in (self.ours, self.theirs)
        )
        return f"| {self.what} | {ours} | {theirs} | {self.why} |"

    def shows(self) -> list[tuple[Train, int]]:
        """Trains, and the place of the request in each that shows the difference: behind usual ones, known by now."""
        if self.shown_by:
            return [(train, len(train.requests) - 1) for train in self.shown_by]
        return [(Train((*[asks_for(kind)] * 3, of_kinds(asks_for(kind), kind), plain())), 3) for kind in self.kinds]

    def explains(self, ours: Heard, theirs: Heard) -> bool:
        """Whether it allows what each says."""
        return _is_one_of(self.ours, ours) and _is_one_of(self.theirs, theirs)

    def is_shown_by(self, ours: Heard, theirs: Heard) -> bool:
        """Whether the two differ just so; a call that goes on as usual must go well."""
        pairs = ((self.ours, ours), (self.theirs, theirs))
        go_well = all(heard.outcome == OK for outcomes, heard in pairs if outcomes == (AS_USUAL,))
        return ours != theirs and self.explains(ours, theirs) and go_well


def _is_one_of(outcomes: Collection[str], heard: Heard) -> bool:
    return heard.outcome in outcomes or (AS_USUAL in outcomes and heard.outcome.startswith("status"))


def remembered_te() -> Train:
    """A `te` that grpcio cannot read enters the table, and the next request's names its field by that entry."""
    odd = tuple((name, b"gzip" if name == b"te" else value) for name, value in plain().fields)
    return Train((replace(plain(), fields=odd), plain()))


def behind_a_call(fault: bytes) -> Train:
    """A call, the fault, and one more call."""
    return Train((plain(), plain()), order=(0, 0, 1), between=((2, fault),))


PASSED_BY_GRPCIO = {
    ("DATA, HEADERS, RST_STREAM or PRIORITY on stream 0", "sections 6.1 to 6.4"): (
        wire.data(0, b"x"),
        wire.head(0, b"\x82"),
        frames.rst_stream(0, ErrorCode.CANCEL),
        frames.frame(frames.PRIORITY, 0, 0, bytes(5)),
    ),
    ("DATA, RST_STREAM or WINDOW_UPDATE on an idle stream", "section 5.1"): (
        wire.data(99, b"x"),
        frames.rst_stream(99, ErrorCode.CANCEL),
        frames.window_update(99, 1),
    ),
    ("PING or GOAWAY on a stream, PUSH_PROMISE", "sections 6.7, 6.8 and 8.4"): (
        frames.frame(frames.PING, 0, 1, bytes(8)),
        frames.frame(frames.GOAWAY, 0, 1, bytes(8)),
        frames.frame(frames.PUSH_PROMISE, frames.END_HEADERS, 1, bytes(4)),
    ),
    ("a stream with an even number, or one that is not above the last", "section 5.1.1"): (
        wire.head(100, wire.Requests().block(wire.Requests().fields("/t/Echo"))),
        wire.head(1, b"\x82"),
    ),
    ("a frame above 2^14 bytes, more padding than frame, a window above 2^31 − 1", "sections 4.2, 6.1 and 6.9.1"): (
        frames.HEAD.pack(20_000 << 8, 0, 1) + bytes(20_000),
        frames.HEAD.pack(20_000 << 8 | 0x42, 0, 1) + bytes(20_000),
        frames.frame(frames.DATA, frames.PADDED, 1, b"\x05abc"),
        frames.window_update(0, 2**31 - 1),
    ),
}


DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        "content-type that is not gRPC's, or none",
        (
            *kinds("content-type application/json"),
            *kinds("content-type application/grpc-"),
            *kinds("content-type A"),
            "no content-type",
        ),
        ("http 415", "http 404"),
        (AS_USUAL,),
        "gRPC over HTTP/2, Requests: a server SHOULD answer 415; another protocol's body is no message",
    ),
    Difference(
        "a method other than POST",
        ("GET", "PUT", "HEAD", "post"),
        ("http 405", "http 404"),
        (BROKEN, "status 13"),
        "gRPC over HTTP/2, Requests: POST; RFC 9110, section 15.5.6: a browser or probe is told in words",
    ),
    Difference(
        "no te",
        ("no te",),
        (AS_USUAL,),
        (BROKEN,),
        "RFC 9113, section 8.2.2: te MAY be there; gRPC has it to find proxies out, and none is found by its absence",
    ),
    Difference(
        "te: Trailers",
        ("te: Trailers",),
        (AS_USUAL,),
        ("status 13",),
        "RFC 9110, section 10.1.4: a keyword, in any case",
    ),
    Difference(
        "te: gzip", ("te: gzip",), (RESET,), ("status 13",), "RFC 9113, section 8.2.2: malformed; 8.1.1: a stream error"
    ),
    Difference(
        "behind a field that grpcio could not read, if the encoder indexed it",
        (),
        (AS_USUAL,),
        ("status 13",),
        "RFC 7541, section 2.3.2: an entry is a name and a value; whether a request takes it says nothing of the next",
        (remembered_te(),),
    ),
    Difference(
        "no :method, :scheme or :path",
        ("no :method", "no :scheme", "no :path"),
        (RESET,),
        (BROKEN,),
        "RFC 9113, section 8.1.1: malformed is PROTOCOL_ERROR; the fault is the client's",
    ),
    Difference(
        "no :authority", ("no :authority",), (AS_USUAL,), (BROKEN,), "RFC 9113, section 8.3.1: it may be left out"
    ),
    Difference(
        ":scheme ftp",
        (":scheme ftp",),
        (AS_USUAL,),
        ("status 13",),
        "RFC 9113, section 8.3.1: not restricted to http and https",
    ),
    Difference(
        ":scheme or :path empty, :path without /",
        (":scheme empty", ":path empty", ":path t/Echo"),
        (RESET,),
        ("status 13", "status 12"),
        "RFC 9113, sections 8.3 and 8.3.1: malformed",
    ),
    Difference(
        ":method or :path twice, :status, a pseudo field behind others",
        (":method twice", ":path twice", ":status", "a pseudo field behind others"),
        (RESET,),
        (AS_USUAL,),
        "RFC 9113, section 8.3: malformed; of two paths, two readers may take two",
    ),
    Difference(
        ":authority twice, an unknown pseudo field",
        (":authority twice", "an unknown pseudo field"),
        (RESET,),
        ("status 13",),
        "RFC 9113, section 8.3: malformed",
    ),
    Difference(
        "a field's name in upper case, with a space, colon or byte above 0x7f, or none",
        kinds("a name "),
        (RESET,),
        ("status 13",),
        "RFC 9113, section 8.2.1: malformed",
    ),
    Difference(
        "a field's value with NUL, LF or CR, or with white space at an end",
        (
            *kinds("a value with NUL"),
            *kinds("a value with LF"),
            *kinds("a value with CR"),
            *kinds("a value with a space"),
            *kinds("a value with a tab"),
        ),
        (RESET,),
        (AS_USUAL,),
        "RFC 9113, section 8.2.1: malformed; a line break splits what it is copied into",
    ),
    Difference(
        "connection, keep-alive, proxy-connection, transfer-encoding, upgrade",
        ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"),
        (RESET,),
        (AS_USUAL,),
        "RFC 9113, section 8.2.2: malformed",
    ),
    Difference(
        "binary metadata that is no base64, or several values in one",
        ("binary metadata that is no base64", "two binary values in one"),
        (AS_USUAL,),
        ("status 13",),
        "gRPC over HTTP/2, Requests: values may be joined by commas; what no method reads is not decoded",
    ),
    Difference(
        "metadata of gRPC's own: grpc-status, grpc-message, grpc-trace-bin, grpc-tags-bin, lb-cost-bin and the like",
        (
            "grpc-status",
            "grpc-message",
            "grpc-trace-bin",
            "grpc-tags-bin",
            "grpc-internal-encoding-request",
            "lb-cost-bin",
        ),
        (AS_USUAL,),
        (AS_USUAL,),
        "methods see it with ours alone: they are told what was sent; none of Signalbox's reads it",
    ),
    Difference(
        "a header list above the limit; a message above it, inflated or not",
        ("20,000 bytes of metadata", "200 fields of metadata", "a gzip bomb", "a message too large", "a size of 4 GiB"),
        ("status 8",),
        ("status 8",),
        "ours says which limit, what was found and what to do",
    ),
    Difference("grpc-timeout of 0", ("grpc-timeout 0m",), ("status 4",), ("status 4",), "the same in other words"),
    Difference(
        "grpc-timeout that is none",
        ("grpc-timeout 1s", "grpc-timeout -1S", "grpc-timeout 1.5S", "grpc-timeout S", "grpc-timeout of nothing"),
        ("status 3",),
        ("status 13",),
        "INVALID_ARGUMENT: the fault is the client's, and nothing is broken here",
    ),
    Difference(
        "grpc-timeout of nine digits",
        ("grpc-timeout of nine digits",),
        ("status 3",),
        (AS_USUAL,),
        "gRPC over HTTP/2, Requests: at most eight",
    ),
    Difference(
        "grpc-encoding deflate",
        ("grpc-encoding deflate",),
        ("status 12",),
        (AS_USUAL, "status 13"),
        "gRPC's compression document: UNIMPLEMENTED, with grpc-accept-encoding, for what is not read here",
    ),
    Difference(
        "grpc-encoding that nobody knows",
        ("grpc-encoding snappy", "grpc-encoding GZIP", "grpc-encoding of nothing"),
        ("status 12",),
        ("status 13",),
        "gRPC's compression document: UNIMPLEMENTED, with grpc-accept-encoding",
    ),
    Difference(
        "a compressed message without grpc-encoding, or that is no gzip",
        (
            "a gzip message without grpc-encoding",
            "a gzip message with grpc-encoding identity",
            "a compressed flag of 1, and no more of it",
            "no gzip",
            "gzip cut short",
            "more behind gzip",
            "gzip of another kind (zlib)",
        ),
        ("status 13",),
        ("status 13",),
        "the same in other words",
    ),
    Difference(
        "a compressed message of no bytes",
        ("a compressed message of nothing",),
        ("status 13",),
        (AS_USUAL,),
        "RFC 1952, section 2.3: a gzip member has a header and a trailer; gRPC's status codes: INTERNAL",
    ),
    Difference(
        "a compressed flag of 2",
        ("a compressed flag of 2",),
        ("status 3",),
        (AS_USUAL,),
        "gRPC over HTTP/2, Length-Prefixed-Message: 0 or 1; grpcio hands over a message that was never sent",
    ),
    Difference(
        "no message, or the end within one",
        (
            "no content",
            "nothing but HEADERS",
            "a prefix cut short",
            "a message cut short",
            "a message of fewer bytes than its prefix says",
        ),
        ("status 12", "status 3"),
        ("nothing",),
        "gRPC's status codes: UNIMPLEMENTED for another number of messages; grpcio never answers such a call",
    ),
    Difference(
        "more behind the message",
        ("two messages", "a message and a part of one"),
        ("status 12",),
        (AS_USUAL,),
        "gRPC's status codes: UNIMPLEMENTED for another number of messages",
    ),
    Difference(
        "content-length that is none, or is not kept",
        (
            "content-length too low",
            "content-length too high",
            "content-length that is no number",
            "two content-lengths",
        ),
        (RESET,),
        (AS_USUAL,),
        "RFC 9113, section 8.1.1: malformed",
    ),
    Difference(
        "DATA with padding",
        ("DATA with padding",),
        (AS_USUAL,),
        (RESET,),
        "RFC 9113, section 6.1: every frame may have it",
    ),
    Difference(
        "HEADERS with padding",
        ("HEADERS with padding",),
        (AS_USUAL,),
        ("status 13", "closed"),
        "RFC 9113, section 6.2: every frame may have it; grpcio takes it for fields and ends the connection",
    ),
    Difference(
        "trailers of a request with a pseudo field",
        ("trailers with a pseudo field",),
        (RESET,),
        (AS_USUAL,),
        "RFC 9113, section 8.1: malformed",
    ),
    Difference(
        "trailers of a request with a name in upper case",
        ("trailers with a name in upper case",),
        (RESET,),
        ("status 13",),
        "RFC 9113, section 8.2.1: malformed",
    ),
    Difference(
        "trailers of a request without END_STREAM",
        ("trailers without END_STREAM",),
        (RESET,),
        ("status 14", "closed"),
        "RFC 9113, section 8.1: malformed, an error of its stream; grpcio ends the connection",
    ),
    Difference(
        "a whole message on a stream that the client leaves open",
        ("the stream is left open",),
        ("nothing",),
        (AS_USUAL,),
        "gRPC over HTTP/2, Requests: a request ends with END_STREAM; until then a second message may follow",
    ),
    Difference(
        ":path that is not UTF-8",
        (),
        ("status 12",),
        ("the server ends",),
        "its calls are CANCELLED, and another takes its place within a fraction of a second "
        "(`test_a_path_that_is_no_text_ends_nothing_for_good`)",
    ),
    Difference(
        "WINDOW_UPDATE of 0 on a stream",
        (),
        (AS_USUAL,),
        ("closed",),
        "RFC 9113, section 6.9: an error of the stream; grpcio ends the connection",
        (behind_a_call(frames.window_update(1, 0)),),
    ),
    *(
        Difference(
            what,
            (),
            ("closed",),
            (AS_USUAL,),
            f"RFC 9113, {sections}: an error of the connection",
            tuple(map(behind_a_call, faults)),
        )
        for (what, sections), faults in PASSED_BY_GRPCIO.items()
    ),
)


def rows_of(asked: Asked) -> list[Difference]:
    return [row for row in DIFFERENCES if asked.kinds & set(row.kinds)]


def is_silent(asked: Asked) -> bool:
    """Whether grpcio may leave it without an answer."""
    return any("nothing" in row.theirs for row in rows_of(asked))


def are_alike(asked: Asked, ours: Heard, theirs: Heard) -> bool:
    """Whether both say the same, or a row, or two, explain why not."""
    if ours == theirs:
        return True
    if not asked.is_due and "nothing" in (ours.outcome, theirs.outcome):
        return True  # the client has not waited
    rows = rows_of(asked)
    if ours.outcome == theirs.outcome:
        return any(row.explains(ours, theirs) for row in rows)
    first = {"status 12"} if not is_served(asked) else set()  # of two faults either may be found first
    return bool(rows) and all(
        _is_one_of(first.union(*outcomes), heard)
        for outcomes, heard in (([row.ours for row in rows], ours), ([row.theirs for row in rows], theirs))
    )


def is_served(asked: Asked) -> bool:
    return dict(asked.fields).get(b":path", b"").decode() in Service().methods
