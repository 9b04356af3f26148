"""Debian's `h2load` as a gRPC client in C: closed loop, one body repeated, every request accounted for.

**Load model.** Closed loop: a connection keeps a fixed number of requests in flight and sends the next when one is
answered, so a slow answer delays the next question and percentiles of long runs understate what an open loop would
see (coordinated omission). It answers "how many a second" and "how long alone", never "how long at a given rate".

**One row repeated.** h2load sends one body; the branch predictor learns the row. Our own client sends rows that differ.

**What it cannot see.** h2load counts HTTP 200, and a gRPC error travels under HTTP 200. So every run has a fixed number
of requests, and the server's own count of rightly answered ones must rise by exactly that number; else the reading is
refused (`ReadingRefused`).

Percentiles are ours, by nearest rank over the microseconds that `--log-file` gives for every request. Writing that
file costs the client time between two requests, so readings of throughput are taken without it.
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from loadtests.harness.cache import cache
from loadtests.harness.processes import busy_seconds
from loadtests.harness.questions import Question, framed
from loadtests.harness.readings import Load, Reading, ReadingRefused
from loadtests.harness.rounds import Probe
from loadtests.harness.servers import CLIENT_CORE, SERVER_CORE, Server, pinned

TOOL = "h2load"
PACKAGE = "nghttp2-client"
_HEADERS = ("content-type: application/grpc", "te: trailers")
_FIRST_ROWS = 1000  # scored by the run that only says how fast the server is
_WARM_SECONDS = 0.5
_TIMEOUT_SECONDS = 300.0
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True)
class Summary:
    """What h2load said of a run."""

    requests: int
    succeeded: int
    statuses_2xx: int
    per_second: float
    mean_us: float


def probe(name: str, question: Question, load: Load) -> Probe:
    """A probe that asks `question` again and again."""
    return Probe(name, question, load, measure)


def measure(server: Server, question: Question, load: Load, *, seconds: float) -> Reading:
    """About `seconds` of `load` on `server`, after a warm-up that is thrown away.

    ReadingRefused when h2load or the server counted anything but `requests` right answers.
    """
    with tempfile.TemporaryDirectory(dir=cache("runs")) as folder:
        body = Path(folder) / "body"
        body.write_bytes(framed(question.message))
        first = _run(server, question, load, body, max(_FIRST_ROWS // question.rows, _least(load)))
        warm = _run(server, question, load, body, _requests(first, _WARM_SECONDS, load))
        log = Path(folder) / "log" if load.logged else None
        counted, before = server.counted(), _Used.by(server)
        summary = _run(server, question, load, body, _requests(warm, seconds, load), log)
        used = _Used.by(server).since(before)
        _check(summary, (server.counted() - counted) / question.rows, server.launch.name)
        server.check(question)
        times = np.array([np.nan]) if log is None else read_log(log)
    return Reading(
        requests=summary.requests,
        per_second=summary.per_second,
        mean_us=summary.mean_us,
        p50_us=percentile(times, 50),
        p99_us=percentile(times, 99),
        cpu_us=used.server * 1e6 / summary.requests,
        others=used.others,
    )


def command(url: str, load: Load, body: Path, requests: int, log: Path | None = None) -> list[str]:
    """The argv of a run, on the client's core."""
    options = [f"--requests={requests}", f"--clients={load.connections}", f"--max-concurrent-streams={load.in_flight}"]
    headers = [f"--header={header}" for header in _HEADERS]
    logging = [] if log is None else [f"--log-file={log}"]
    return pinned(CLIENT_CORE, TOOL, "--threads=1", *options, *headers, f"--data={body}", *logging, url)


def parse(output: str) -> Summary:
    """What h2load printed. ReadingRefused when a line is missing: another version, or no request was answered."""
    return Summary(
        requests=int(_find(r"^requests: (\d+) total", output)),
        succeeded=int(_find(r"(\d+) succeeded", output)),
        statuses_2xx=int(_find(r"^status codes: (\d+) 2xx", output)),
        per_second=float(_find(r"^finished in [^,]+, ([\d.]+) req/s", output)),
        mean_us=_microseconds(_find(r"^time for request: +\S+ +\S+ +(\S+)", output)),
    )


def read_log(path: Path) -> npt.NDArray[np.float64]:
    """Microseconds to the end of each response, float64 [requests], of a `--log-file`. ReadingRefused for a failure."""
    table = np.loadtxt(path, dtype=np.int64, ndmin=2, usecols=(1, 2))
    if np.any(table[:, 0] != 200):
        raise ReadingRefused(f"expected HTTP 200 of every request, found {np.unique(table[:, 0]).tolist()} in the log")
    return table[:, 1].astype(np.float64)


def percentile(values: npt.NDArray[np.float64], percent: float) -> float:
    """The smallest value that at least `percent` % of `values` do not exceed (nearest rank). NaN stays NaN."""
    rank = int(np.ceil(percent / 100 * len(values)))
    return float(np.sort(values)[max(rank, 1) - 1])


def require() -> None:
    """FileNotFoundError, which says what to install, when there is no h2load."""
    if shutil.which(TOOL) is None:
        raise FileNotFoundError(f"{TOOL}: expected it on PATH, found none; run: sudo apt-get install {PACKAGE}")


@dataclass(frozen=True)
class _Used:
    """Seconds: on the clock, and of CPU by the server, by clients that have ended, and by anybody on the two cores."""

    clock: float
    server: float
    client: float
    anybody: float

    @classmethod
    def by(cls, server: Server) -> Self:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(
            time.monotonic(),
            server.cpu_ns() / 1e9,
            children.ru_utime + children.ru_stime,
            busy_seconds(SERVER_CORE, CLIENT_CORE),
        )

    def since(self, before: Self) -> Self:
        return type(self)(*(getattr(self, name) - getattr(before, name) for name in self.__dataclass_fields__))

    @property
    def others(self) -> float:
        return max(self.anybody - self.server - self.client, 0.0) / (2 * self.clock)


def _requests(summary: Summary, seconds: float, load: Load) -> int:
    return max(int(summary.per_second * seconds), _least(load))


def _least(load: Load) -> int:
    return 10 * load.connections * load.in_flight


def _run(server: Server, question: Question, load: Load, body: Path, requests: int, log: Path | None = None) -> Summary:
    argv: Sequence[str] = command(server.url + question.path, load, body, requests, log)
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)  # noqa: S603 - h2load, on files of ours
    if done.returncode:
        raise server.failed(f"{TOOL} ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return parse(done.stdout)


def _check(summary: Summary, counted: float, name: str) -> None:
    if not summary.requests == summary.succeeded == summary.statuses_2xx == counted:
        raise ReadingRefused(
            f"{name}: expected {summary.requests} requests answered rightly, found {summary.succeeded} that {TOOL} "
            f"calls succeeded, {summary.statuses_2xx} of HTTP 2xx, and {counted:g} by the server's own count"
        )


def _find(pattern: str, output: str) -> str:
    found = re.search(pattern, output, re.MULTILINE)
    if found is None:
        raise ReadingRefused(f"{TOOL}: expected a line like {pattern!r}, found none in:\n{output[-800:]}")
    return found[1]


def _microseconds(text: str) -> float:
    """ "1.20ms" → 1200."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr] # h2load's own units
    return float(number) * _UNITS[unit]
