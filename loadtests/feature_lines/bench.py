"""The features room against the bars it must keep: `make bench-features` writes docs/benchmarks/features.json."""

from __future__ import annotations

from loadtests.feature_lines.bars import TABLE
from loadtests.harness.table import Bench, Part

PARTS = (
    Part("loadtests.feature_lines.same_bits", ("03.1",)),
    Part("loadtests.feature_lines.updates", ("03.6", "03.7")),
)
HOW = """
Command: `make bench-features`. Methods and limits stand at the head of `loadtests/feature_lines/{modules}.py`.
"""
BENCH = Bench("features", TABLE, PARTS, HOW, minutes=30.0)

if __name__ == "__main__":
    BENCH.main()
