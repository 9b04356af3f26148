"""What the tests of the features room share: a store, a source, rows in long form, panels with restatements."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.blobs import BlobStore
from features.calendars import open_calendar
from features.sessions import Calendar
from features.snapshot import Snapshot, write_snapshot
from features.source import NS_PER_MINUTE, SourceTerms

NOW_NS = 1_700_000_000_000_000_000  # 2023-11-14


@pytest.fixture
def now_ns() -> int:
    return NOW_NS


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture(scope="session")
def source() -> SourceTerms:
    return SourceTerms(
        description="made-up prices", licence="none needed", calendar="XNYS", delay_ns=15 * NS_PER_MINUTE
    )


@pytest.fixture(scope="session")
def calendar() -> Calendar:
    return open_calendar("XNYS")


@pytest.fixture
def long_frame() -> pl.DataFrame:
    """Three instruments over four sessions, dates as text."""
    days = ["2020-03-02", "2020-03-03", "2020-03-04", "2020-03-05"]
    rows = [
        {"instrument": name, "event_time": day, "close": 10.0 + 7 * at + place}
        for at, day in enumerate(days)
        for place, name in enumerate(("AAA", "BBB", "CCC"))
    ]
    return pl.DataFrame(rows)


@pytest.fixture
def bitemporal(store: BlobStore, source: SourceTerms) -> Callable[..., Snapshot]:
    """Writes rows (instrument, event, known, sequence, value) as a snapshot."""

    def write(rows: list[tuple[str, int, int, int, float]], **terms: object) -> Snapshot:
        frame = pl.DataFrame(
            rows,
            schema={
                "instrument": pl.String,
                "event_time_ns": pl.Int64,
                "knowledge_time_ns": pl.Int64,
                "sequence": pl.Int64,
                "close_adjusted_final": pl.Float64,
            },
            orient="row",
        )
        return write_snapshot(frame, source_name="made_up", source=source, store=store)

    return write


@pytest.fixture(scope="session")
def random_rows() -> Callable[..., list[tuple[str, int, int, int, float]]]:
    """Rows of a small universe with gaps, late rows and restatements, from a seed."""

    def make(
        seed: int, *, days: int = 30, delay_ns: int = 15 * NS_PER_MINUTE
    ) -> list[tuple[str, int, int, int, float]]:
        rng = np.random.default_rng(seed)
        day = 86_400 * 10**9
        rows: dict[tuple[str, int, int, int], float] = {}
        for at in range(1, days + 1):
            for name in ("AAA", "BBB", "CCC"):
                for version in range(int(rng.choice([0, 1, 1, 1, 1, 2, 3]))):
                    late = 0 if version == 0 and rng.random() < 0.8 else int(rng.integers(0, 14 * day))
                    key = (name, at * day, at * day + delay_ns + late, version)
                    rows[key] = float(rng.integers(1, 400)) / 8
        return [(*key, value) for key, value in rows.items()]

    return make
