from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.blobs import BlobStore
from features.blocks import logical_hash
from features.errors import BlobAlteredError, BlobError, BlobMissingError, SnapshotError
from features.panel import Panel
from features.snapshot import BLOCK_ROWS, Snapshot, open_snapshot, write_snapshot
from features.source import SourceTerms

Rows = list[tuple[str, int, int, int, float]]
Write = Callable[[Rows], Snapshot]
DAY = 86_400 * 10**9
DELAY = 15 * 60 * 10**9
INPUT = "close_adjusted_final"
SCHEMA = {
    "instrument": pl.String,
    "event_time_ns": pl.Int64,
    "knowledge_time_ns": pl.Int64,
    "sequence": pl.Int64,
    INPUT: pl.Float64,
}


def frame_of(rows: Rows) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def as_known(rows: Rows, known_at_ns: int) -> dict[tuple[str, int], float]:
    """What a person would pick out by hand: of the rows known by then, the latest by (knowledge time, sequence)."""
    latest: dict[tuple[str, int], tuple[int, int, float]] = {}
    for name, event, known, sequence, value in rows:
        if known > known_at_ns or event + DELAY > known_at_ns:
            continue
        if (known, sequence) >= latest.get((name, event), (-1, -1, 0.0))[:2]:
            latest[name, event] = (known, sequence, value)
    return {cell: value for cell, (_, _, value) in latest.items()}


def cells_of(panel: Panel) -> dict[tuple[str, int], float]:
    return {
        (panel.instruments[column], int(panel.event_times_ns[row])): float(panel.values[row, column])
        for row, column in np.argwhere(np.isfinite(panel.values))
    }


# -- identity -------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_id_does_not_depend_on_order_chunks_or_columns(
    tmp_path_factory: pytest.TempPathFactory,
    source: SourceTerms,
    random_rows: Callable[[int], Rows],
    seed: int,
) -> None:
    rows = random_rows(seed)
    expected = write_snapshot(
        frame_of(rows), source_name="s", source=source, store=BlobStore(tmp_path_factory.mktemp("a"))
    )
    random.Random(seed).shuffle(rows)
    cut = len(rows) // 3
    chunked = pl.concat([frame_of(rows[:cut]), frame_of(rows[cut:])], rechunk=False)
    chunked = chunked.select(INPUT, "sequence", "instrument", "event_time_ns", "knowledge_time_ns")
    other = write_snapshot(chunked, source_name="s", source=source, store=BlobStore(tmp_path_factory.mktemp("b")))
    assert other.id == expected.id


def test_the_id_does_not_depend_on_parquet_bytes(
    store: BlobStore, bitemporal: Write, random_rows: Callable[[int], Rows]
) -> None:
    snapshot = bitemporal(random_rows(1))
    pointer = next(path for path in (store.root / "pointers").rglob("*") if path.is_file())
    digest = store.pointed(pointer.name)
    assert digest is not None
    rows = snapshot.frame()
    copy = store.root / "copy.parquet"
    rows.write_parquet(copy, compression="uncompressed", row_group_size=7)
    assert copy.read_bytes() != store.get(digest)
    store.point(pointer.name, store.put(copy.read_bytes()))
    assert open_snapshot(store, snapshot.id).frame().equals(rows)
    assert bitemporal(random_rows(1)).id == snapshot.id


@pytest.mark.parametrize("change", ["value", "known", "sequence", "instrument", "drop"])
def test_the_id_depends_on_every_value(bitemporal: Write, change: str) -> None:
    rows: Rows = [("AAA", day * DAY, day * DAY + DELAY, 0, 1.5) for day in range(1, 4)]
    name, event, known, sequence, value = rows[1]
    changed = {
        "value": (name, event, known, sequence, float(np.nextafter(value, 2))),
        "known": (name, event, known + 1, sequence, value),
        "sequence": (name, event, known, 1, value),
        "instrument": ("AAB", event, known, sequence, value),
    }.get(change)
    others = [rows[0], *([changed] if changed else []), rows[2]]
    assert bitemporal(others).id != bitemporal(rows).id


def test_the_id_depends_on_the_sources_terms(store: BlobStore, source: SourceTerms, bitemporal: Write) -> None:
    rows: Rows = [("AAA", DAY, DAY + DELAY, 0, 1.5)]
    terms = SourceTerms(source.description, source.licence, source.calendar, source.delay_ns + 1)
    other = write_snapshot(frame_of(rows), source_name="made_up", source=terms, store=store)
    assert other.id != bitemporal(rows).id


