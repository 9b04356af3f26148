import datetime as dt
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.errors import IngestError
from features.ingest import demo_prices, demo_source, read_long, validate_long
from features.sessions import Calendar
from features.source import SourceTerms


def refused(frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> str:
    with pytest.raises(IngestError) as caught:
        validate_long(frame, source=source, now_ns=now_ns)
    return str(caught.value)


def with_value(frame: pl.DataFrame, row: int, column: str, value: object) -> pl.DataFrame:
    values = frame[column].to_list()
    values[row - 1] = value
    return frame.with_columns(pl.Series(column, values))


def with_known(frame: pl.DataFrame, texts: list[str | None]) -> pl.DataFrame:
    return frame.with_columns(pl.Series("knowledge_time", texts + [None] * (frame.height - len(texts)), pl.String))


def test_a_date_is_the_sessions_close_and_is_known_after_the_delay(
    long_frame: pl.DataFrame, source: SourceTerms, calendar: Calendar, now_ns: int
) -> None:
    rows = validate_long(long_frame, source=source, now_ns=now_ns)
    assert rows.columns == ["instrument", "event_time_ns", "knowledge_time_ns", "sequence", "close_adjusted_final"]
    assert rows["event_time_ns"][0] == calendar.close_ns(dt.date(2020, 3, 2))
    assert (rows["knowledge_time_ns"] - rows["event_time_ns"]).unique().to_list() == [source.delay_ns]
    assert rows.height == 12


@pytest.mark.parametrize(
    "event_time",
    [
        pl.Series(["2020-03-02T21:00:00Z"]),
        pl.Series(["2020-03-02T16:00:00-05:00"]),
        pl.Series(["2020-03-02 21:00:00.000Z"]),
        pl.Series(["2020-03-02T21:00Z"]),
        pl.Series([dt.date(2020, 3, 2)]),
        pl.Series(["2020-03-02"]),
        pl.Series([dt.datetime(2020, 3, 2, 21, tzinfo=dt.UTC)]),
        pl.Series([1_583_182_800_000_000_000]),
    ],
    ids=["zulu", "offset", "space", "minutes", "date", "text date", "zoned", "nanoseconds"],
)
def test_ways_to_write_one_instant(event_time: pl.Series, source: SourceTerms, now_ns: int) -> None:
    frame = pl.DataFrame({"instrument": ["AAA"], "event_time": event_time, "close": [1.0]})
    rows = validate_long(frame, source=source, now_ns=now_ns)
    assert rows["event_time_ns"].to_list() == [1_583_182_800_000_000_000]


def test_a_missing_column_says_what_is_expected(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    message = refused(long_frame.rename({"close": "px"}), source, now_ns)
    assert "expected at least instrument, event_time, close" in message
    assert "found instrument, event_time, px" in message
    assert "add or rename close" in message


def test_no_rows(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    assert "expected at least one, found none" in refused(long_frame.clear(), source, now_ns)


def test_duplicates_by_row(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    message = refused(pl.concat([long_frame, long_frame[4:6]]), source, now_ns)
    assert "row 13: BBB at 2020-03-03" in message
    assert "row 14: CCC at 2020-03-03" in message
    assert "row 5" not in message


def test_a_restatement_is_no_duplicate(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    again = with_known(long_frame[:1], ["2020-03-09T12:00:00Z"])
    rows = validate_long(pl.concat([with_known(long_frame, []), again]), source=source, now_ns=now_ns)
    assert rows.height == 13


def test_a_date_that_is_no_session_by_row(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    message = refused(with_value(long_frame, 5, "event_time", "2020-03-07"), source, now_ns)
    assert "column event_time: expected a session of XNYS" in message
    assert "row 5: 2020-03-07" in message


@pytest.mark.parametrize("time", ["2020-03-02T21:00:00", "yesterday", "", "2020-13-01"])
def test_times_that_are_none(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int, time: str) -> None:
    assert f"row 3: {time}" in refused(with_value(long_frame, 3, "event_time", time), source, now_ns)


def test_naive_datetimes_are_not_guessed(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    naive = long_frame.with_columns(pl.col("event_time").str.to_datetime("%Y-%m-%d"))
    assert "found a naive datetime; write UTC explicitly" in refused(naive, source, now_ns)


def test_future_knowledge_by_row(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    frame = with_known(long_frame, [None, "2024-01-02T00:00:00Z"])
    message = refused(frame, source, now_ns)
    assert "column knowledge_time: expected a time not after the present (2023-11-14" in message
    assert "row 2: 2024-01-02" in message


def test_a_future_close_is_future_knowledge(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    message = refused(with_value(long_frame, 12, "event_time", "2024-01-03"), source, now_ns)
    assert "row 12: 2024-01-03 21:15" in message


def test_knowledge_before_the_event_by_row(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    message = refused(with_known(long_frame, ["2020-03-02T20:59:59Z"]), source, now_ns)
    assert "expected a time not before the event's, found row 1: 2020-03-02 20:59:59" in message


def test_a_knowledge_date_is_no_instant(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    message = refused(with_known(long_frame, ["2020-03-03"]), source, now_ns)
    assert "column knowledge_time: expected a time with its zone, found row 1: 2020-03-03" in message


def test_a_source_most_of_whose_rows_are_late_has_a_wrong_delay(
    long_frame: pl.DataFrame, source: SourceTerms, now_ns: int
) -> None:
    days = long_frame["event_time"].to_list()
    message = refused(with_known(long_frame, [f"{day}T23:00:00Z" for day in days]), source, now_ns)
    assert "declare a delay of 120 minutes" in message
    assert "found 100% later" in message


@pytest.mark.parametrize("price", [float("nan"), float("inf"), float("-inf"), 0.0, -3.0, None])
def test_prices_that_are_none_by_row(
    long_frame: pl.DataFrame, source: SourceTerms, now_ns: int, price: float | None
) -> None:
    message = refused(with_value(long_frame, 7, "close", price), source, now_ns)
    assert "column close: expected a finite price above 0" in message
    assert "row 7:" in message


def test_many_problems_are_counted(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    message = refused(long_frame.with_columns(close=pl.lit(-1.0)), source, now_ns)
    assert "row 5: -1.0 and 7 more" in message
    assert "row 6" not in message


def test_further_columns_become_inputs_and_may_state_nothing(
    long_frame: pl.DataFrame, source: SourceTerms, now_ns: int
) -> None:
    frame = long_frame.with_columns(volume=pl.Series([None, *range(11)]))
    rows = validate_long(frame, source=source, now_ns=now_ns)
    assert rows["volume"].dtype == pl.Float64
    assert rows["volume"].null_count() == 1
    wrong = frame.with_columns(volume=pl.lit(float("inf")))
    assert "column volume: expected a finite number, or nothing" in refused(wrong, source, now_ns)


def test_text_where_numbers_are_expected(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    assert "column sector: expected numbers, found String" in refused(
        long_frame.with_columns(sector=pl.lit("tech")), source, now_ns
    )
    assert "column close: expected numbers, found String" in refused(
        long_frame.with_columns(close=pl.lit("ten")), source, now_ns
    )


def test_two_columns_for_one_input(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    frame = long_frame.with_columns(close_adjusted_final=pl.lit(1.0))
    assert "expected one column for input 'close_adjusted_final', found two" in refused(frame, source, now_ns)


@pytest.mark.parametrize("name", [" AAA", "", None])
def test_instruments_without_a_name(
    long_frame: pl.DataFrame, source: SourceTerms, now_ns: int, name: str | None
) -> None:
    assert "column instrument" in refused(with_value(long_frame, 2, "instrument", name), source, now_ns)


def test_instruments_that_are_numbers(long_frame: pl.DataFrame, source: SourceTerms, now_ns: int) -> None:
    assert "expected text, found Int" in refused(long_frame.with_columns(instrument=pl.lit(5)), source, now_ns)


@pytest.mark.parametrize("sequence", [-1, None])
def test_sequences_that_are_none(
    long_frame: pl.DataFrame, source: SourceTerms, now_ns: int, sequence: int | None
) -> None:
    frame = long_frame.with_columns(sequence=pl.Series([*range(11), sequence]))
    assert "column sequence: expected an integer of at least 0, found row 12" in refused(frame, source, now_ns)


def test_csv_and_parquet_say_the_same(
    tmp_path: Path, long_frame: pl.DataFrame, source: SourceTerms, now_ns: int
) -> None:
    long_frame.write_csv(tmp_path / "prices.csv")
    long_frame.write_parquet(tmp_path / "prices.parquet")
    one, other = (
        validate_long(read_long(tmp_path / name), source=source, now_ns=now_ns)
        for name in ("prices.csv", "prices.parquet")
    )
    assert one.equals(other)


def test_instruments_of_digits_stay_text(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("instrument,event_time,close\n0005,2020-03-02,1.5\n")
    assert read_long(tmp_path / "prices.csv")["instrument"].to_list() == ["0005"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"expected a \.csv or \.parquet file, found '\.xlsx'"):
        read_long(tmp_path / "prices.xlsx")
    with pytest.raises(IngestError, match="expected a file, found none"):
        read_long(tmp_path / "prices.csv")
    (tmp_path / "prices.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(IngestError, match="expected readable parquet rows"):
        read_long(tmp_path / "prices.parquet")


def test_the_demo_prices_are_the_real_ones(now_ns: int) -> None:
    frame = demo_prices()
    assert frame.height == 8313 * 20
    rows = validate_long(frame, source=demo_source(), now_ns=now_ns)
    assert rows["instrument"].n_unique() == 20
    # Source: the first line of the data set; the close of 2 January 1990, 16:00 in New York.
    first = rows.filter(pl.col("instrument") == "AAPL")[0]
    assert first["close_adjusted_final"].item() == 0.264
    assert first["event_time_ns"].item() == np.datetime64("1990-01-02T21:00", "ns").astype(np.int64)


def test_a_negative_delay_is_refused() -> None:
    with pytest.raises(IngestError, match="nothing is known before it happened"):
        SourceTerms(description="", licence="", calendar="XNYS", delay_ns=-1)
