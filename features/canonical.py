"""Canonical JSON and its hash: the one byte form of every value that is signed, hashed or compared.

Sorted keys, UTF-8, no insignificant white space, no floats: a number that is not an integer is a decimal string
(`decimal`). Two values are the same exactly when their canonical bytes are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


class NotCanonicalError(ValueError):
    """A value has no canonical form: a float, a non-string key, or a type JSON does not have."""


def canonical_json(value: Any) -> bytes:
    """The canonical bytes of `value` (None, bool, int, str, lists, tuples and string-keyed mappings of these)."""
    _refuse_foreign(value, "$")
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def sha256_hex(data: bytes | memoryview) -> str:
    """SHA-256 of `data` as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def identity(value: Any) -> str:
    """The SHA-256 of `value`'s canonical bytes: its name wherever it is referred to by content."""
    return sha256_hex(canonical_json(value))


def decimal(number: float) -> str:
    """The shortest decimal string that reads back as the same float64; integers of float type keep their `.0`."""
    return repr(float(number))


def _refuse_foreign(value: Any, where: str) -> None:
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise NotCanonicalError(f"{where}: expected a string key, found {key!r}; name keys by strings")
            _refuse_foreign(item, f"{where}.{key}")
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            _refuse_foreign(item, f"{where}[{position}]")
    elif isinstance(value, float):
        raise NotCanonicalError(f"{where}: expected no float, found {value!r}; write it with canonical.decimal()")
    else:
        raise NotCanonicalError(f"{where}: expected a JSON value, found {type(value).__name__}; convert it first")
