"""The feature table: the newest row only, in order, fresh or stale, and nothing half-taken."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.clock import ReplayClock
from features.errors import RowValueError
from features.row import FeatureRow, encode_row
from serving.feature_table import (
    AHEAD_NS,
    MAX_FEATURE_SETS,
    NO_ROW,
    FeatureTable,
    FeatureTables,
    RowWentBack,
    TableFull,
)

KEY = b"k" * 32
SET_ID = bytes.fromhex("ab" * 32)
Make = Callable[..., FeatureRow]


class FixedClock:
    def __init__(self, now: int) -> None:
        self.now = now

    def now_ns(self) -> int:
        return self.now


def encoded(row: FeatureRow, key: bytes = KEY) -> bytes:
    return encode_row(row, key_id=1, key=key)


def replaying() -> FeatureTables:
    return FeatureTables({1: KEY}, ReplayClock("replay"))


def test_a_slot_without_a_row_is_not_fresh() -> None:
    table = FeatureTable(SET_ID, 2)
    rows = table.rows(table.slots(["AAA"]))
    assert rows.sequences.tolist() == [NO_ROW]
    assert np.isnan(rows.values).all()
    assert not rows.fresh(0).any()


def test_a_row_replaces_the_last_one_and_reads_are_copies(make_row: Make) -> None:
    table = FeatureTable(SET_ID, 3)
    slots = table.slots(["AAA"])
    table.put(make_row(sequence=1, values=np.array([1, 2, 3], np.float32)))
    before = table.rows(slots)
    table.put(make_row(sequence=2, values=np.array([4, 5, 6], np.float32)))
    assert before.values.tolist() == [[1, 2, 3]]
    assert table.rows(slots).values.tolist() == [[4, 5, 6]]
    assert table.rows(slots).sequences.tolist() == [2]


@pytest.mark.parametrize("sequence", [5, 4])
def test_a_sequence_that_does_not_rise_is_refused_and_changes_nothing(make_row: Make, sequence: int) -> None:
    table = FeatureTable(SET_ID, 3)
    table.put(make_row(sequence=5))
    with pytest.raises(RowWentBack, match=rf"above 5, found {sequence}"):
        table.put(make_row(sequence=sequence, values=np.zeros(3, np.float32)))
    assert table.rows(table.slots(["AAA"])).values.tolist() == [[1, 1, 1]]


def test_freshness_is_valid_until_inclusive_and_the_age_asked_for(make_row: Make) -> None:
    table = FeatureTable(SET_ID, 3)
    table.put(make_row(knowledge_time_ns=1_000, valid_until_ns=2_000))
    rows = table.rows(table.slots(["AAA"]))
    assert rows.fresh(2_000).all()
    assert not rows.fresh(2_001).any()
    assert rows.fresh(1_500, max_age_ns=500).all()
    assert not rows.fresh(1_501, max_age_ns=500).any()


def test_a_batch_takes_each_row_by_itself(make_row: Make) -> None:
    tables = replaying()
    good, forged = encoded(make_row("AAA")), encoded(make_row("BBB"), key=b"x" * 32)
    taken = tables.take([good, forged, good[:-1], good, encoded(make_row("CCC"))])
    assert [taken.rows[index].instrument for index in (0, 4)] == ["AAA", "CCC"]
    assert [each.index for each in taken.refused] == [1, 2, 3]
    reasons = [each.reason for each in taken.refused]
    assert "MAC" in reasons[0]
    assert "at least" in reasons[1]
    assert "above 0" in reasons[2]


def test_another_width_under_one_identity_is_refused(make_row: Make) -> None:
    tables = replaying()
    tables.table(SET_ID, 3)
    taken = tables.take([encoded(make_row(values=np.ones(4, np.float32)))])
    assert "expected 3 features, found 4" in taken.refused[0].reason
    with pytest.raises(RowValueError, match="expected 3 features, found 2"):
        tables.table(SET_ID, 2)


def test_the_replay_clock_follows_the_rows_and_never_goes_back(make_row: Make) -> None:
    tables = replaying()
    tables.take([encoded(make_row("AAA", knowledge_time_ns=2_000))])
    tables.take([encoded(make_row("BBB", knowledge_time_ns=1_000))])
    assert tables.clock.now_ns() == 2_000


@pytest.mark.parametrize(("ahead_ns", "accepted"), [(AHEAD_NS, 1), (AHEAD_NS + 1, 0)])
def test_outside_a_replay_a_row_from_the_future_is_refused(make_row: Make, ahead_ns: int, accepted: int) -> None:
    tables = FeatureTables({1: KEY}, FixedClock(10_000_000_000))
    taken = tables.take([encoded(make_row(knowledge_time_ns=10_000_000_000 + ahead_ns))])
    assert taken.accepted == accepted
    assert all("ahead" in each.reason for each in taken.refused)


def test_a_negative_sequence_is_refused(make_row: Make) -> None:
    assert "from 0" in replaying().take([encoded(make_row(sequence=-1))]).refused[0].reason


def test_feature_sets_are_bounded() -> None:
    tables = replaying()
    for number in range(MAX_FEATURE_SETS):
        tables.table(number.to_bytes(32, "big"), 1)
    with pytest.raises(TableFull, match=str(MAX_FEATURE_SETS)):
        tables.table(b"\xff" * 32, 1)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 20), st.floats(-1e6, 1e6, width=32)), max_size=60))
def test_the_table_is_what_a_dict_of_newest_rows_would_be(pushes: list[tuple[int, int, float]]) -> None:
    table = FeatureTable(SET_ID, 1)
    newest: dict[str, tuple[int, float]] = {}
    for number, sequence, value in pushes:
        name = f"I{number}"
        row = FeatureRow(SET_ID, name, 1, 2, sequence, 3, np.array([value], np.float32))
        if sequence > newest.get(name, (-1, 0.0))[0]:
            table.put(row)
            newest[name] = (sequence, value)
        else:
            with pytest.raises(RowWentBack):
                table.put(row)
    rows = table.rows(table.slots(list(newest)))
    assert list(zip(rows.sequences.tolist(), rows.values[:, 0].tolist(), strict=True)) == list(newest.values())
