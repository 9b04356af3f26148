"""Other people's files to checked rows: long form in, one row per (instrument, event time, knowledge time), or refused.

What may stand in a file: `instrument`, `event_time`, `close`, and optionally `knowledge_time`, `sequence` and further
numeric columns, each of which becomes an input of its own name. A date without a time is the close of that session on
the source's calendar. A file that fails a check is refused whole, with the rows and columns at fault.
"""

from __future__ import annotations

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import polars as pl

from features.calendars import open_calendar
from features.errors import IngestError
from features.ingest_times import instants
from features.source import NS_PER_MINUTE, SourceTerms

REQUIRED = ("instrument", "event_time", "close")
PRICES = ("open", "high", "low", "close")
RESERVED = ("instrument", "event_time", "knowledge_time", "sequence")
KEY = ("instrument", "event_time_ns", "knowledge_time_ns", "sequence")
_SHOWN = 5  # problems named before the rest are counted
_LATE_SHARE = 0.5  # a source more than half of whose rows are late has a wrong delay

DEMO_SOURCE_NAME = "skfolio_sp500"
DEMO_DELAY_NS = 15 * NS_PER_MINUTE


def demo_source() -> SourceTerms:
    """The terms of the real daily prices that ship in the skfolio wheel."""
    return SourceTerms(
        description=(
            "20 S&P 500 stocks, 1990-01-02 to 2022-12-28, daily closes from the skfolio wheel: survivors only, and "
            "back-adjusted with knowledge of later splits and dividends; rounded to a tenth of a cent"
        ),
        licence="as stated by the skfolio distribution (BSD-3-Clause)",
        calendar="XNYS",
        delay_ns=DEMO_DELAY_NS,
    )


def demo_prices() -> pl.DataFrame:
    """Real daily prices in long form: columns instrument, event_time (a date), close; 166,260 rows.

    Source: `sp500_dataset.csv.gz` of the skfolio wheel, read without importing skfolio. Survivors, back-adjusted.
    IngestError where skfolio is not installed.
    """
    spec = importlib.util.find_spec("skfolio")
    if spec is None or not spec.submodule_search_locations:
        raise IngestError("demo prices: expected the package skfolio, found none; install the extra `train`")
    path = Path(next(iter(spec.submodule_search_locations))) / "datasets" / "data" / "sp500_dataset.csv.gz"
    wide = pl.read_csv(gzip.decompress(path.read_bytes()), try_parse_dates=True)
    return wide.unpivot(index="Date", variable_name="instrument", value_name="close").select(
        "instrument", pl.col("Date").alias("event_time"), "close"
    )


