"""How long `signalbox demo` takes after installation, and what it needs.

Method: three runs, each in a fresh home and a process of its own; the median of the wall times, and the largest
proportional set size (PSS) that the process and its children held together, read every 200 ms from /proc.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter

from loadtests.harness.results import Row, write

RUNS = 3


def main() -> None:
    """Runs the bench and writes docs/benchmarks/demo.json."""
    runs = [_run(number) for number in range(RUNS)]
    seconds = statistics.median(run[0] for run in runs)
    memory = max(run[1] for run in runs)
    documents = [run[2] for run in runs]
    p50 = statistics.median(document["latency_us"]["p50"] for document in documents)
    p99 = statistics.median(document["latency_us"]["p99"] for document in documents)
    same = len({_outcome(document) for document in documents}) == 1
    rows = [
        Row("01.1", "signalbox demo, wall time, median of three", seconds, "s", "at most 180 s", seconds <= 180),
        Row("01.2", "its memory, all processes (PSS), largest", memory, "MiB", "under 2 GiB", memory < 2048),
        Row("01.3", "its runs agree on snapshot, releases and actions", float(same), "1 = yes", "1", same),
        Row("01.4a", "its OMS requests, one in flight (grpcio transport), p50", p50, "µs", "reported", True),
        Row("01.4b", "the same, p99", p99, "µs", "reported", True),
    ]
    how = "Command: `make bench-demo`. " + (__doc__ or "").split("\n\n")[1].replace("\n", " ").strip()
    print(write("demo", rows, how=how))


def _run(number: int) -> tuple[float, float, dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="signalbox-bench-") as folder:
        start = perf_counter()
        process = subprocess.Popen(  # noqa: S603 - our own command
            [str(Path(sys.executable).with_name("signalbox")), "demo", "--home", f"{folder}/home-{number}", "--json"],
            stdout=subprocess.PIPE,
        )
        peak = [0.0]
        watcher = threading.Thread(target=_watch, args=(process, peak))
        watcher.start()
        output, _ = process.communicate()
        seconds = perf_counter() - start
        watcher.join()
        if process.returncode:
            raise RuntimeError(f"signalbox demo ended with {process.returncode}; run it by hand to see why")
        return seconds, peak[0], json.loads(output)


def _watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    while process.poll() is None:
        peak[0] = max(peak[0], sum(map(_pss_mib, _family(process.pid))))
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue


def _family(pid: int) -> list[int]:
    members = [pid]
    for member in members:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                members += map(int, children.read_text().split())
            except OSError:
                continue  # ended between the listing and the reading
    return members


def _pss_mib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0  # ended
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def _outcome(document: dict[str, object]) -> str:
    return json.dumps([document["snapshot"], document["releases"], document["actions"]], sort_keys=True)


if __name__ == "__main__":
    main()
