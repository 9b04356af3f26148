"""What the data plane must reach: the table of `make bench-serving`, as data. Rows take their bar from here alone."""

from __future__ import annotations

from collections.abc import Mapping

from loadtests.harness.table import Bar, Table

BARS: Mapping[str, Bar] = {
    "02.1": Bar(
        "unary Score with inline features, 64 in flight on one connection", "at least 140,000 scored requests/s"
    ),
    "02.2": Bar(
        "the same through Open Inference Protocol ModelInfer, 64 in flight on one connection",
        "at least 100,000 scored requests/s",
    ),
    "02.3": Bar(
        "02.1 against the grpcio transport in the same run, which itself reaches at least 70 % of a bare grpc.aio echo",
        "at least 14 ×",
    ),
    "02.4": Bar("unary, 64 connections with one request each", "at least 60,000 scored requests/s"),
    "02.5": Bar(
        "unary, one in flight, C client",
        "mean at most 85 µs, p99 at most 150 µs, at most half of the grpcio transport's mean",
    ),
    "02.6": Bar("a different grpc-timeout and trace header on every call", "at least 60 % of 02.1"),
    "02.7": Bar("open loop at 10,000 req/s", "p99 at most 400 µs, p99.9 at most 2 ms"),
    "02.8": Bar("3,000 rows in one request", "at least 90 % of bare session.run rows/s"),
    "02.9": Bar("by instrument from the table, unchanged rows, 64 in flight", "at least 120,000 requests/s"),
    "02.10": Bar("TLS", "at least 80 % of 02.1"),
    "02.11": Bar(
        "release swap under load",
        "no failed request, no batch mixing two releases; the slowest request is reported, at most the session's load "
        "time + 5 ms",
    ),
    "02.12": Bar("memory of an idle worker", "at most 150 MiB"),
    "02.13": Bar("pushed row → readable in the worker", "p99 at most 1 ms by push, 5 ms through Redis"),
    "02.14": Bar(
        "server CPU per scored request (schedstat), varied rows: 64 in flight; alone", "at most 8 µs; at most 55 µs"
    ),
    "02.15": Bar("--busy-poll, one in flight, C client", "p50 at most 50 µs, p99 at most 90 µs"),
    "02.16": Bar("hostile peers at full rate, an honest client beside each", "0 honest calls lost, at most 64 MiB"),
}

TABLE = Table(BARS)
row, failed, line_of = TABLE.row, TABLE.failed, TABLE.line_of
