"""Blocks of rows: what they say as a hash, and the Parquet file that says it.

Parquet's bytes depend on who wrote them, so a block is named by the hash of its logical form: per column its type,
validity and little-endian values. A pointer leads from that name to the file.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from features.blobs import BlobStore
from features.canonical import identity, sha256_hex
from features.errors import BlobError, BlobMissingError, SnapshotError

# Named here rather than by polars, which has renamed its types before.
_TYPES: Mapping[Any, str] = {pl.String: "utf8", pl.Int64: "int64", pl.Float64: "float64"}


def logical_hash(column: pl.Series) -> str:
    """The hash of what a column says: its type, which rows are null, and its values in little-endian bytes.

    A null counts as zero, NaN has one form, −0.0 is 0.0; text is its UTF-8 with int64 lengths. Chunks do not matter.
    """
    valid = column.is_not_null().to_numpy()
    head = f"{_TYPES[column.dtype]}:{len(column)}:".encode() + np.packbits(valid, bitorder="little").tobytes()
    if column.dtype == pl.String:
        texts = column.fill_null("")
        lengths = texts.str.len_bytes().to_numpy().astype("<i8")
        return sha256_hex(head + lengths.tobytes() + "".join(texts.to_list()).encode())
    if column.dtype == pl.Float64:
        numbers = column.fill_null(0.0).to_numpy() + 0.0
        numbers = np.where(np.isnan(numbers), np.nan, numbers)
        return sha256_hex(head + numbers.astype("<f8").tobytes())
    return sha256_hex(head + column.fill_null(0).to_numpy().astype("<i8").tobytes())


def _logical_block(rows: pl.DataFrame) -> dict[str, Any]:
    return {"rows": rows.height, "columns": {name: logical_hash(rows[name]) for name in rows.columns}}


def write_block(store: BlobStore, rows: pl.DataFrame) -> dict[str, Any]:
    """Keeps rows as Parquet, unless a sound block of the same content is there; returns their logical form."""
    block = _logical_block(rows)
    name = identity(block)
    try:
        read_block(store, block)
    except (BlobError, SnapshotError):  # not there yet, or damaged: written afresh
        buffer = io.BytesIO()
        rows.write_parquet(buffer, compression="zstd", statistics=False)
        store.point(name, store.put(buffer.getvalue()))
    return block


def read_block(store: BlobStore, block: Mapping[str, Any]) -> pl.DataFrame:
    """The rows of the block with this logical form. BlobError or SnapshotError when they are missing or others."""
    name = identity(block)
    digest = store.pointed(name)
    if digest is None:
        raise BlobMissingError(f"block {name}: expected a pointer to its Parquet file, found none; ingest again")
    data = store.get(digest)
    try:
        rows = pl.read_parquet(io.BytesIO(data))
    except pl.exceptions.PolarsError as error:
        raise SnapshotError(f"blob {digest}: expected Parquet, found bytes it cannot read ({error})") from error
    found = _logical_block(rows)
    if identity(found) != name:
        raise SnapshotError(
            f"blob {digest}: expected block {name}, found {identity(found)}; restore the pointer or ingest"
        )
    return rows
