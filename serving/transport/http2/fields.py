"""Header fields: what they count, and which are proper (RFC 9113, sections 6.5.2, 8.2 and 8.3).

A field's *mark* is one letter: `r` for a proper regular field, one of its own for each proper pseudo field, `f` for any
other. Whether fields are proper together depends on their marks alone: pseudo fields stand first, and none twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Field = tuple[bytes, bytes]

FIELD_BYTES = 32  # what each field counts beside its name and value
REGULAR, FLAWED = b"r", b"f"

_PSEUDO_MARKS = {
    b":authority": b"a",
    b":method": b"m",
    b":path": b"p",
    b":protocol": b"t",
    b":scheme": b"s",
    b":status": b"u",
}
_CONNECTION_NAMES = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch  # a token (RFC 9110, section 5.6.2) in lower case
_LONGEST_SHOWN = 64


def bytes_of(field: Field) -> int:
    """What the field counts in a header list or a dynamic table."""
    return FIELD_BYTES + len(field[0]) + len(field[1])


def mark_of(name: bytes, value: bytes) -> bytes:
    """The field's mark."""
    if _name_fault(name) or _value_fault(name, value):
        return FLAWED
    return _PSEUDO_MARKS.get(name, REGULAR)


def fault_of(fields: Iterable[Field]) -> str:
    """Why `fields` are no proper field section; "" when they are.

    Which pseudo fields must be there depends on what the section is for, and is not looked at.
    """
    seen: set[bytes] = set()
    regular = b""
    for name, value in fields:
        fault = _name_fault(name) or _value_fault(name, value)
        if fault:
            return fault
        if name not in _PSEUDO_MARKS:
            regular = name
        elif regular:
            return f"{name.decode()}: expected pseudo fields before all others, found it behind {_shown(regular)}"
        elif name in seen:
            return f"{name.decode()}: expected it once, found it twice"
        seen.add(name)
    return ""


def _name_fault(name: bytes) -> str:
    if name in _CONNECTION_NAMES:
        return f"{name.decode()}: expected no field of an HTTP/1.1 connection, found one; leave it out"
    if name in _PSEUDO_MARKS or _NAME(name):
        return ""
    expected = "a defined pseudo field" if name.startswith(b":") else "a lower-case token as a field's name"
    return f"expected {expected}, found {name[:_LONGEST_SHOWN]!r}"


def _value_fault(name: bytes, value: bytes) -> str:
    if value.strip(b" \t") != value or any(byte in value for byte in b"\0\r\n"):
        return f"{_shown(name)}: expected a value without NUL, CR, LF and outer white space, found one of them"
    if name == b"te" and value.lower() != b"trailers":
        return "te: expected trailers, found something else; leave it out"
    return ""


def _shown(name: bytes) -> str:
    return name[:_LONGEST_SHOWN].decode()
