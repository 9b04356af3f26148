from __future__ import annotations

import hmac
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.errors import (
    RowError,
    RowForgedError,
    RowKeyError,
    RowTrailingError,
    RowTruncatedError,
    RowValueError,
    RowVersionError,
)
from features.row import FeatureRow, decode_row, encode_row, to_model_dtype

KEY = bytes(range(32))
KEYS = {7: KEY}
ROW = FeatureRow(
    feature_set_id=bytes(range(32, 64)),
    instrument="ÄAPL",
    event_time_ns=1_420_232_400_000_000_000,
    knowledge_time_ns=1_420_233_300_000_000_000,
    sequence=7564,
    valid_until_ns=1_420_494_300_000_000_000,
    values=np.array([0.5, -1.25, np.nan, 0.0], np.float32),
)


def resigned(data: bytes, key: bytes = KEY) -> bytes:
    return data[:-32] + hmac.digest(key, data[:-32], "sha256")


def same(one: FeatureRow, other: FeatureRow) -> bool:
    names = ("feature_set_id", "instrument", "event_time_ns", "knowledge_time_ns", "sequence", "valid_until_ns")
    return all(getattr(one, name) == getattr(other, name) for name in names) and bool(
        (one.values.view(np.uint32) == other.values.view(np.uint32)).all()
    )


int64s = st.integers(-(2**63), 2**63 - 1)


@settings(max_examples=60, deadline=None)
@given(
    instrument=st.text(min_size=1, max_size=30).filter(lambda text: max(text) < "\ud800" or max(text) > "\udfff"),
    times=st.tuples(int64s, int64s, int64s, int64s),
    values=st.lists(st.floats(width=32, allow_infinity=False), max_size=20),
    key_id=st.integers(0, 255),
)
def test_what_is_encoded_comes_back(
    instrument: str, times: tuple[int, int, int, int], values: list[float], key_id: int
) -> None:
    row = FeatureRow(bytes(32), instrument, *times, np.array(values, np.float32))
    back = decode_row(encode_row(row, key_id=key_id, key=KEY), {key_id: KEY})
    assert same(back, replace(row, values=to_model_dtype(row.values)))


def test_every_altered_byte_is_refused() -> None:
    data = encode_row(ROW, key_id=7, key=KEY)
    for at in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            altered = bytearray(data)
            altered[at] ^= flip
            with pytest.raises(RowError):
                decode_row(bytes(altered), KEYS)


def test_every_truncation_and_any_tail_is_refused() -> None:
    data = encode_row(ROW, key_id=7, key=KEY)
    for length in range(len(data)):
        with pytest.raises(RowTruncatedError, match=f"found {length};"):
            decode_row(data[:length], KEYS)
    with pytest.raises(RowTrailingError, match=f"expected {len(data)} bytes, found {len(data) + 1}"):
        decode_row(data + b"\0", KEYS)
    with pytest.raises(RowTrailingError):
        decode_row(data + data, KEYS)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_named_refusal(data: bytes) -> None:
    with pytest.raises(RowError):
        decode_row(data, KEYS)


def test_a_version_of_the_future() -> None:
    data = bytearray(encode_row(ROW, key_id=7, key=KEY))
    data[0] = 2
    with pytest.raises(RowVersionError, match="expected version 1, found 2"):
        decode_row(resigned(bytes(data)), KEYS)


def test_an_unknown_key_and_another_key() -> None:
    data = encode_row(ROW, key_id=7, key=KEY)
    with pytest.raises(RowKeyError, match="expected one of the keys 1, 2, found key 7"):
        decode_row(data, {2: KEY, 1: KEY})
    with pytest.raises(RowForgedError, match="expected a MAC by key 7"):
        decode_row(data, {7: bytes(32)})


def test_a_huge_count_reserves_nothing() -> None:
    data = bytearray(encode_row(ROW, key_id=7, key=KEY))
    struct.pack_into(">I", data, 1 + 1 + 32 + 2 + 5 + 32, 2**32 - 1)
    with pytest.raises(RowTruncatedError):
        decode_row(resigned(bytes(data)), KEYS)


def test_signed_nonsense_is_refused_too() -> None:
    data = bytearray(encode_row(ROW, key_id=7, key=KEY))
    data[36:38] = b"\xff\xff"
    with pytest.raises(RowValueError, match="UTF-8"):
        decode_row(resigned(bytes(data)), KEYS)
    data = bytearray(encode_row(ROW, key_id=7, key=KEY))
    struct.pack_into("<f", data, len(data) - 32 - 4, float("inf"))
    with pytest.raises(RowValueError, match="found an infinity"):
        decode_row(resigned(bytes(data)), KEYS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instrument": ""}, "an instrument of 1 to 65535 bytes, found 0 bytes"),
        ({"instrument": "A" * 65_536}, "found 65536 bytes"),
        ({"feature_set_id": bytes(31)}, "32 bytes, found 31"),
        ({"sequence": 2**63}, "64 bits"),
        ({"values": np.zeros((2, 2), np.float32)}, r"one dimension, found \(2, 2\)"),
        ({"values": np.array([np.inf], np.float32)}, "found inf"),
    ],
)
def test_rows_that_do_not_fit_the_format(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RowValueError, match=message):
        encode_row(replace(ROW, **changes), key_id=7, key=KEY)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(("key_id", "key"), [(256, KEY), (-1, KEY), (7, b"short")])
def test_keys_that_do_not_fit(key_id: int, key: bytes) -> None:
    with pytest.raises(RowValueError, match="a key"):
        encode_row(ROW, key_id=key_id, key=key)


def test_the_cast_to_the_models_dtype() -> None:
    odd = np.array([0xFFF8_0000_0000_1234], np.uint64).view(np.float64)[0]
    values = np.array([[1.0, -0.0], [odd, 1e-50]])
    cast = to_model_dtype(values)
    assert cast.dtype == np.float32
    assert cast.view(np.uint32).tolist() == [[0x3F80_0000, 0], [0x7FC0_0000, 0]]
    assert to_model_dtype(np.array([0.1]))[0] == np.float32(0.1)


def test_a_signalling_nan_is_a_nan_like_any_other() -> None:
    signalling = np.array([0x7F800001, 0xFFBC0000], np.uint32).view(np.float32)
    assert to_model_dtype(signalling).tobytes() == np.full(2, np.nan, np.float32).tobytes()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 3.5e38])
def test_the_cast_refuses_what_float32_cannot_hold(value: float) -> None:
    with pytest.raises(RowValueError, match=r"value at \(1, 0\)"):
        to_model_dtype(np.array([[0.0], [value]]))
