"""The ring of docs/contracts.md, byte for byte: a header, and one record of two features."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from promotion.record import RingReader, RingWriter, record_dtype

FEATURE_SET = "0123456789abcdef" * 4
RELEASE = "fedcba9876543210" * 4
NAMES = b'{"columns":["momentum","reversal"],"instruments":["AAA","BBB"]}'
HEADER_BYTES = 2240
RECORD_BYTES = 64
CAPACITY = 3


def _expected() -> bytes:
    fixed = b"SBRING01" + struct.pack("<IIIIQ", HEADER_BYTES, RECORD_BYTES, 2, len(NAMES), CAPACITY)
    counts = struct.pack("<QQ", 1, 1)
    releases = (bytes.fromhex(RELEASE)).ljust(64 * 32, b"\0")
    header = (fixed + bytes.fromhex(FEATURE_SET) + counts + releases + NAMES).ljust(HEADER_BYTES, b"\0")
    record = struct.pack(
        "<QqqqiBBHffffQ", 1, 1_453_323_600_000_000_003, 1_453_323_600_000_000_001, 1_453_323_600_000_000_002,
        1, 0, 0, 0, 0.25, 1.5, -2.0, 0.0, 1,
    )  # fmt: skip
    return header + record + bytes(RECORD_BYTES * (CAPACITY - 1))


def test_the_bytes_of_a_ring(tmp_path: Path) -> None:
    path = tmp_path / "a.ring"
    with RingWriter(
        path,
        feature_set_id=FEATURE_SET,
        columns=["momentum", "reversal"],
        instruments=["AAA", "BBB"],
        capacity=CAPACITY,
    ) as ring:
        ring.write(
            scored_at_ns=1_453_323_600_000_000_003,
            event_time_ns=1_453_323_600_000_000_001,
            knowledge_time_ns=1_453_323_600_000_000_002,
            instrument=1,
            release=ring.release_index(RELEASE),
            status=0,
            score=np.array([0.25], np.float32),
            values=np.array([[1.5, -2.0]], np.float32),
        )
    assert path.read_bytes() == _expected()


def test_these_bytes_read_back(tmp_path: Path) -> None:
    (tmp_path / "a.ring").write_bytes(_expected())
    with RingReader(tmp_path / "a.ring") as reader:
        (record,) = reader.read().records
        assert reader.releases == (RELEASE,)
        assert (reader.columns, reader.instruments) == (("momentum", "reversal"), ("AAA", "BBB"))
        assert (record["instrument"], record["score"], record["values"].tolist()) == (1, 0.25, [1.5, -2.0])


def test_the_size_of_a_record() -> None:
    assert [record_dtype(columns).itemsize for columns in (0, 1, 2, 12)] == [56, 56, 64, 104]