def test_the_id_is_this_one(bitemporal: Write) -> None:
    """Golden: a change of format or of the hash's form must be meant."""
    snapshot = bitemporal([("AAA", DAY, DAY + DELAY, 0, 1.5), ("ÄÖ", DAY, DAY + DELAY, 0, float("nan"))])
    assert snapshot.id == "ff8403fb5b7919c89c621c847bb4d48205478bc40366928d01ad0c5f112837dd"


def test_logical_hash_tells_null_from_nan_and_zero() -> None:
    columns = [pl.Series([1.0, value], dtype=pl.Float64) for value in (None, float("nan"), 0.0, 1.0)]
    assert len({logical_hash(column) for column in columns}) == 4
    assert logical_hash(pl.Series([0.0])) == logical_hash(pl.Series([-0.0]))
    assert logical_hash(pl.Series(["ab", "c"])) != logical_hash(pl.Series(["a", "bc"]))
    assert logical_hash(pl.Series([1, 2])) != logical_hash(pl.Series([1.0, 2.0]))


def test_appended_rows_share_the_full_blocks(bitemporal: Write, store: BlobStore) -> None:
    count = BLOCK_ROWS + 10
    rows: Rows = [("AAA", at, at + DELAY, 0, 1.0 + at) for at in range(1, count)]
    first = bitemporal(rows)
    before = {path for path in store.root.rglob("*") if path.is_file()}
    longer = bitemporal([*rows, ("AAA", count, count + DELAY, 0, 2.0)])
    new = {path for path in store.root.rglob("*") if path.is_file()} - before
    assert longer.id != first.id
    assert sum(path.stat().st_size for path in new) < 10_000
    assert longer.rows == count


# -- time -----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), day=st.integers(0, 40))
def test_a_panel_is_what_was_known(
    tmp_path_factory: pytest.TempPathFactory,
    source: SourceTerms,
    random_rows: Callable[[int], Rows],
    seed: int,
    day: int,
) -> None:
    rows = random_rows(seed)
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    snapshot = write_snapshot(frame_of(rows), source_name="s", source=source, store=store)
    at = day * DAY + DELAY
    panel = snapshot.panel(INPUT, known_at_ns=at)
    assert cells_of(panel) == as_known(rows, at)
    latest = snapshot.panel(INPUT, known_at_ns=100 * DAY)
    assert cells_of(latest.until(at)) == as_known(rows, at)
    assert (latest.until(at).revisions.known_ns <= at).all()
    for earlier in range(0, day * DAY + DELAY, 3 * DAY):
        assert cells_of(panel.until(earlier)) == as_known(rows, earlier)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_comes_later_changes_no_earlier_panel(
    tmp_path_factory: pytest.TempPathFactory,
    source: SourceTerms,
    random_rows: Callable[[int], Rows],
    seed: int,
) -> None:
    at = 15 * DAY + DELAY
    rows = random_rows(seed)
    poisoned = [(*row[:4], 1e9 if row[2] > at else row[4]) for row in rows]
    panels = [
        write_snapshot(frame_of(each), source_name="s", source=source, store=BlobStore(tmp_path_factory.mktemp("b")))
        .panel(INPUT, known_at_ns=100 * DAY)
        .until(at)
        for each in (rows, poisoned)
    ]
    np.testing.assert_array_equal(panels[0].values, panels[1].values)
    assert not (panels[1].values == 1e9).any()


def test_a_restated_value_stands_from_its_knowledge_time_on(bitemporal: Write) -> None:
    later = 3 * DAY
    snapshot = bitemporal([("AAA", DAY, DAY + DELAY, 0, 1.0), ("AAA", DAY, later, 0, 2.0)])
    assert snapshot.panel(INPUT, known_at_ns=later - 1).values.item() == 1.0
    panel = snapshot.panel(INPUT, known_at_ns=later)
    assert panel.values.item() == 2.0
    assert panel.until(later - 1).values.item() == 1.0
    assert panel.window_as_known(0, 2, later - 1).tolist()[1] == [1.0]


def test_equal_knowledge_times_are_told_apart_by_sequence(bitemporal: Write) -> None:
    snapshot = bitemporal([("AAA", DAY, DAY + DELAY, 1, 1.0), ("AAA", DAY, DAY + DELAY, 0, 2.0)])
    assert snapshot.panel(INPUT, known_at_ns=2 * DAY).values.item() == 1.0