def read_long(path: Path) -> pl.DataFrame:
    """The rows of a CSV or Parquet file in long form, as they stand; `validate_long` checks them.

    CSV times stay text until they are checked. IngestError when the file cannot be read, or is of another kind.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise IngestError(
            f"{path}: expected a .csv or .parquet file, found {suffix or 'no suffix'!r}; rename or convert it"
        )
    try:
        return _read_csv(path) if suffix == ".csv" else pl.read_parquet(path)
    except FileNotFoundError as error:
        raise IngestError(f"{path}: expected a file, found none; check the path") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise IngestError(
            f"{path}: expected readable {suffix[1:]} rows, found: {error}; repair or export it again"
        ) from error


def _read_csv(path: Path) -> pl.DataFrame:
    texts = {"instrument": pl.String, "event_time": pl.String, "knowledge_time": pl.String}
    header = pl.read_csv(path, n_rows=0).columns
    return pl.read_csv(path, schema_overrides={name: texts[name] for name in header if name in texts})


def validate_long(frame: pl.DataFrame, *, source: SourceTerms, now_ns: int) -> pl.DataFrame:
    """Checks rows in long form and brings them into the store's columns, or refuses them all.

    frame: `instrument, event_time, close`, optionally `knowledge_time`, `sequence` and further numeric columns.
    now_ns: the present, UTC nanoseconds; nothing may be known later.
    Returns columns instrument, event_time_ns, knowledge_time_ns (int64), sequence (int64), then one float64 column per
    input (`close` under the name `source.close_is`; null where a further column states nothing), in canonical order.
    Raises IngestError that names rows (the first is 1) and columns: a missing column, a date that is no session, a
    time without a zone, knowledge before the event or after `now_ns`, a duplicate, a non-finite number, a price that
    is not positive.
    """
    _refuse_missing(frame)
    rows = pl.DataFrame(
        {
            "instrument": _instruments(frame),
            "event_time_ns": _event_times(frame, source),
            "sequence": _sequences(frame),
            **_inputs(frame, source),
        }
    ).with_columns(pl.col("event_time_ns").alias("knowledge_time_ns") + source.delay_ns)
    if "knowledge_time" in frame.columns:
        rows = rows.with_columns(_knowledge_times(frame, rows["knowledge_time_ns"]))
    _refuse_times(rows, now_ns)
    _refuse_duplicates(rows)
    _refuse_wrong_delay(rows, source)
    inputs = [name for name in rows.columns if name not in KEY]
    return rows.select(*KEY, *inputs).sort("knowledge_time_ns", "event_time_ns", "instrument", "sequence")


def _refuse_missing(frame: pl.DataFrame) -> None:
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise IngestError(
            f"columns: expected at least {', '.join(REQUIRED)} (and optionally knowledge_time, sequence, further "
            f"numeric columns), found {', '.join(frame.columns) or 'none'}; add or rename {', '.join(missing)}"
        )
    if frame.is_empty():
        raise IngestError("rows: expected at least one, found none; check that the export was not empty")


def _instruments(frame: pl.DataFrame) -> pl.Series:
    names = frame["instrument"]
    if names.dtype != pl.String:
        raise IngestError(f"column instrument: expected text, found {names.dtype}; write instruments as text")
    _refuse_rows("instrument", (names.str.strip_chars() != names) | (names == "") | names.is_null(), names,
                 "a name without space around it")  # fmt: skip
    return names


def _event_times(frame: pl.DataFrame, source: SourceTerms) -> pl.Series:
    calendar = open_calendar(source.calendar)
    column = instants(frame["event_time"], calendar)
    _refuse_rows("event_time", column.is_null(), frame["event_time"],
                 f"a session of {calendar.name}, or a time with its zone")  # fmt: skip
    return column


def _knowledge_times(frame: pl.DataFrame, by_delay: pl.Series) -> pl.Series:
    stated = frame["knowledge_time"]
    column = instants(stated, None)
    _refuse_rows("knowledge_time", column.is_null() & stated.is_not_null(), stated, "a time with its zone")
    return column.zip_with(column.is_not_null(), by_delay).alias("knowledge_time_ns")


def _sequences(frame: pl.DataFrame) -> pl.Series:
    if "sequence" not in frame.columns:
        return pl.Series(np.zeros(frame.height, np.int64))
    sequence = frame["sequence"]
    if not sequence.dtype.is_integer():
        raise IngestError(f"column sequence: expected integers, found {sequence.dtype}; leave it out or repair it")
    _refuse_rows("sequence", sequence.is_null() | (sequence < 0), sequence, "an integer of at least 0")
    return sequence.cast(pl.Int64)


def _inputs(frame: pl.DataFrame, source: SourceTerms) -> dict[str, pl.Series]:
    inputs: dict[str, pl.Series] = {}
    for name in frame.columns:
        if name in RESERVED:
            continue
        target = source.close_is if name == "close" else name
        if target in inputs or target in KEY:
            raise IngestError(f"column {name}: expected one column for input {target!r}, found two; rename one")
        inputs[target] = _numbers(frame[name])
    return inputs


def _numbers(column: pl.Series) -> pl.Series:
    if not column.dtype.is_numeric() and column.dtype != pl.Null:
        raise IngestError(
            f"column {column.name}: expected numbers, found {column.dtype}; remove the column or write it as numbers"
        )
    numbers = column.cast(pl.Float64)
    wrong = ~numbers.is_finite()
    if column.name in PRICES:
        _refuse_rows(column.name, wrong | (numbers <= 0) | numbers.is_null(), column, "a finite price above 0")
    _refuse_rows(column.name, wrong, column, "a finite number, or nothing")
    return numbers


def _refuse_times(rows: pl.DataFrame, now_ns: int) -> None:
    known, event = rows["knowledge_time_ns"], rows["event_time_ns"]
    _refuse_rows("knowledge_time", known < event, _as_time(known), "a time not before the event's")
    _refuse_rows("knowledge_time", known > now_ns, _as_time(known),
                 f"a time not after the present ({_as_time(pl.Series([now_ns]))[0]})")  # fmt: skip


def _refuse_duplicates(rows: pl.DataFrame) -> None:
    doubled = rows.select(~pl.struct(KEY).is_first_distinct()).to_series()
    shown = rows.select(pl.format("{} at {}", "instrument", pl.from_epoch("event_time_ns", "ns"))).to_series()
    _refuse_rows("instrument, event_time", doubled, shown,
                 "one row for each instrument, event time, knowledge time and sequence")  # fmt: skip


def _refuse_wrong_delay(rows: pl.DataFrame, source: SourceTerms) -> None:
    first = rows.group_by("instrument", "event_time_ns").agg(pl.col("knowledge_time_ns").min())
    delays = (first["knowledge_time_ns"] - first["event_time_ns"]).to_numpy()
    late = float((delays > source.delay_ns).mean())
    if late > _LATE_SHARE:
        needed = int(np.quantile(delays, 0.95, method="higher"))
        raise IngestError(
            f"column knowledge_time: expected most rows known {source.delay_ns / NS_PER_MINUTE:g} minutes after their "
            f"event (the source's delay), found {late:.0%} later than that; declare a delay of "
            f"{needed / NS_PER_MINUTE:g} minutes (95 % of the rows), or correct the times"
        )


def _refuse_rows(column: str, wrong: pl.Series, values: pl.Series, expected: str) -> None:
    positions = np.flatnonzero(wrong.fill_null(False).to_numpy())
    if not len(positions):
        return
    shown = "; ".join(f"row {int(at) + 1}: {values[int(at)]}" for at in positions[:_SHOWN])
    more = f" and {len(positions) - _SHOWN} more" if len(positions) > _SHOWN else ""
    raise IngestError(
        f"column {column}: expected {expected}, found {shown}{more}; repair these rows (the first row below the "
        "header is row 1); nothing was written"
    )


def _as_time(instants_ns: pl.Series) -> pl.Series:
    return pl.from_epoch(instants_ns, "ns").cast(pl.Datetime("ns", "UTC"))
