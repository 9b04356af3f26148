"""The data plane against the bars it must keep: `make bench-serving` writes docs/benchmarks/serving.json."""

from __future__ import annotations

from loadtests.clients import h2load
from loadtests.harness.table import Bench, Part
from loadtests.serving.bars import TABLE

MINUTES = 32.0  # a bench ends within 35 minutes

PARTS = (
    Part("loadtests.serving.closed_loop", ("02.1", "02.2", "02.3", "02.4", "02.5", "02.10", "02.14", "02.15")),
    Part("loadtests.serving.varied_rows", ("02.1b", "02.2b", "02.4c", "02.4d", "02.6", "02.10b", "02.14c", "02.14d")),
    Part("loadtests.serving.latency_at_rate", ("02.7",)),
    Part("loadtests.serving.many_rows", ("02.8",)),
    Part("loadtests.serving.by_instrument", ("02.9",)),
    Part("loadtests.serving.swaps", ("02.11",)),
    Part("loadtests.serving.idle_memory", ("02.12",)),
    Part("loadtests.serving.pushed_rows", ("02.13",)),
    Part("loadtests.serving.hostile_peers", ("02.16",)),
)
HOW = """
Command: `make bench-serving`. Server on core 0, client on core 1 of this machine, over loopback; LightGBM 100 trees of
31 leaves over 32 float32 features as ONNX; answers held to ONNX Runtime's, bit by bit, before and after each reading.
Rows say their load model: "h2load" is a C client that repeats one row in a closed loop, "our client" sends rows that
all differ. Methods and limits stand at the head of `loadtests/serving/{modules}.py`. In brackets: least to most over
the rounds; the value is the median.
"""
BENCH = Bench("serving", TABLE, PARTS, HOW, MINUTES, h2load.require)

if __name__ == "__main__":
    BENCH.main()
