"""The feature row on the wire and in Redis: one instrument's features with their times, signed.

    version uint8 = 1 | key id uint8 | feature_set_id 32 bytes | instrument uint16 length, UTF-8
    | event time, knowledge time, sequence, valid-until: big-endian int64 | count uint32 | values little-endian float32
    | HMAC-SHA256 over all bytes before it

All integers are big-endian, values are little-endian. Times are UTC nanoseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.errors import (
    RowForgedError,
    RowKeyError,
    RowTrailingError,
    RowTruncatedError,
    RowValueError,
    RowVersionError,
)

Float32s = npt.NDArray[np.float32]

VERSION = 1
MAC_BYTES = 32
SET_ID = slice(2, 34)  # where an encoded row names its feature set; to be believed once the MAC is verified
_HEAD = struct.Struct(">BB32sH")
_TIMES = struct.Struct(">qqqqI")
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRow:
    """One instrument's features at one event time.

    feature_set_id: 32 bytes. event_time_ns, knowledge_time_ns, valid_until_ns: UTC nanoseconds; after valid-until the
    row is stale. sequence: rises per (feature set, instrument). values: float32 [feature], NaN where missing, in the
    feature set's order.
    """

    feature_set_id: bytes
    instrument: str
    event_time_ns: int
    knowledge_time_ns: int
    sequence: int
    valid_until_ns: int
    values: Float32s


def to_model_dtype(values: npt.NDArray[np.floating[Any]]) -> Float32s:
    """Casts features to the model's float32: the one place where it is done.

    Any shape. One NaN payload, −0.0 becomes 0.0, rounding to nearest. RowValueError for an infinity, or a number
    too large for float32.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN is a NaN like any other
        cast = np.asarray(values).astype(np.float32) + np.float32(0.0)
    infinite = np.isinf(cast)
    if infinite.any():
        at = tuple(int(index) for index in np.argwhere(infinite)[0])
        raise RowValueError(
            f"value at {at}: expected a number that float32 can hold or NaN, found {np.asarray(values)[at]}; "
            "a feature that is not defined is NaN"
        )
    return np.where(np.isnan(cast), np.float32(np.nan), cast)


def encode_row(row: FeatureRow, *, key_id: int, key: bytes) -> bytes:
    """The row's bytes, signed with `key`. RowValueError when something does not fit the format."""
    instrument = row.instrument.encode()
    times = (row.event_time_ns, row.knowledge_time_ns, row.sequence, row.valid_until_ns)
    _check(row, key_id, key, instrument, times)
    values = to_model_dtype(row.values).astype("<f4")
    body = b"".join(
        (
            _HEAD.pack(VERSION, key_id, row.feature_set_id, len(instrument)),
            instrument,
            _TIMES.pack(*times, len(values)),
            values.tobytes(),
        )
    )
    return body + _mac(key, body)


def decode_row(data: bytes, keys: Mapping[int, bytes]) -> FeatureRow:
    """The row in `data`, its MAC verified before anything in it is believed.

    keys: key id → key. Raises RowVersionError, RowTruncatedError, RowTrailingError, RowKeyError, RowForgedError (an
    altered byte), or RowValueError (signed, but saying what no row may say).
    """
    if data[:1] and data[0] != VERSION:
        raise RowVersionError(f"row: expected version {VERSION}, found {data[0]}; upgrade the older side")
    key_id, feature_set_id, instrument, times_at, count = _layout(data)
    end = len(data) - MAC_BYTES
    key = keys.get(key_id)
    if key is None:
        known = ", ".join(str(each) for each in sorted(keys)) or "none"
        raise RowKeyError(f"row: expected one of the keys {known}, found key {key_id}; distribute that key first")
    if not hmac.compare_digest(_mac(key, data[:end]), data[end:]):
        raise RowForgedError(
            f"row: expected a MAC by key {key_id} over these {end} bytes, found another; the row was altered or signed "
            "with another key: drop it and look at the sender"
        )
    event, knowledge, sequence, valid_until, _ = _TIMES.unpack_from(data, times_at)
    values = np.frombuffer(data, "<f4", count, times_at + _TIMES.size).astype(np.float32)
    if np.isinf(values).any():
        raise RowValueError("row: expected finite values or NaN, found an infinity; repair the publisher")
    return FeatureRow(feature_set_id, _text(instrument), event, knowledge, sequence, valid_until, values)


def _layout(data: bytes) -> tuple[int, bytes, bytes, int, int]:
    """Key id, feature set id, instrument, offset of the times and count of values; the length is checked exactly."""
    if len(data) < _HEAD.size:
        raise _truncated(_HEAD.size, len(data))
    _, key_id, feature_set_id, length = _HEAD.unpack_from(data)
    times_at = _HEAD.size + length
    if len(data) < times_at + _TIMES.size:
        raise _truncated(times_at + _TIMES.size, len(data))
    count: int = _TIMES.unpack_from(data, times_at)[4]
    size = times_at + _TIMES.size + 4 * count + MAC_BYTES
    if len(data) < size:
        raise _truncated(size, len(data))
    if len(data) > size:
        raise RowTrailingError(f"row: expected {size} bytes, found {len(data)}; send one row per message")
    return key_id, feature_set_id, data[_HEAD.size : times_at], times_at, count


def _truncated(expected: int, found: int) -> RowTruncatedError:
    return RowTruncatedError(
        f"row: expected at least {expected} bytes, found {found}; the row was cut off: send it again"
    )


def _text(instrument: bytes) -> str:
    try:
        return instrument.decode()
    except UnicodeDecodeError as error:
        raise RowValueError(
            f"row: expected an instrument in UTF-8, found {instrument[:40]!r}; repair the publisher"
        ) from error


def _mac(key: bytes, body: bytes) -> bytes:
    return hmac.digest(key, body, hashlib.sha256)


def _check(row: FeatureRow, key_id: int, key: bytes, instrument: bytes, times: tuple[int, ...]) -> None:
    checks: tuple[tuple[bool, str, Any], ...] = (
        (0 <= key_id <= 255, "a key id of one byte", key_id),
        (len(key) >= 16, "a key of at least 16 bytes", f"{len(key)} bytes"),
        (len(row.feature_set_id) == 32, "a feature set id of 32 bytes", f"{len(row.feature_set_id)} bytes"),
        (0 < len(instrument) <= 0xFFFF, "an instrument of 1 to 65535 bytes", f"{len(instrument)} bytes"),
        (all(each in _INT64 for each in times), "times and sequence of 64 bits", times),
        (row.values.ndim == 1, "values of one dimension", row.values.shape),
    )
    for holds, expected, found in checks:
        if not holds:
            raise RowValueError(f"row of {row.instrument[:40]!r}: expected {expected}, found {found}; correct the row")
