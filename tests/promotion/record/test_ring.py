"""One writer, any readers, nothing locked: what is read is whole, and what was missed is counted."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion.errors import RingError
from promotion.record import INLINE, MAX_BYTES, MAX_RELEASES, RingReader, RingWriter, record_dtype

COLUMNS = ("momentum", "reversal")
INSTRUMENTS = ("AAA", "BBB", "CCC")
SET = "ab" * 32


def _writer(path: Path, capacity: int | None = 8) -> RingWriter:
    return RingWriter(path, feature_set_id=SET, columns=COLUMNS, instruments=INSTRUMENTS, capacity=capacity)


def _write(ring: RingWriter, rows: int, first: int = 0, release: int = 0) -> None:
    numbers = np.arange(first, first + rows)
    ring.write(
        scored_at_ns=1000,
        event_time_ns=numbers * 10,
        knowledge_time_ns=numbers * 10 + 1,
        instrument=(numbers % 3).astype(np.int32),
        release=release,
        status=np.zeros(rows, np.uint8),
        score=numbers.astype(np.float32),
        values=np.stack([numbers, -numbers], axis=1).astype(np.float32),
    )


def test_what_is_written_is_read_once(tmp_path: Path) -> None:
    with _writer(tmp_path / "a.ring") as writer, RingReader(tmp_path / "a.ring") as reader:
        index = writer.release_index("cd" * 32)
        _write(writer, 3, release=index)
        batch = reader.read()
        assert batch.missed == 0
        assert batch.records["begin"].tolist() == [1, 2, 3]
        assert batch.records["score"].tolist() == [0, 1, 2]
        assert batch.records["values"].tolist() == [[0, 0], [1, -1], [2, -2]]
        assert batch.records["event_time_ns"].tolist() == [0, 10, 20]
        assert batch.records["scored_at_ns"].tolist() == [1000] * 3
        assert reader.releases == ("cd" * 32,)
        assert len(reader.read().records) == 0


def test_the_header_says_what_the_records_are(tmp_path: Path) -> None:
    with _writer(tmp_path / "a.ring"), RingReader(tmp_path / "a.ring") as reader:
        assert (reader.columns, reader.instruments, reader.feature_set_id) == (COLUMNS, INSTRUMENTS, SET)


def test_what_was_overwritten_is_counted(tmp_path: Path) -> None:
    with _writer(tmp_path / "a.ring") as writer, RingReader(tmp_path / "a.ring") as reader:
        _write(writer, 5)
        _write(writer, 8, first=5)
        batch = reader.read()
        assert (batch.missed, batch.records["score"].tolist()) == (5, [5, 6, 7, 8, 9, 10, 11, 12])
        _write(writer, 2, first=13)
        assert reader.read().missed == 0


def test_a_write_larger_than_the_ring_keeps_its_end(tmp_path: Path) -> None:
    with _writer(tmp_path / "a.ring") as writer, RingReader(tmp_path / "a.ring") as reader:
        _write(writer, 20)
        batch = reader.read()
        assert (batch.missed, batch.records["score"].tolist()) == (12, list(range(12, 20)))


@given(sizes=st.lists(st.integers(0, 30), max_size=20), reads=st.lists(st.booleans(), min_size=20, max_size=20))
def test_nothing_is_lost_without_being_counted(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], reads: list[bool]
) -> None:
    path = tmp_path_factory.mktemp("ring") / "a.ring"
    with _writer(path, capacity=16) as writer, RingReader(path) as reader:
        seen: list[float] = []
        missed = written = 0
        for size, look in zip(sizes, reads, strict=False):
            _write(writer, size, first=written)
            written += size
            if look:
                batch = reader.read()
                missed += batch.missed
                seen += batch.records["score"].tolist()
        batch = reader.read()
        seen += batch.records["score"].tolist()
        assert len(seen) + missed + batch.missed == written
        assert seen == sorted(set(seen))


@pytest.mark.parametrize(("edge", "sequence"), [("begin", 10), ("end", 0)])
def test_a_record_without_both_its_edges_is_dropped_and_counted(tmp_path: Path, edge: str, sequence: int) -> None:
    """A writer that began to overwrite record 2 with record 10, or had not yet ended record 2."""
    with _writer(tmp_path / "a.ring") as writer, RingReader(tmp_path / "a.ring") as reader:
        _write(writer, 8)
        writer._fields[edge][1] = sequence
        batch = reader.read()
        assert batch.missed == 1
        assert batch.records["score"].tolist() == [0, 2, 3, 4, 5, 6, 7]


def test_one_value_stands_for_all_rows_and_inline_rows_name_no_instrument(tmp_path: Path) -> None:
    with _writer(tmp_path / "a.ring") as writer, RingReader(tmp_path / "a.ring") as reader:
        writer.write(
            scored_at_ns=5, event_time_ns=0, knowledge_time_ns=0, instrument=INLINE, release=0, status=3,
            score=np.full(2, np.nan, np.float32), values=np.ones((2, 2), np.float32),
        )  # fmt: skip
        records = reader.read().records
        assert records["instrument"].tolist() == [-1, -1]
        assert records["status"].tolist() == [3, 3]
        assert np.isnan(records["score"]).all()


def test_a_reader_follows_a_restarted_worker(tmp_path: Path) -> None:
    path = tmp_path / "a.ring"
    with _writer(path) as first:
        reader = RingReader(path)
        _write(first, 2)
        with _writer(path) as second:
            _write(second, 1, first=50)
            assert reader.replaced
            assert reader.read().records["score"].tolist() == [0, 1]  # what the first left is still there
            reader.reopen()
            assert not reader.replaced
            assert reader.read().records["score"].tolist() == [50]
        reader.close()


def test_a_closed_ring_can_be_drained(tmp_path: Path) -> None:
    with _writer(tmp_path / "a.ring") as writer:
        _write(writer, 3)
    with RingReader(tmp_path / "a.ring") as reader:
        assert len(reader.read().records) == 3


def test_the_file_is_private_and_bounded(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.ring"
    with _writer(path, capacity=None) as writer:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.stat().st_size <= MAX_BYTES
        assert writer.capacity * record_dtype(2).itemsize > MAX_BYTES - 4096
    with pytest.raises(RingError, match="expected a capacity of 1 to"):
        _writer(tmp_path / "b.ring", capacity=MAX_BYTES)
    with pytest.raises(RingError, match="expected a capacity of 1 to"):
        _writer(tmp_path / "b.ring", capacity=0)
    assert not (tmp_path / "b.ring").exists()


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 5000, b"SBRING01" + b"\0" * 5000])
def test_a_file_that_is_no_ring_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ring").write_bytes(content)
    with pytest.raises(RingError, match="expected"):
        RingReader(tmp_path / "a.ring")


def test_a_truncated_ring_is_refused(tmp_path: Path) -> None:
    with _writer(tmp_path / "a.ring"):
        pass
    data = (tmp_path / "a.ring").read_bytes()
    (tmp_path / "b.ring").write_bytes(data[:-1])
    with pytest.raises(RingError, match="found another size"):
        RingReader(tmp_path / "b.ring")


@pytest.mark.parametrize(
    ("at", "written", "found"),
    [
        (8, b"\x08", "found another size"),  # a header that ends within its own fields
        (16, b"\xff\xff\xff\xff", "found another size"),  # columns
        (20, b"\xff\xff\xff\xff", "found another size"),  # bytes of names
        (24, b"\0", "found another size"),  # a capacity of nothing
        (2128, b"x", "expected the names"),
        (2128, b"\xff", "expected the names"),
        (2130, b"\xff", "expected the names"),
    ],
)
def test_a_header_that_says_something_else_is_refused(tmp_path: Path, at: int, written: bytes, found: str) -> None:
    with _writer(tmp_path / "a.ring"):
        pass
    data = bytearray((tmp_path / "a.ring").read_bytes())
    data[at : at + len(written)] = written
    (tmp_path / "b.ring").write_bytes(data)
    with pytest.raises(RingError, match=found):
        RingReader(tmp_path / "b.ring")


def test_counts_of_any_size_end_nothing(tmp_path: Path) -> None:
    with _writer(tmp_path / "a.ring") as writer, RingReader(tmp_path / "a.ring") as reader:
        _write(writer, 3)
        for count in (5, 2**64 - 1, 0, 2**63):
            writer._counts[:] = count
            batch = reader.read()
            assert (len(batch.records), batch.missed >= 0) == (3 if count == 5 else 0, True)
            assert len(reader.releases) <= MAX_RELEASES


def test_a_missing_ring_is_named(tmp_path: Path) -> None:
    with pytest.raises(RingError, match="is its worker running"):
        RingReader(tmp_path / "none.ring")


def test_releases_have_an_index_each_up_to_the_table_s_end(tmp_path: Path) -> None:
    with _writer(tmp_path / "a.ring") as writer, RingReader(tmp_path / "a.ring") as reader:
        digests = [f"{number:064x}" for number in range(MAX_RELEASES)]
        assert [writer.release_index(digest) for digest in digests] == list(range(MAX_RELEASES))
        assert writer.release_index(digests[5]) == 5
        assert reader.releases == tuple(digests)
        with pytest.raises(RingError, match="expected at most 64 releases"):
            writer.release_index("ff" * 32)


@pytest.mark.parametrize(("rows", "way"), [(7, "write"), (7, "write_inline"), (1, "write_inline")])
def test_what_another_process_writes_meanwhile_is_never_read_torn(tmp_path: Path, rows: int, way: str) -> None:
    """A child overwrites a small ring as fast as it can; every record read here is of one piece."""
    path = tmp_path / "a.ring"
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        import numpy as np
        from promotion.record import RingWriter
        columns = [f"f{n}" for n in range(12)]
        rows = int(sys.argv[2])
        with RingWriter(
            Path(sys.argv[1]), feature_set_id="ab" * 32, columns=columns, instruments=["A"], capacity=64
        ) as ring:
            print("ready", flush=True)
            for number in range(1, 20_001):
                value = np.float32(number)
                scores, values = np.full(rows, value), np.full((rows, 12), value)
                if sys.argv[3] == "write_inline":
                    ring.write_inline(number, 0, scores, values)
                else:
                    ring.write(scored_at_ns=number, event_time_ns=number, knowledge_time_ns=number, instrument=0,
                               release=0, status=0, score=scores, values=values)
            print("done", flush=True)
        """
    )
    command = [sys.executable, "-c", code, str(path), str(rows), way]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        read = missed = 0
        with RingReader(path) as reader:
            while True:
                done = child.poll() is not None
                batch = reader.read()
                read += len(batch.records)
                missed += batch.missed
                _check_whole(batch.records, rows)
                if done:
                    break
        assert read + missed == 20_000 * rows
        assert read > 0


