"""Times as files write them to UTC nanoseconds: dates as session closes, instants with their zone, nothing guessed."""

from __future__ import annotations

import numpy as np
import polars as pl

from features.errors import IngestError
from features.sessions import Calendar


def instants(column: pl.Series, calendar: Calendar | None) -> pl.Series:
    """Int64 UTC nanoseconds [row]; null where the value is absent or cannot be taken.

    Taken are: int64 nanoseconds since 1970, zoned datetimes, text in ISO 8601 with `Z` or an offset, and, where a
    `calendar` is given, dates (`YYYY-MM-DD`), which mean that session's close. A date that is no session of it
    becomes null. IngestError for a type that is no time, or a datetime without a zone.
    """
    dtype = column.dtype
    if dtype == pl.Null:
        return pl.Series(column.name, [None] * len(column), dtype=pl.Int64)
    if dtype.is_integer():
        return column.cast(pl.Int64)
    if dtype == pl.Date:
        return _closes(column, calendar)
    if isinstance(dtype, pl.Datetime):
        return _zoned(column, dtype)
    if dtype == pl.String:
        return _texts(column, calendar)
    raise IngestError(
        f"column {column.name}: expected dates, zoned times or int64 nanoseconds, found {dtype}; convert the column"
    )


def _zoned(column: pl.Series, dtype: pl.Datetime) -> pl.Series:
    if dtype.time_zone is None:
        raise IngestError(
            f"column {column.name}: expected times with a zone, found a naive datetime; write UTC explicitly"
        )
    return column.dt.timestamp("ns")


def _texts(column: pl.Series, calendar: Calendar | None) -> pl.Series:
    dates = column.str.to_date("%Y-%m-%d", strict=False)
    times = column.str.replace(r"[Zz]$", "+00:00").str.replace(" ", "T", literal=True)
    zoned = _parsed(times, "%Y-%m-%dT%H:%M:%S%.f%:z")
    zoned = zoned.zip_with(zoned.is_not_null(), _parsed(times, "%Y-%m-%dT%H:%M%:z"))
    closes = _closes(dates, calendar)
    return closes.zip_with(closes.is_not_null(), zoned)


def _parsed(texts: pl.Series, pattern: str) -> pl.Series:
    return texts.str.to_datetime(pattern, time_unit="ns", time_zone="UTC", strict=False).dt.timestamp("ns")


def _closes(dates: pl.Series, calendar: Calendar | None) -> pl.Series:
    if calendar is None:
        return pl.Series(dates.name, [None] * len(dates), dtype=pl.Int64)
    days = dates.to_numpy().astype("datetime64[D]")
    index = np.minimum(np.searchsorted(calendar.sessions, days), len(calendar.sessions) - 1)
    found = calendar.sessions[index] == days
    return pl.Series(dates.name, calendar.closes_ns[index]).set(pl.Series(~found), None)
