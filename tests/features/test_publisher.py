from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from features.batch import compute
from features.blobs import BlobStore
from features.clock import ReplayClock
from features.definition import FeatureSet
from features.errors import CalendarError, PanelError, RowValueError
from features.ingest import validate_long
from features.panel import Panel
from features.publisher import SLACK_NS, replay, rows_for_session, valid_until_ns
from features.registry import load_features
from features.row import FeatureRow, to_model_dtype
from features.sessions import Calendar
from features.snapshot import write_snapshot
from features.source import SourceTerms

INPUT = "close_adjusted_final"


@pytest.fixture(scope="module")
def feature_set() -> FeatureSet:
    return load_features(["return_1", "volatility_21", "rank_return_5"])


@pytest.fixture
def panel(calendar: Calendar, source: SourceTerms, store: BlobStore, now_ns: int) -> Panel:
    """80 sessions of 2015 with a late row and a restatement."""
    rng = np.random.default_rng(1)
    first = calendar.session_index(dt.date(2015, 1, 2))
    days = [str(day) for day in calendar.sessions[first : first + 80]]
    prices = 50 * np.exp(np.cumsum(rng.normal(0, 0.02, (80, 3)), axis=0))
    rows = [
        {"instrument": name, "event_time": day, "knowledge_time": None, "close": float(prices[at, place])}
        for at, day in enumerate(days)
        for place, name in enumerate(("AAA", "BBB", "CCC"))
    ]
    rows[50 * 3]["knowledge_time"] = f"{days[53]}T23:00:00Z"
    rows.append({"instrument": "CCC", "event_time": days[40], "knowledge_time": f"{days[44]}T12:00:00Z", "close": 99.0})
    frame = pl.DataFrame(rows, schema_overrides={"knowledge_time": pl.String})
    checked = validate_long(frame, source=source, now_ns=now_ns)
    snapshot = write_snapshot(checked, source_name="made_up", source=source, store=store)
    return snapshot.panel(INPUT, known_at_ns=now_ns)


@pytest.fixture
def replayed(feature_set: FeatureSet, panel: Panel, calendar: Calendar) -> Callable[[int, int], list[list[FeatureRow]]]:
    def run(first: int, last: int) -> list[list[FeatureRow]]:
        times = panel.event_times_ns
        return list(
            replay(
                feature_set,
                panel,
                calendar=calendar,
                time_to_live_sessions=1,
                start_ns=int(times[first]),
                end_ns=int(times[last]),
            )
        )

    return run


def test_a_replay_sends_what_batch_computes(
    feature_set: FeatureSet, panel: Panel, replayed: Callable[[int, int], list[list[FeatureRow]]]
) -> None:
    """Late and restated values included: before they are known no row has them, from then on every row does."""
    assert len(panel.revisions) == 2
    expected = to_model_dtype(compute(feature_set, panel).values)
    for first, last in ((0, 79), (30, 79), (42, 42), (52, 60)):
        found = np.array([[row.values for row in session] for session in replayed(first, last)])
        assert (found.view(np.uint32) == expected[first : last + 1].view(np.uint32)).all(), (first, last)


def test_the_restated_value_is_seen_only_once_it_is_known(
    feature_set: FeatureSet, panel: Panel, replayed: Callable[[int, int], list[list[FeatureRow]]]
) -> None:
    unrevised = replace(panel.until(int(panel.knowledge_times_ns[43])))
    before = to_model_dtype(compute(feature_set, unrevised).values)
    sessions = replayed(40, 44)
    for at in range(4):
        np.testing.assert_array_equal(sessions[at][2].values, before[40 + at, 2])
    final = to_model_dtype(compute(feature_set, replace(panel, revisions=type(panel.revisions)())).values)
    assert sessions[4][2].values[1] == final[44, 2, 1]
    assert sessions[3][2].values[1] != final[43, 2, 1]


def test_rows_carry_their_times_and_rising_sequences(
    panel: Panel, calendar: Calendar, replayed: Callable[[int, int], list[list[FeatureRow]]]
) -> None:
    sessions = replayed(30, 79)
    clock = ReplayClock("replay")
    for at, rows in enumerate(sessions, start=30):
        assert [row.instrument for row in rows] == list(panel.instruments)
        event, known = int(panel.event_times_ns[at]), int(panel.knowledge_times_ns[at])
        assert {(row.event_time_ns, row.knowledge_time_ns) for row in rows} == {(event, known)}
        assert {row.sequence for row in rows} == {calendar.index_at(event)}
        clock.advance_to(known)
        # A row is good until its successor has had 30 minutes to come.
        successor = calendar.next_close_ns(event) + (known - event)
        assert {row.valid_until_ns for row in rows} == {successor + SLACK_NS}


def test_validity_counts_sessions_not_days(calendar: Calendar) -> None:
    friday = calendar.close_ns(dt.date(2022, 7, 8))
    until = valid_until_ns(calendar, friday, friday + 5, 1)
    assert until == calendar.close_ns(dt.date(2022, 7, 11)) + 5 + SLACK_NS
    assert valid_until_ns(calendar, friday, friday, 2) == calendar.close_ns(dt.date(2022, 7, 12)) + SLACK_NS
    with pytest.raises(CalendarError):
        valid_until_ns(calendar, int(calendar.closes_ns[-1]), int(calendar.closes_ns[-1]), 1)


def test_nothing_in_the_span_is_no_session(replayed: Callable[[int, int], list[list[FeatureRow]]]) -> None:
    assert replayed(50, 49) == []


def test_features_that_do_not_fit(feature_set: FeatureSet) -> None:
    times = {"event_time_ns": 1, "knowledge_time_ns": 2, "sequence": 3, "valid_until_ns": 4}
    with pytest.raises(PanelError, match=r"expected shape \(2, 3\), found \(3, 2\)"):
        rows_for_session(feature_set, np.zeros((3, 2)), instruments=("A", "B"), **times)
    with pytest.raises(RowValueError, match=r"value at \(1, 2\)"):
        rows_for_session(feature_set, np.array([[0, 0, 0], [0, 0, 1e39]]), instruments=("A", "B"), **times)


def test_rows_name_their_feature_set(feature_set: FeatureSet) -> None:
    (row,) = rows_for_session(
        feature_set, np.zeros((1, 3)), instruments=("A",), event_time_ns=1, knowledge_time_ns=2, sequence=3,
        valid_until_ns=4,
    )  # fmt: skip
    assert row.feature_set_id.hex() == feature_set.feature_set_id
    assert (row.event_time_ns, row.knowledge_time_ns, row.sequence, row.valid_until_ns) == (1, 2, 3, 4)
