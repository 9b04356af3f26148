"""Benches and load: each `make bench-NAME` writes `docs/benchmarks/NAME.json` and the same as a table beside it."""
