"""The ring: what a worker writes for every row it scored, and all it writes on the hot path (design D10).

One memory-mapped file per (worker, feature set) in shared memory, mode 0600. One process writes; others read while it
does, and count what they missed. A record begins and ends with its sequence (1 for the first): the writer stores the
beginning first and the end last, the reader looks at the end first and the beginning last, so that a record which was
overwritten meanwhile never has both.

Layout, little-endian (contract: docs/contracts.md, "Ring"):

    magic 8 bytes "SBRING01" | header bytes u32 | record bytes u32 | columns u32 | names' bytes u32 | capacity u64
    feature_set_id 32 bytes | write count u64 | release count u64 | 64 release digests of 32 bytes
    names: canonical JSON {"columns": [...], "instruments": [...]} | zeros to a multiple of 64 | records
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.canonical import canonical_json
from promotion.errors import RingError

MAGIC = b"SBRING01"
MAX_BYTES = 16 * 2**20
MAX_RELEASES = 64
INLINE = -1  # the instrument of a row whose features came with the request
_FIXED = struct.Struct("<8sIIIIQ32s")
_COUNTS = struct.Struct("<QQ")
_FACTS = struct.Struct("<qqiBBxx")  # event time, knowledge time, instrument, release, status
_DIGEST_BYTES = 32
_COUNT_AT = _FIXED.size
_RELEASES_AT = _COUNT_AT + _COUNTS.size
_BODY = ("scored_at_ns", "event_time_ns", "knowledge_time_ns", "instrument", "release", "status", "score", "values")
_NAMES_AT = _RELEASES_AT + MAX_RELEASES * _DIGEST_BYTES


def record_dtype(columns: int) -> np.dtype[np.void]:
    """One record of `columns` features: 52 bytes and 4 a feature, in multiples of 8, so that every field is aligned.

    scored_at_ns, event_time_ns, knowledge_time_ns: int64 UTC nanoseconds (event and knowledge 0 for inline rows).
    instrument: index into the header's names, or -1. release: index into the header's digests. status: 0 OK, 1 STALE,
    2 UNKNOWN_INSTRUMENT, 3 REFUSED. score: float32, NaN unless OK. values: the features that were scored, float32.
    """
    return np.dtype(
        [
            ("begin", "<u8"),
            ("scored_at_ns", "<i8"),
            ("event_time_ns", "<i8"),
            ("knowledge_time_ns", "<i8"),
            ("instrument", "<i4"),
            ("release", "u1"),
            ("status", "u1"),
            ("pad", "<u2"),
            ("score", "<f4"),
            ("values", "<f4", (columns,)),
            *([] if columns % 2 else [("fill", "<f4")]),
            ("end", "<u8"),
        ]
    )


def _record_bytes(columns: int) -> int:
    """The size of `record_dtype`, known without making one."""
    return 52 + 4 * columns + (0 if columns % 2 else 4)


def _facts_dtype(record: np.dtype[np.void]) -> np.dtype[np.void]:
    """`record` with what is the same for all rows of a request, from its event time to its padding, as one field."""
    fields: Any = record.fields
    start, stop = (fields[name][1] for name in ("event_time_ns", "score"))
    return np.dtype(
        {"names": ["facts"], "formats": [f"V{stop - start}"], "offsets": [start], "itemsize": record.itemsize}
    )


def _row_struct(columns: int) -> struct.Struct:
    """One record, as `record_dtype` lays it out."""
    return struct.Struct(f"<QqqqiBBxxf{4 * columns}s{'' if columns % 2 else '4x'}Q")


class _Names(msgspec.Struct, forbid_unknown_fields=True):
    columns: tuple[str, ...]
    instruments: tuple[str, ...]


class RingWriter:
    """Makes a ring and writes to it. Owned by a `with`; the file stays when it closes, for a reader to drain.

    feature_set_id: 64 hex digits. columns: the features' names in order. capacity: records kept; None for as many as
    16 MiB hold. A ring that is at `path` already is replaced: readers of the old one notice. RingError when it would
    not fit.
    """

    def __init__(
        self,
        path: Path,
        *,
        feature_set_id: str,
        columns: Sequence[str],
        instruments: Sequence[str],
        capacity: int | None = None,
    ) -> None:
        self.path = path
        self._dtype = record_dtype(len(columns))
        names = canonical_json({"columns": list(columns), "instruments": list(instruments)})
        header = -(-(_NAMES_AT + len(names)) // 64) * 64
        room = (MAX_BYTES - header) // self._dtype.itemsize
        self.capacity = room if capacity is None else capacity
        if not 1 <= self.capacity <= room:
            raise RingError(
                f"{path}: expected a capacity of 1 to {room} records ({MAX_BYTES} bytes), found {self.capacity}"
            )
        fixed = _FIXED.pack(
            MAGIC,
            header,
            self._dtype.itemsize,
            len(columns),
            len(names),
            self.capacity,
            bytes.fromhex(feature_set_id),
        )
        start = fixed + bytes(_NAMES_AT - len(fixed)) + names
        self._map = _make(path, start.ljust(header, b"\0"), header + self.capacity * self._dtype.itemsize)
        self._counts: NDArray[np.uint64] = np.frombuffer(self._map, "<u8", 2, _COUNT_AT)
        records: NDArray[Any] = np.frombuffer(self._map, self._dtype, self.capacity, header)
        self._fields = {name: records[name] for name in self._dtype.names or ()}  # made once: half of a write's cost
        self._fields["facts"] = records.view(_facts_dtype(self._dtype))["facts"]
        self._first_at = header
        self._pack_row = _row_struct(len(columns)).pack_into
        self._steps = np.arange(1, self.capacity + 1, dtype=np.uint64)
        self._written = 0
        self._releases: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the mapping; the ring is written no more."""
        del self._counts, self._fields
        self._map.close()

    @property
    def written(self) -> int:
        """Records written so far; all but the last `capacity` of them have been overwritten, read or not."""
        return self._written

    def release_index(self, digest: str) -> int:
        """The index under which records name release `digest` (64 hex digits); given out at the first call."""
        index = self._releases.get(digest)
        if index is None:
            index = len(self._releases)
            if index == MAX_RELEASES:
                raise RingError(f"{self.path}: expected at most {MAX_RELEASES} releases, found one more; restart it")
            at = _RELEASES_AT + index * _DIGEST_BYTES
            self._map[at : at + _DIGEST_BYTES] = bytes.fromhex(digest)
            self._releases[digest] = index
            self._counts[1] = index + 1
        return index

    def write(
        self,
        *,
        scored_at_ns: int,
        event_time_ns: ArrayLike,
        knowledge_time_ns: ArrayLike,
        instrument: ArrayLike,
        release: int,
        status: ArrayLike,
        score: NDArray[np.float32],
        values: NDArray[np.float32],
    ) -> None:
        """Writes n records: score float32 [n], values float32 [n, columns], the others [n] or one for all.

        More records than the ring holds: the last ones stay, the others count as written (and are missed).
        """
        total = len(score)
        start = max(0, total - self.capacity)
        self._written += start
        given = (scored_at_ns, event_time_ns, knowledge_time_ns, instrument, release, status, score, values)
        while start < total:
            slot = self._written % self.capacity
            size = min(total - start, self.capacity - slot)
            self._write_block(slice(slot, slot + size), slice(start, start + size), given)
            self._written += size
            start += size
        self._counts[0] = self._written

    def write_inline(
        self, scored_at_ns: int, release: int, score: NDArray[np.float32], values: NDArray[np.float32]
    ) -> None:
        """Writes n rows whose features came with the request and whose scores are OK: the records of `write`, sooner.

        score: float32 [n]. values: float32 [n, columns].
        """
        slot = self._written % self.capacity
        if len(score) == 1:
            sequence = self._written + 1
            at = self._first_at + slot * self._dtype.itemsize
            row = values.tobytes()
            # One call stores the fields one after the other: the beginning first, the end last.
            self._pack_row(self._map, at, sequence, scored_at_ns, 0, 0, INLINE, release, 0, score.item(), row, sequence)
            self._written = sequence
            self._counts[0] = sequence
        elif slot + len(score) <= self.capacity:
            self._write_inline_block(slice(slot, slot + len(score)), scored_at_ns, release, score, values)
        else:
            self.write(
                scored_at_ns=scored_at_ns,
                event_time_ns=0,
                knowledge_time_ns=0,
                instrument=INLINE,
                release=release,
                status=0,
                score=score,
                values=values,
            )

    def _write_inline_block(
        self,
        slots: slice,
        scored_at_ns: int,
        release: int,
        score: NDArray[np.float32],
        values: NDArray[np.float32],
    ) -> None:
        sequences = self._steps[: len(score)] + np.uint64(self._written)
        fields = self._fields
        fields["begin"][slots] = sequences
        fields["scored_at_ns"][slots] = scored_at_ns
        fields["facts"][slots] = np.void(_FACTS.pack(0, 0, INLINE, release, 0))
        fields["score"][slots] = score
        fields["values"][slots] = values
        fields["end"][slots] = sequences
        self._written += len(score)
        self._counts[0] = self._written

    def _write_block(self, slots: slice, part: slice, given: tuple[ArrayLike, ...]) -> None:
        sequences = self._steps[: slots.stop - slots.start] + np.uint64(self._written)
        fields = self._fields
        fields["begin"][slots] = sequences
        for name, value in zip(_BODY, given, strict=True):
            fields[name][slots] = value[part] if isinstance(value, np.ndarray) and value.ndim else value
        fields["end"][slots] = sequences


