"""Snapshots: immutable bitemporal rows, named by the hash of what they say.

Rows lie in canonical order (knowledge time, event time, instrument, sequence) in blocks of 65,536. Each column of a
block is hashed in a logical form (type, validity, little-endian values), because Parquet's bytes depend on who wrote
them (design D6). The manifest lists these hashes and the source's terms; its own hash is the snapshot's id. A block's
Parquet file is kept under its bytes' hash, and a pointer leads there from the block's logical hash: appended rows
share every full block with the snapshot they were appended to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from features.blobs import BlobStore
from features.blocks import read_block, write_block
from features.canonical import canonical_json
from features.errors import SnapshotError
from features.panel import Floats, Panel, Revisions, Times
from features.source import SourceTerms

__all__ = ["BLOCK_ROWS", "Panel", "Snapshot", "open_snapshot", "write_snapshot"]

BLOCK_ROWS = 65_536
FORMAT = 1
KEY = ("instrument", "event_time_ns", "knowledge_time_ns", "sequence")
ORDER = ("knowledge_time_ns", "event_time_ns", "instrument", "sequence")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """An immutable bitemporal data set.

    id: 64 hex digits; the hash of its content and its source's terms.
    source_name, source: where it comes from, and on what terms.
    inputs: names of its float64 columns. instruments: sorted names.
    rows: how many rows it holds.
    """

    id: str
    source_name: str
    source: SourceTerms
    inputs: tuple[str, ...]
    instruments: tuple[str, ...]
    rows: int
    event_span_ns: tuple[int, int]
    knowledge_span_ns: tuple[int, int]
    _store: BlobStore = field(repr=False)
    _blocks: tuple[Mapping[str, Any], ...] = field(repr=False)

    def frame(self) -> pl.DataFrame:
        """Every row in canonical order: instrument, event_time_ns, knowledge_time_ns, sequence, the inputs.

        Each block is verified as it is read. For looking at data; features read `panel`, which knows of time.
        """
        return pl.concat([read_block(self._store, block) for block in self._blocks])

    def panel(self, input_name: str, *, known_at_ns: int) -> Panel:
        """Input `input_name` over [time, instrument] as known at `known_at_ns` (UTC nanoseconds).

        Of a cell's rows with knowledge time at or before `known_at_ns`, the one with the latest (knowledge time,
        sequence) stands; later ones are as if they did not exist. The panel's rows are the event times of all inputs
        whose decision instant (event time + the source's delay) has come by then. SnapshotError for an input it does
        not have, and when a block is missing or altered.
        """
        if input_name not in self.inputs:
            raise SnapshotError(
                f"snapshot {self.id[:12]}: expected one of the inputs {', '.join(self.inputs)}, found {input_name!r}; "
                "name one of these, or ingest a file that has the column"
            )
        known = self.frame().filter(
            pl.col("knowledge_time_ns") <= known_at_ns, pl.col("event_time_ns") + self.source.delay_ns <= known_at_ns
        )
        return _panel(known, input_name, self.instruments, self.source.delay_ns)

    def verify(self) -> None:
        """Reads every block again and checks it. SnapshotError or BlobError names the block at fault."""
        for block in self._blocks:
            read_block(self._store, block)


def write_snapshot(frame: pl.DataFrame, *, source_name: str, source: SourceTerms, store: BlobStore) -> Snapshot:
    """Keeps checked rows (`features.ingest.validate_long`) as a snapshot; the same content gives the same id.

    Row order, chunking and column order of `frame` do not matter; nothing is visible before all of it is written.
    SnapshotError when a column is missing or of another type.
    """
    inputs = tuple(sorted(name for name in frame.columns if name not in KEY))
    _check_schema(frame, inputs)
    rows = frame.select(*KEY, *inputs).sort(ORDER).rechunk()
    blocks = [write_block(store, block) for block in rows.iter_slices(BLOCK_ROWS)]
    manifest = {
        "format": FORMAT,
        "source": {"name": source_name, **asdict(source)},
        "inputs": list(inputs),
        "instruments": sorted(rows["instrument"].unique().to_list()),
        "rows": rows.height,
        "event_span_ns": _span(rows["event_time_ns"]),
        "knowledge_span_ns": _span(rows["knowledge_time_ns"]),
        "blocks": blocks,
    }
    return _snapshot(store.put(canonical_json(manifest)), manifest, store)


def open_snapshot(store: BlobStore, snapshot_id: str) -> Snapshot:
    """The snapshot of that id. BlobMissingError when the store has none; SnapshotError when it is not a snapshot."""
    try:
        manifest = json.loads(store.get(snapshot_id))
        if manifest["format"] != FORMAT:
            raise SnapshotError(
                f"snapshot {snapshot_id}: expected format {FORMAT}, found {manifest['format']}; "
                "open it with the version that wrote it"
            )
        return _snapshot(snapshot_id, manifest, store)
    except (ValueError, KeyError, TypeError) as error:
        raise SnapshotError(
            f"snapshot {snapshot_id}: expected a snapshot's manifest, found a blob of another kind ({error!r}); "
            "give the id that `signalbox snapshot` printed"
        ) from error


def _snapshot(snapshot_id: str, manifest: Mapping[str, Any], store: BlobStore) -> Snapshot:
    terms = dict(manifest["source"])
    return Snapshot(
        id=snapshot_id,
        source_name=terms.pop("name"),
        source=SourceTerms(**terms),
        inputs=tuple(manifest["inputs"]),
        instruments=tuple(manifest["instruments"]),
        rows=manifest["rows"],
        event_span_ns=(manifest["event_span_ns"][0], manifest["event_span_ns"][1]),
        knowledge_span_ns=(manifest["knowledge_span_ns"][0], manifest["knowledge_span_ns"][1]),
        _store=store,
        _blocks=tuple(manifest["blocks"]),
    )


def _check_schema(frame: pl.DataFrame, inputs: tuple[str, ...]) -> None:
    expected: dict[str, Any] = {
        "instrument": pl.String,
        **dict.fromkeys(KEY[1:], pl.Int64),
        **dict.fromkeys(inputs, pl.Float64),
    }
    for name, dtype in expected.items():
        found = frame.schema.get(name)
        if found != dtype:
            raise SnapshotError(
                f"column {name}: expected {dtype}, found {found or 'none'}; bring rows through ingest.validate_long"
            )
    if not inputs or frame.is_empty():
        raise SnapshotError("rows: expected at least one row and one input, found none; check what was ingested")


def _span(times: pl.Series) -> list[int]:
    array = times.to_numpy()
    return [int(array.min()), int(array.max())]


def _panel(rows: pl.DataFrame, input_name: str, instruments: tuple[str, ...], delay_ns: int) -> Panel:
    times = np.unique(rows["event_time_ns"].to_numpy())
    rows = rows.filter(pl.col(input_name).is_not_null()).sort("knowledge_time_ns", "sequence", maintain_order=True)
    event, known = rows["event_time_ns"].to_numpy(), rows["knowledge_time_ns"].to_numpy()
    numbers = rows[input_name].to_numpy()
    position = {name: index for index, name in enumerate(instruments)}
    column = rows["instrument"].replace_strict(position, return_dtype=pl.Int64).to_numpy()
    row = np.searchsorted(times, event)
    cells = np.full((len(times), len(instruments)), np.nan)
    on_time = known <= event + delay_ns
    # From behind, the first row of a cell is the one that stands.
    at = np.flatnonzero(on_time)[::-1]
    at = at[np.unique(row[at] * len(instruments) + column[at], return_index=True)[1]]
    cells[row[at], column[at]] = numbers[at]
    late = ~on_time
    revisions = _revise(cells, row[late], column[late], known[late], numbers[late])
    return Panel(input_name, cells, times, times + delay_ns, instruments, revisions)


def _revise(cells: Floats, row: Times, column: Times, known: Times, numbers: Floats) -> Revisions:
    before = np.empty(len(row))
    for at in range(len(row)):  # few: only rows that came after their decision instant
        before[at] = cells[row[at], column[at]]
        cells[row[at], column[at]] = numbers[at]
    return Revisions(known, row, column, before, numbers.copy())
