"""What the features room must reach: the table of `make bench-features`, as data. Rows take their bar from here."""

from __future__ import annotations

from collections.abc import Mapping

from loadtests.harness.table import Bar, Table

BARS: Mapping[str, Bar] = {
    "03.1": Bar(
        "batch against online replay, all features, at least 10 million random points with late rows, restatements, "
        "gaps, restarts; threads 1 and 2; different chunking; within one numeric profile",
        "0 differing bits",
    ),
    "03.2": Bar(
        "as-of against a brute-force oracle, 1 million rows, restatements, ties, knowledge before event",
        "0 differences, 0 rows known later than asked",
    ),
    "03.3": Bar("data leaks planted through the public API", "all caught, 0 false alarms on 20 clean pipelines"),
    "03.4": Bar("batch: 40 features × 1,000 instruments × 5,000 days", "at most 60 s with 2 processes, under 4 GiB"),
    "03.5": Bar("as-of, 10 million rows", "at most 3 × polars' event-time-only join_asof in the same run"),
    "03.6": Bar("online update of the per-instrument features (40) of one instrument", "at most 400 µs"),
    "03.7": Bar("cross-sectional features of 1,000 names at the cut-off", "at most 5 ms"),
    "03.8": Bar("consumers of a feature, 100,000 edges", "p99 at most 10 ms"),
    "03.9": Bar("hashing a snapshot", "at least 500 MiB/s"),
    "03.10": Bar("one day added to ten years", "at least 99 % of blobs re-used"),
}

TABLE = Table(BARS)
row, failed, line_of = TABLE.row, TABLE.failed, TABLE.line_of
