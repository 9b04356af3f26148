"""Reading rings from outside: every row once, nothing lost to a failed session, what was overwritten is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitoring.collector import Collector
from monitoring.errors import RingMismatch
from promotion.record import RingWriter

NAMES = ("momentum", "volatility")
COLUMNS = (*NAMES, "score")
RELEASE, OTHER = "b" * 64, "a" * 64


def ring(path: Path, capacity: int | None = None) -> RingWriter:
    return RingWriter(path, feature_set_id="f" * 64, columns=NAMES, instruments=("AAPL", "KO"), capacity=capacity)


def write(writer: RingWriter, event_ns: int, *, release: str = RELEASE, instruments: tuple[int, ...] = (0, 1)) -> None:
    n = len(instruments)
    writer.write(
        scored_at_ns=event_ns + 1,
        event_time_ns=np.full(n, event_ns),
        knowledge_time_ns=np.full(n, event_ns),
        instrument=np.array(instruments),
        release=writer.release_index(release),
        status=np.zeros(n, dtype=np.uint8),
        score=np.arange(n, dtype=np.float32),
        values=np.full((n, 2), event_ns, dtype=np.float32),
    )


def test_rows_come_by_release_with_the_score_behind_the_features(tmp_path: Path) -> None:
    path = tmp_path / "0.ring"
    with ring(path) as writer, Collector([path], COLUMNS) as collector:
        write(writer, 10)
        write(writer, 20, release=OTHER)
        collected = collector.collect()
    assert set(collected.rows) == {RELEASE, OTHER}
    assert collected.rows[RELEASE].values.tolist() == [[10, 10, 0], [10, 10, 1]]
    assert collected.rows[OTHER].event_time_ns.tolist() == [20, 20]
    assert collected.missed == 0


def test_rows_of_a_span_leave_out_its_beginning_and_keep_its_end(tmp_path: Path) -> None:
    path = tmp_path / "0.ring"
    with ring(path) as writer, Collector([path], COLUMNS) as collector:
        for event_ns in (10, 20, 30):
            write(writer, event_ns)
        rows = collector.collect().rows[RELEASE]
    assert rows.between(10, 20)[:, 0].tolist() == [20, 20]


def test_what_is_not_settled_is_collected_again(tmp_path: Path) -> None:
    path = tmp_path / "0.ring"
    with ring(path) as writer, Collector([path], COLUMNS) as collector:
        write(writer, 10)
        assert len(collector.collect().rows[RELEASE].values) == 2
        write(writer, 20)
        assert len(collector.collect().rows[RELEASE].values) == 4
        collector.settle()
        assert collector.collect().rows == {}


def test_a_row_that_two_workers_scored_counts_once(tmp_path: Path) -> None:
    paths = [tmp_path / "0.ring", tmp_path / "1.ring"]
    with ring(paths[0]) as one, ring(paths[1]) as other, Collector(paths, COLUMNS) as collector:
        write(one, 10)
        write(other, 10)
        write(other, 20)
        assert collector.collect().rows[RELEASE].event_time_ns.tolist() == [10, 10, 20, 20]


def test_rows_that_came_with_a_request_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "0.ring"
    with ring(path) as writer, Collector([path], COLUMNS) as collector:
        write(writer, 0, instruments=(-1, -1, 1))
        assert len(collector.collect().rows[RELEASE].values) == 1


def test_what_was_overwritten_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "0.ring"
    with ring(path, capacity=4) as writer, Collector([path], COLUMNS) as collector:
        for event_ns in (10, 20, 30):
            write(writer, event_ns)
        collected = collector.collect()
    assert collected.missed == 2
    assert collected.rows[RELEASE].event_time_ns.tolist() == [20, 20, 30, 30]


def test_a_ring_may_come_later_and_be_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "0.ring"
    with Collector([path], COLUMNS) as collector:
        assert collector.collect().rows == {}
        with ring(path) as writer:
            write(writer, 10)
            collector.collect()
            write(writer, 20)
        path.unlink()
        assert len(collector.collect().rows[RELEASE].values) == 4, "the old ring is drained"
        with ring(path) as writer:
            write(writer, 30)
            assert collector.collect().rows[RELEASE].event_time_ns.tolist() == [10, 10, 20, 20, 30, 30]


def test_a_ring_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.ring"
    refused = pytest.raises(RingMismatch, match="expected columns momentum, score, found momentum, volatility, score")
    with ring(path), Collector([path], ("momentum", "score")) as collector, refused:
        collector.collect()
