"""`make locust`: a home made on the fly, served on one core, with Locust's users on the other.

The scenarios and what counts as a failure stand in `loadtests/locust/locustfile.py`.

Twenty users for sixty seconds, headless. Ends with Locust's exit code: 1 when anything failed, and when a release was
never seen to answer. The report (HTML and CSV) goes to a folder of the benches' cache, a summary to
`docs/benchmarks/locust.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtests.harness.cache import cache
from loadtests.harness.homes import home_of
from loadtests.harness.model import bench_model, make_rows
from loadtests.harness.progress import say
from loadtests.harness.questions import ScoreQuestion
from loadtests.harness.results import Row, write
from loadtests.harness.scorers import Options, home
from loadtests.harness.servers import CLIENT_CORE, Server, pinned, running
from loadtests.harness.small_home import SmallHome
from loadtests.harness.small_release import SIGNAL
from loadtests.locust.scene import CROSS_SECTION, MODELS

LOCUST = str(Path(sys.executable).with_name("locust"))
LOCUSTFILE = Path(__file__).with_name("locustfile.py")
HOW = (
    "Command: `make locust`. Load model: closed loop, {users} users, each of whom waits for an answer before asking "
    "again, in one Python process on one core; the scorer ({transport} transport) on the other. Percentiles include "
    "the Python client and leave out what a stall kept from being asked (coordinated omission): they are no statement "
    "of latency; see rows 02.7 and 02.11 of `serving.md` for the open loop. What is stated: every answer was right, "
    "also while releases were swapped."
)


def main() -> None:
    """Runs the load test; exits with Locust's code."""
    asked = _arguments()
    say(f"making a home with {len(MODELS)} releases and {CROSS_SECTION} instruments")
    with home_of(MODELS, instruments=CROSS_SECTION) as small:
        live = replace(bench_model(MODELS[-1]), name=SIGNAL)
        with running(home(small.home.root, Options(asked.transport)), ScoreQuestion(live, make_rows(1))) as server:
            code = _locust(asked, server, small)
    sys.exit(code)


def summary_rows(figures: list[dict[str, Any]]) -> list[Row]:
    """Rows of the locustfile's summary: the failures, then per kind of request its 99th percentile, kept when none of
    that kind failed.
    """
    requests = sum(each["requests"] for each in figures)
    failures = sum(each["failures"] for each in figures)
    total = Row("locust.failures", f"failed of {requests:,} requests", failures, "requests", "0", failures == 0)
    return [total, *map(_summary_row, figures)]


def _summary_row(figures: dict[str, Any]) -> Row:
    slug = re.sub(r"\W+", "_", figures["name"].lower()).strip("_")
    what = (
        f"{figures['name']}: p99 of {figures['requests']:,}, median {figures['p50_ms']:.3g} ms, "
        f"slowest {figures['max_ms']:.3g} ms"
    )
    return Row(f"locust.{slug}", what, float(figures["p99_ms"]), "ms", "none failed", not figures["failures"])


def _locust(asked: argparse.Namespace, server: Server, small: SmallHome) -> int:
    reports = cache("locust")
    (reports / "summary.json").unlink(missing_ok=True)
    command = [LOCUST, "--locustfile", str(LOCUSTFILE), "--headless", "--only-summary"]
    command += ["--users", str(asked.users), "--spawn-rate", str(asked.users), "--run-time", f"{asked.seconds}s"]
    command += [
        "--summary",
        str(reports / "summary.json"),
        "--csv",
        str(reports / "locust"),
        "--html",
        str(reports / "locust.html"),
        "--stop-timeout",
        "60",
    ]
    command += ["--scorer", server.address, "--home", str(small.home.root)]
    environment = {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}  # its children run other programs
    done = subprocess.run(pinned(CLIENT_CORE, *command), env=environment, check=False)  # noqa: S603 - Locust, on a home of ours
    rows = summary_rows(json.loads((reports / "summary.json").read_text()))
    print(write("locust", rows, how=HOW.format(users=asked.users, transport=asked.transport)))
    say(f"report: {reports / 'locust.html'}")
    return done.returncode


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="locust.run", description="Locust's users on a scorer of their own.")
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--transport", choices=["native", "grpcio"], default="native")
    return parser.parse_args()


if __name__ == "__main__":
    main()