def test_an_early_row_is_not_shown_before_its_decision_instant(bitemporal: Write) -> None:
    snapshot = bitemporal([("AAA", DAY, DAY, 0, 1.0)])
    assert snapshot.panel(INPUT, known_at_ns=DAY + DELAY - 1).values.shape == (0, 1)
    assert snapshot.panel(INPUT, known_at_ns=DAY + DELAY).values.shape == (1, 1)


def test_a_row_that_leaves_an_input_out_leaves_it_as_it_was(store: BlobStore, source: SourceTerms) -> None:
    frame = frame_of([("AAA", DAY, DAY + DELAY, 0, 1.0), ("AAA", DAY, 2 * DAY, 0, 9.0)]).with_columns(
        volume=pl.Series([5.0, None])
    )
    snapshot = write_snapshot(frame, source_name="s", source=source, store=store)
    assert snapshot.inputs == (INPUT, "volume")
    assert snapshot.panel("volume", known_at_ns=9 * DAY).values.item() == 5.0


# -- refusals -------------------------------------------------------------------------------------------------------


def test_an_unknown_input_lists_the_known(bitemporal: Write) -> None:
    snapshot = bitemporal([("AAA", DAY, DAY + DELAY, 0, 1.0)])
    with pytest.raises(SnapshotError, match="expected one of the inputs close_adjusted_final, found 'close'"):
        snapshot.panel("close", known_at_ns=DAY)


def test_an_unknown_snapshot(store: BlobStore) -> None:
    with pytest.raises(BlobMissingError):
        open_snapshot(store, "00" * 32)


@pytest.mark.parametrize("data", [b"prices", b"{}", b"[]", b'{"format":1}', b"\xff"])
def test_a_blob_that_is_no_snapshot(store: BlobStore, data: bytes) -> None:
    with pytest.raises(SnapshotError, match="expected a snapshot's manifest"):
        open_snapshot(store, store.put(data))


def test_a_format_of_the_future(store: BlobStore) -> None:
    with pytest.raises(SnapshotError, match="expected format 1, found 2"):
        open_snapshot(store, store.put(b'{"format":2}'))


def test_a_wrong_schema_names_the_column(store: BlobStore, source: SourceTerms) -> None:
    frame = frame_of([("AAA", DAY, DAY, 0, 1.0)])
    for wrong, message in (
        (frame.drop("sequence"), "column sequence: expected Int64, found none"),
        (frame.with_columns(pl.col(INPUT).cast(pl.Float32)), "expected Float64, found Float32"),
        (frame.drop(INPUT), "at least one row and one input"),
        (frame.clear(), "at least one row and one input"),
    ):
        with pytest.raises(SnapshotError, match=message):
            write_snapshot(wrong, source_name="s", source=source, store=store)
    assert not store.root.exists()


def blob_files(store: BlobStore) -> list[Path]:
    return sorted(path for path in store.root.rglob("*") if path.is_file())


def test_any_damaged_file_is_found_and_ingesting_again_mends_it(
    bitemporal: Write, store: BlobStore, random_rows: Callable[[int], Rows]
) -> None:
    rows = random_rows(3)
    snapshot = bitemporal(rows)
    for path in blob_files(store):
        data = path.read_bytes()
        for at in {0, len(data) // 2, len(data) - 1}:
            altered = bytearray(data)
            altered[at] ^= 1
            path.chmod(0o644)
            path.write_bytes(altered)
            with pytest.raises((BlobError, SnapshotError)):
                open_snapshot(store, snapshot.id).verify()
            assert bitemporal(rows).id == snapshot.id
            open_snapshot(store, snapshot.id).verify()


def test_a_pointer_to_other_rows_is_found(bitemporal: Write, store: BlobStore) -> None:
    one = bitemporal([("AAA", DAY, DAY + DELAY, 0, 1.0)])
    pointer = next(path for path in (store.root / "pointers").rglob("*") if path.is_file())
    bitemporal([("AAA", DAY, DAY + DELAY, 0, 2.0)])
    other = next(p for p in (store.root / "pointers").rglob("*") if p.is_file() and p != pointer)
    store.point(pointer.name, store.pointed(other.name) or "")
    with pytest.raises(SnapshotError, match="expected block"):
        one.verify()


def test_a_truncated_block_is_refused_by_name(bitemporal: Write, store: BlobStore) -> None:
    snapshot = bitemporal([("AAA", DAY, DAY + DELAY, 0, 1.0)])
    pointer = next(path for path in (store.root / "pointers").rglob("*") if path.is_file())
    digest = store.pointed(pointer.name) or ""
    path = store.root / digest[:2] / digest
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BlobAlteredError, match=digest):
        snapshot.panel(INPUT, known_at_ns=9 * DAY)
