"""The data plane against the bars it must keep: `make bench-serving` writes docs/benchmarks/serving.json.

Each part is a module that exports `rows() -> list[Row]`, states its question, method, load model and limits in its own
docstring, and measures lines of `loadtests.serving.bars`. Parts run one after the other. One that fails costs its own
lines alone: they stand in the results as not measured, with the reason; so does a line that no part measures.
"""

from __future__ import annotations

import argparse
import importlib
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.clients import h2load
from loadtests.harness.progress import say
from loadtests.harness.results import Row, write
from loadtests.serving.bars import BARS, failed, line_of

MINUTES = 32.0  # no part is begun later than this after the first: a bench ends within 35 minutes


@dataclass(frozen=True)
class Part:
    """A module, and the lines of the table that it measures; the ids of its rows where another has the line too."""

    module: str
    lines: tuple[str, ...]


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


def main() -> None:
    """Runs the parts and writes the results."""
    parser = argparse.ArgumentParser(prog="serving.bench", description="The data plane against its bars.")
    parser.add_argument("--only", nargs="+", metavar="LINE", choices=list(BARS), help="parts with these lines alone")
    asked = parser.parse_args()
    h2load.require()
    parts = [part for part in PARTS if not asked.only or set(asked.only) & set(map(line_of, part.lines))]
    modules = ",".join(part.module.rpartition(".")[2] for part in parts)
    print(write("serving", collect(parts), how=HOW.strip().format(modules=f"{{{modules}}}").replace("\n", " ")))


def collect(parts: Sequence[Part], *, minutes: float = MINUTES) -> list[Row]:
    """The rows of all parts, in the table's order; every line of the table is among them."""
    rows: list[Row] = []
    deadline = time.monotonic() + minutes * 60
    for part in parts:
        say(f"{part.module}: lines {', '.join(part.lines)}")
        try:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not begun: more than {minutes:g} minutes had passed")
            rows += importlib.import_module(part.module).rows()
        except Exception as error:  # noqa: BLE001 - whatever a part raises, the others' readings are kept
            traceback.print_exc()
            words = str(error).splitlines() or [""]
            rows += [failed(line, f"{type(error).__name__}: {words[0]}") for line in part.lines]
    measured = {line_of(each.id) for each in rows}
    rows += [failed(line, "no part of this run measures it") for line in BARS if line not in measured]
    return sorted(rows, key=lambda each: (list(BARS).index(line_of(each.id)), each.id))


if __name__ == "__main__":
    main()
