"""Bare `session.run` in a process of its own: how many rows a second ONNX Runtime alone scores on one core.

`python -m loadtests.serving.bare_run MODEL ROWS SECONDS` prints rows a second. The session has the settings that
Signalbox serves with; the rows are the same ones, all different, that the scorer is asked about.
"""

from __future__ import annotations

import subprocess
import sys
from time import perf_counter

from loadtests.harness.model import BenchModel, bench_model, make_rows
from loadtests.harness.servers import SERVER_CORE, pinned

_WARM_RUNS = 20


def rows_per_second(model: BenchModel, rows: int, seconds: float) -> float:
    """What a fresh process on the server's core reaches with `rows` rows a run, over about `seconds`."""
    command = [sys.executable, "-m", "loadtests.serving.bare_run", model.name, str(rows), str(seconds)]
    done = subprocess.run(pinned(SERVER_CORE, *command), capture_output=True, text=True, check=True)  # noqa: S603 - this module
    return float(done.stdout)


def _measure(model: BenchModel, rows: int, seconds: float) -> float:
    asked = make_rows(rows)
    for _ in range(_WARM_RUNS):
        model.scores(asked)
    runs, began = 0, perf_counter()
    while perf_counter() - began < seconds:
        model.scores(asked)
        runs += 1
    return runs * rows / (perf_counter() - began)


if __name__ == "__main__":
    name, count, duration = sys.argv[1:]
    print(_measure(bench_model(name), int(count), float(duration)))
