"""Benches and load: each `make bench-NAME` writes `docs/benchmarks/NAME.json` and the same as a table beside it.

    soak       demo  engine                          one bench each
    serving    peers  locust  fuzzing                a bench each, of many parts: `bench` or `run` starts it
    clients                                          what asks
    harness                                          what every bench stands on

Arrows only point down; `make check` says so.
"""