@dataclass(frozen=True)
class RingBatch:
    """What a reader found since it looked last: records in the order of writing, and how many were overwritten."""

    records: NDArray[Any]
    missed: int


class RingReader:
    """Reads a ring from outside, while it is written. Owned by a `with`.

    columns, instruments, feature_set_id: the header's. RingError when there is no ring at `path`, or something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the mapping."""
        del self._counts, self._records
        self._map.close()

    @property
    def releases(self) -> tuple[str, ...]:
        """The digests that records' `release` indexes; it grows."""
        found = range(min(int(self._counts[1]), MAX_RELEASES))
        ends = [(_RELEASES_AT + i * _DIGEST_BYTES, _RELEASES_AT + (i + 1) * _DIGEST_BYTES) for i in found]
        return tuple(self._map[start:end].hex() for start, end in ends)

    @property
    def replaced(self) -> bool:
        """Whether another ring lies at the path by now (its worker was restarted): read on here first, then reopen."""
        try:
            return os.stat(self.path).st_ino != self._inode
        except FileNotFoundError:
            return True

    def reopen(self) -> None:
        """Turns to the ring that lies at the path now, from its first record on."""
        self.close()
        self._read = 0
        self._open()

    def read(self) -> RingBatch:
        """The records written since the last call. One pass over what is new; nothing is locked."""
        written = int(self._counts[0])
        first = max(self._read, written - self._capacity)
        expected = np.arange(1, max(0, written - first) + 1, dtype=np.uint64) + np.uint64(first)
        slots = (expected - 1) % self._capacity
        ends = self._records["end"][slots]  # first, and the beginnings last: see above
        records = self._records[slots]
        begins = self._records["begin"][slots]
        whole = (ends == expected) & (begins == expected)
        missed = first - self._read + int(np.count_nonzero(~whole))
        self._read = written
        return RingBatch(records[whole], missed)

    def _open(self) -> None:
        try:
            with self.path.open("rb") as file:
                self._inode = os.fstat(file.fileno()).st_ino
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise RingError(f"{self.path}: expected a ring, found none ({error}); is its worker running?") from error
        try:
            self._read_header()
        except RingError:
            self._map.close()
            raise

    def _read_header(self) -> None:
        if len(self._map) < _NAMES_AT or self._map[:8] != MAGIC:
            raise RingError(f"{self.path}: expected a ring of format {MAGIC.decode()}, found another file")
        _, header, size, columns, names, capacity, feature_set = _FIXED.unpack_from(self._map)
        wanted = _record_bytes(columns)
        whole = header >= _NAMES_AT + names and capacity > 0 and len(self._map) == header + capacity * size
        if size != wanted or not whole:
            raise RingError(
                f"{self.path}: expected {capacity} records of {wanted} bytes behind {header} bytes, found another size "
                f"({size} bytes each, {len(self._map)} in all)"
            )
        try:
            said = msgspec.json.decode(self._map[_NAMES_AT : _NAMES_AT + names], type=_Names)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RingError(f"{self.path}: expected the names of columns and instruments, found: {error}") from error
        self.columns, self.instruments = said.columns, said.instruments
        self.feature_set_id: str = feature_set.hex()
        self._capacity: int = capacity
        self._counts: NDArray[np.uint64] = np.frombuffer(self._map, "<u8", 2, _COUNT_AT)
        self._records: NDArray[Any] = np.frombuffer(self._map, record_dtype(columns), capacity, header)


def _make(path: Path, start: bytes, size: int) -> mmap.mmap:
    """A file of `size` bytes that begins with `start`, mapped; it appears at `path` when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".ring-")  # mkstemp's mode is 0600
    try:
        os.ftruncate(descriptor, size)
        os.pwrite(descriptor, start, 0)
        mapping = mmap.mmap(descriptor, size)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return mapping