def _check_whole(records: Any, rows: int) -> None:
    number = (records["begin"] - 1) // rows + 1
    assert np.array_equal(records["scored_at_ns"], number)
    assert np.array_equal(records["score"], number.astype(np.float32))
    assert np.array_equal(records["values"], np.repeat(number[:, None], 12, axis=1).astype(np.float32))


@given(
    st.integers(1, 5),
    st.lists(st.lists(st.tuples(*[st.floats(width=32)] * 6), min_size=1, max_size=9), min_size=1, max_size=6),
    st.integers(0, 63),
    st.integers(0, 2**62),
)
def test_inline_rows_leave_the_same_bytes_whichever_way_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, columns: int, batches: Any, release: int, now_ns: int
) -> None:
    """One by one, many at a time, over the end of the ring."""
    folder = tmp_path_factory.mktemp("rings")
    names = [f"f{at}" for at in range(columns)]
    rings = [
        RingWriter(folder / name, feature_set_id=SET, columns=names, instruments=(), capacity=7) for name in ("a", "b")
    ]
    with rings[0] as sooner, rings[1] as usual:
        for batch in batches:
            rows = np.array(batch, np.float32)
            scores, values = rows[:, 0].copy(), np.ascontiguousarray(rows[:, 1 : 1 + columns])
            sooner.write_inline(now_ns, release, scores, values)
            usual.write(
                scored_at_ns=now_ns,
                event_time_ns=0,
                knowledge_time_ns=0,
                instrument=INLINE,
                release=release,
                status=np.zeros(len(rows), np.uint8),
                score=scores,
                values=values,
            )
            assert (folder / "a").read_bytes() == (folder / "b").read_bytes()


def test_a_lone_inline_row_is_stored_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    """The layout's own struct, field by field: the beginning first, the end last."""
    with _writer(tmp_path / "a.ring") as writer, RingReader(tmp_path / "a.ring") as reader:
        index = writer.release_index("cd" * 32)
        writer.write_inline(9, index, np.array([1.5], np.float32), np.array([[3, 4]], np.float32))
        (record,) = reader.read().records
        assert (record["begin"], record["end"], record["scored_at_ns"], record["instrument"]) == (1, 1, 9, INLINE)
        assert (record["event_time_ns"], record["knowledge_time_ns"], record["status"]) == (0, 0, 0)
        assert (record["release"], record["score"], record["values"].tolist()) == (index, 1.5, [3, 4])
        assert reader.read().missed == 0
