"""What may be unusual about a request, each under a name: its kind."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import hpack

from loadtests.clients import wire

from .asking import MESSAGE_BYTES, Asked

Change = Callable[[Asked], Asked]


def adds(name: bytes, *values: bytes) -> Change:
    """Fields that no encoder remembers."""
    more = tuple(hpack.NeverIndexedHeaderTuple(name, value) for value in values)
    return lambda asked: replace(asked, fields=(*asked.fields, *more))


def encoded(encoding: bytes) -> Change:
    """Says this grpc-encoding and no other: of two, two readers may take two."""
    said = hpack.NeverIndexedHeaderTuple(b"grpc-encoding", encoding)
    return lambda asked: replace(asked, fields=(*(each for each in asked.fields if each[0] != said[0]), said))


def begins_with(name: bytes, value: bytes) -> Change:
    return lambda asked: replace(asked, fields=(hpack.NeverIndexedHeaderTuple(name, value), *asked.fields))


def without(name: bytes) -> Change:
    return lambda asked: replace(asked, fields=tuple(each for each in asked.fields if each[0] != name))


def instead(name: bytes, value: bytes) -> Change:
    new = hpack.NeverIndexedHeaderTuple(name, value)
    return lambda asked: replace(asked, fields=tuple(new if each[0] == name else each for each in asked.fields))


def brings(content: bytes, *changes: Change) -> Change:
    def change(asked: Asked) -> Asked:
        for each in changes:
            asked = each(asked)
        return replace(asked, content=content)

    return change


def ends(ending: str, **more: Any) -> Change:
    return lambda asked: replace(asked, ending=ending, **more)


def _longer(content: bytes) -> bytes:
    return b"\0" + ((int.from_bytes(content[1:5], "big") + 1) % 2**32).to_bytes(4, "big") + content[5:]


GZIP = encoded(b"gzip")
ZIPPED = gzip.compress(b"hello" * 9, mtime=0)

KINDS: dict[str, Change] = {
    "content-type application/grpc+proto": instead(b"content-type", b"application/grpc+proto"),
    "content-type application/grpc;charset=utf-8": instead(b"content-type", b"application/grpc;charset=utf-8"),
    "content-type application/json": instead(b"content-type", b"application/json"),
    "content-type application/grpc-web": instead(b"content-type", b"application/grpc-web"),
    "content-type APPLICATION/GRPC": instead(b"content-type", b"APPLICATION/GRPC"),
    "no content-type": without(b"content-type"),
    "no te": without(b"te"),
    "te: gzip": instead(b"te", b"gzip"),
    "te: Trailers": instead(b"te", b"Trailers"),
    "te twice": adds(b"te", b"trailers"),
    "GET": instead(b":method", b"GET"),
    "PUT": instead(b":method", b"PUT"),
    "HEAD": instead(b":method", b"HEAD"),
    "post": instead(b":method", b"post"),
    "no :method": without(b":method"),
    "no :scheme": without(b":scheme"),
    "no :path": without(b":path"),
    "no :authority": without(b":authority"),
    ":method twice": begins_with(b":method", b"POST"),
    ":path twice": begins_with(b":path", b"/t/Refuse"),
    ":authority twice": begins_with(b":authority", b"a"),
    ":status": begins_with(b":status", b"200"),
    "an unknown pseudo field": begins_with(b":x", b"1"),
    "a pseudo field behind others": adds(b":scheme", b"http"),
    ":scheme https": instead(b":scheme", b"https"),
    ":scheme ftp": instead(b":scheme", b"ftp"),
    ":scheme empty": instead(b":scheme", b""),
    ":path empty": instead(b":path", b""),
    ":path t/Echo": instead(b":path", b"t/Echo"),
    ":path *": instead(b":path", b"*"),
    ":path /t/Echo?x=1": instead(b":path", b"/t/Echo?x=1"),
    ":path /t/é": instead(b":path", "/t/é".encode()),
    ":path of 300 bytes": instead(b":path", b"/" * 300),
    "a name in upper case": adds(b"X-Y", b"1"),
    "a name with a space": adds(b"x y", b"1"),
    "a name with a colon": adds(b"x:y", b"1"),
    "a name above 0x7f": adds(b"x\xff", b"1"),
    "a name of nothing": adds(b"", b"1"),
    "a value with NUL": adds(b"x-a", b"a\0b"),
    "a value with LF": adds(b"x-a", b"a\nb"),
    "a value with CR": adds(b"x-a", b"a\rb"),
    "a value with a space before it": adds(b"x-a", b" a"),
    "a value with a tab behind it": adds(b"x-a", b"a\t"),
    "a value with a control character": adds(b"x-a", b"a\x01b"),
    "a value above 0x7f": adds(b"x-a", b"a\xe9"),
    "a value of nothing": adds(b"x-a", b""),
    "connection": adds(b"connection", b"close"),
    "keep-alive": adds(b"keep-alive", b"timeout=5"),
    "proxy-connection": adds(b"proxy-connection", b"close"),
    "transfer-encoding": adds(b"transfer-encoding", b"chunked"),
    "upgrade": adds(b"upgrade", b"h2c"),
    "host": adds(b"host", b"elsewhere"),
    "cookie": adds(b"cookie", b"a=b", b"c=d"),
    "user-agent": adds(b"user-agent", b"grpc-x/1"),
    "metadata twice": adds(b"x-desk", b"a", b"b"),
    "binary metadata": adds(b"x-trace-bin", b"AP8Qgw"),
    "binary metadata, padded": adds(b"x-trace-bin", b"AP8QgwE=", b""),
    "binary metadata that is no base64": adds(b"x-trace-bin", b"!!!"),
    "two binary values in one": adds(b"x-trace-bin", b"AP8Q,AP8Q"),
    "grpc-status": adds(b"grpc-status", b"3"),
    "grpc-message": adds(b"grpc-message", b"%C3%A9"),
    "grpc-trace-bin": adds(b"grpc-trace-bin", b"AAAA"),
    "grpc-tags-bin": adds(b"grpc-tags-bin", b"AAAA"),
    "grpc-previous-rpc-attempts": adds(b"grpc-previous-rpc-attempts", b"1"),
    "grpc-retry-pushback-ms": adds(b"grpc-retry-pushback-ms", b"1"),
    "grpc-accept-encoding": adds(b"grpc-accept-encoding", b"identity,deflate,gzip"),
    "grpc-internal-encoding-request": adds(b"grpc-internal-encoding-request", b"gzip"),
    "lb-token": adds(b"lb-token", b"x"),
    "lb-cost-bin": adds(b"lb-cost-bin", b"AAAAAAAAAAAA"),
    "accept-encoding": adds(b"accept-encoding", b"gzip"),
    "20,000 bytes of metadata": lambda asked: replace(adds(b"x-a", b"y" * 20_000)(asked), continued=2),
    "200 fields of metadata": adds(b"x-a", *[b"%060d" % at for at in range(200)]),
    "12,000 bytes of metadata": adds(b"x-a", b"y" * 12_000),
    "grpc-timeout 5S": adds(b"grpc-timeout", b"5S"),
    "grpc-timeout 99999999H": adds(b"grpc-timeout", b"99999999H"),
    "grpc-timeout 0m": adds(b"grpc-timeout", b"0m"),
    "grpc-timeout 1s": adds(b"grpc-timeout", b"1s"),
    "grpc-timeout -1S": adds(b"grpc-timeout", b"-1S"),
    "grpc-timeout 1.5S": adds(b"grpc-timeout", b"1.5S"),
    "grpc-timeout S": adds(b"grpc-timeout", b"S"),
    "grpc-timeout of nothing": adds(b"grpc-timeout", b""),
    "grpc-timeout of nine digits": adds(b"grpc-timeout", b"123456789S"),
    "grpc-timeout twice": adds(b"grpc-timeout", b"7S", b"8S"),
    "grpc-encoding identity": encoded(b"identity"),
    "grpc-encoding gzip": GZIP,
    "grpc-encoding deflate": encoded(b"deflate"),
    "grpc-encoding snappy": encoded(b"snappy"),
    "grpc-encoding GZIP": encoded(b"GZIP"),
    "grpc-encoding of nothing": encoded(b""),
    "grpc-encoding twice": adds(b"grpc-encoding", b"gzip", b"identity"),
    "a gzip message": brings(wire.grpc(ZIPPED, flag=1), GZIP),
    "a gzip message without grpc-encoding": brings(wire.grpc(ZIPPED, flag=1)),
    "a gzip message with grpc-encoding identity": brings(wire.grpc(ZIPPED, flag=1), encoded(b"identity")),
    "no gzip": brings(wire.grpc(b"hello", flag=1), GZIP),
    "gzip cut short": brings(wire.grpc(ZIPPED[:-1], flag=1), GZIP),
    "more behind gzip": brings(wire.grpc(ZIPPED + b"x", flag=1), GZIP),
    "gzip of another kind (zlib)": brings(wire.grpc(zlib.compress(b"x"), flag=1), GZIP),
    "a compressed message of nothing": brings(wire.grpc(b"", flag=1), GZIP),
    "a gzip bomb": brings(wire.grpc(gzip.compress(bytes(9 * MESSAGE_BYTES)), flag=1), GZIP),
    "a compressed flag of 2": lambda asked: replace(asked, content=b"\2" + asked.content[1:]),
    "a compressed flag of 1, and no more of it": lambda asked: replace(asked, content=b"\1" + asked.content[1:]),
    "a message of nothing": brings(wire.grpc(b"")),
    "a message as large as allowed": brings(wire.grpc(bytes(MESSAGE_BYTES))),
    "a message too large": brings(wire.grpc(bytes(MESSAGE_BYTES + 1))),
    "a size of 4 GiB": brings(b"\0\xff\xff\xff\xff"),
    "no content": brings(b""),
    "nothing but HEADERS": ends("head"),
    "a prefix cut short": brings(b"\0\0\0"),
    "a message cut short": brings(wire.grpc(b"abc")[:-1]),
    "a message of fewer bytes than its prefix says": brings(_longer(wire.grpc(bytes(300)))),
    "two messages": brings(wire.grpc(b"a") + wire.grpc(b"bc")),
    "a message and a part of one": brings(wire.grpc(b"ab") + b"\0\0"),
    "content-length as it is": lambda asked: adds(b"content-length", b"%d" % len(asked.content))(asked),
    "content-length with a zero before it": lambda asked: adds(b"content-length", b"0%d" % len(asked.content))(asked),
    "content-length too low": adds(b"content-length", b"1"),
    "content-length too high": adds(b"content-length", b"70000"),
    "content-length that is no number": adds(b"content-length", b"x"),
    "two content-lengths": adds(b"content-length", b"6", b"7"),
    "DATA with padding": lambda asked: replace(asked, padding=9),
    "HEADERS with a priority": lambda asked: replace(asked, weighted=True),
    "HEADERS with padding": lambda asked: replace(asked, head_padding=9),
    "trailers with a pseudo field": ends("trailers", trailers=((b":path", b"/"),)),
    "trailers with a name in upper case": ends("trailers", trailers=((b"X", b"1"),)),
    "trailers without END_STREAM": ends("open trailers"),
    "the stream is left open": ends("open"),
}


def plain(path: str = "/t/Echo", message: bytes = b"hello") -> Asked:
    return Asked(wire.Requests().fields(path), wire.grpc(message))


def asks_for(kind: str) -> Asked:
    """A request on which that kind is seen."""
    return plain("/t/Metadata") if "metadata" in kind or kind.startswith(("grpc-", "lb-")) else plain()


def _is_all_content(change: Change) -> bool:
    one, other = change(plain(message=b"one")), change(plain(message=b"other"))
    return one == replace(plain(), content=other.content)


# Those that say what the content is, whatever it was, and nothing else: of two of them the second is what is sent.
CONTENTS = frozenset(kind for kind, change in KINDS.items() if _is_all_content(change))


def of_kinds(asked: Asked, *names: str) -> Asked:
    for name in names:
        before = asked.kinds - CONTENTS if name in CONTENTS else asked.kinds
        asked = replace(KINDS[name](asked), kinds=before | {name})
    if asked.content[:1] == b"\1" and dict(asked.fields).get(b"grpc-encoding") == b"identity":
        asked = replace(asked, kinds=asked.kinds | {"a gzip message with grpc-encoding identity"})
    return asked


def kinds(beginning: str) -> tuple[str, ...]:
    return tuple(kind for kind in KINDS if kind.startswith(beginning))
