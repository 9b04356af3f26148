"""10 million fuzzed inputs over everything that reads bytes from outside: does anything break, hang or grow?

    python -m loadtests.fuzzing.run [--inputs N] [--seed N] [--json]

Part of `make long`; writes docs/benchmarks/fuzz.json.

Method: coverage-guided (atheris, which drives libFuzzer), each target in processes of its own, two at a time. Inputs
begin with what real clients and the server said to each other, recorded on its way: grpcio's client, curl, nghttp,
h2load. Mutations of connections keep frames whole, those of bodies protobuf fields. What must hold for every input
stands in loadtests/fuzzing: nothing is raised but the documented errors, what is said in return is bounded by what
came, nothing is counted once a connection is closed, every call ends once; for a share of the inputs, however bytes are
cut into reads and whether or not they are recognised, the answers are the same, and header blocks mean what they mean
to the hpack package. A hang is an input that takes longer than 10 s. Growth is that of a process's resident memory
between a quarter of its inputs and the last, the fuzzer's own corpus included. Whatever breaks is kept as a file, and
named.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from loadtests.fuzzing.seeds import corpora
from loadtests.harness.progress import say
from loadtests.harness.results import Row, write

INPUTS = 10_000_000
MINUTES = 25.0  # after which no more inputs are made
AT_ONCE = 2
HANG_SECONDS = 10
MOST_GROWTH_MIB = 64.0
PROGRESS_SECONDS = 20.0
_SHARES = 2  # processes a target
_FORGIVEN = 0.999  # of a target's inputs: a share that the time ran out for is no failure of what was fuzzed, but said


@dataclass(frozen=True)
class Plan:
    """A target. share: of all inputs. rate: inputs a second, about, on one core: what is slow begins first."""

    name: str
    what: str
    share: float
    rate: int
    most_bytes: int


PLANS = (
    Plan("server", "a server's connection and its calls", 0.09, 1900, 1200),
    Plan("client", "a client's connection", 0.06, 1900, 1200),
    Plan("hpack", "header blocks", 0.10, 2500, 1200),
    Plan("message", "messages, gzip, heads and Huffman codes", 0.20, 12_000, 600),
    Plan("score", "ScoreRequest and small methods, through the handlers", 0.10, 4500, 600),
    Plan("infer", "ModelInferRequest, through the handlers", 0.12, 7000, 600),
    Plan("row", "feature rows", 0.28, 30_000, 300),
    Plan("ring", "rings", 0.05, 9000, 2600),
)


@dataclass(frozen=True)
class Outcome:
    """What one process found. broken: files of inputs for which something did not hold; hung: that took too long."""

    name: str
    inputs: int
    seconds: float
    slowest_ms: float
    mib_more: float
    broken: tuple[Path, ...]
    hung: tuple[Path, ...]
    said: str


class Share:
    """One process's part of a target. Lives as long as the fuzzing."""

    def __init__(self, plan: Plan, inputs: int, seed: int, folder: Path) -> None:
        self.plan = plan
        self.inputs = inputs
        self.folder = folder
        self._seed = seed

    @property
    def expected_seconds(self) -> float:
        """How long it takes, about."""
        return self.inputs / self.plan.rate

    @property
    def found(self) -> dict[str, float]:
        """What the process has told of itself so far."""
        told = self.folder / "share.json"
        return dict(json.loads(told.read_text())) if told.exists() else {"inputs": 0}

    def run(self, until: float) -> Outcome:
        """Fuzzes until the share is done, or the monotonic instant `until`."""
        options = (
            f"-max_len={self.plan.most_bytes}",
            f"-timeout={HANG_SECONDS}",
            "-rss_limit_mb=2048",
            f"-artifact_prefix={self.folder}/",
            f"-max_total_time={max(1, int(until - time.monotonic()))}",
            f"-seed={self._seed}",
        )
        command = (sys.executable, "-m", "loadtests.fuzzing.one", self.plan.name, str(self.inputs), str(self.folder))
        with (self.folder / "log").open("wb") as log:
            done = subprocess.run((*command, *options), stdout=log, stderr=log, check=False)  # noqa: S603 - our own
        broken = tuple(path for kind in ("crash", "oom", "leak") for path in self.folder.glob(f"{kind}-*"))
        hung = tuple(self.folder.glob("timeout-*"))
        if done.returncode and not (broken or hung):
            broken = (self.folder / "log",)
        found = self.found
        return Outcome(
            self.plan.name,
            int(found["inputs"]),
            found.get("seconds", 0.0),
            found.get("slowest_ms", 0.0),
            found.get("mib_more", 0.0),
            broken,
            hung,
            _complaint(self.folder / "log") if done.returncode else "",
        )


def fuzz(inputs: int, seed: int, folder: Path) -> list[Outcome]:
    """The whole run; what breaks is left in `folder`."""
    seeds = corpora()
    shares = [
        _prepare(plan, inputs, seed + at, folder / f"{plan.name}-{at}", seeds[plan.name])
        for plan in PLANS
        for at in range(_SHARES)
    ]
    shares.sort(key=lambda share: -share.expected_seconds)
    until = time.monotonic() + MINUTES * 60
    stop = threading.Event()
    teller = threading.Thread(target=_tell, args=(shares, inputs, stop), name="progress")
    teller.start()
    try:
        with ThreadPoolExecutor(min(AT_ONCE, os.cpu_count() or 1)) as pool:
            return list(pool.map(lambda share: share.run(until), shares))
    finally:
        stop.set()
        teller.join()


def _prepare(plan: Plan, inputs: int, seed: int, folder: Path, seeds: Sequence[bytes]) -> Share:
    corpus = folder / "corpus"
    corpus.mkdir(parents=True)
    for at, each in enumerate(seeds):
        (corpus / f"seed-{at}").write_bytes(each[: plan.most_bytes])
    return Share(plan, max(1, round(inputs * plan.share / _SHARES)), seed, folder)


def _tell(shares: Sequence[Share], inputs: int, stop: threading.Event) -> None:
    while not stop.wait(PROGRESS_SECONDS):
        done = {share: int(share.found["inputs"]) for share in shares}
        under_way = ", ".join(share.plan.name for share in shares if 0 < done[share] < share.inputs) or "the next ones"
        say(f"fuzz: {sum(done.values()):,} of {inputs:,} inputs; {under_way} under way")


def _complaint(log: Path) -> str:
    """The line of a process's log that says what broke."""
    lines = log.read_text(errors="replace").splitlines()
    marks = ("Uncaught Python exception", "ERROR: libFuzzer")
    found = [at for at, line in enumerate(lines) if any(mark in line for mark in marks)]
    return " ".join(lines[found[0] : found[0] + 2])[:300] if found else "\n".join(lines[-3:])[:300]


def rows_of(outcomes: Sequence[Outcome], inputs: int) -> list[Row]:
    """What is judged."""
    rows = [_inputs_row(plan, [each for each in outcomes if each.name == plan.name], inputs) for plan in PLANS]
    total = sum(each.inputs for each in outcomes)
    broken, hung = (sum(len(getattr(each, name)) for each in outcomes) for name in ("broken", "hung"))
    growth = max(each.mib_more for each in outcomes)
    slowest = max(each.slowest_ms for each in outcomes)
    return [
        *rows,
        Row("fuzz.inputs", "inputs, all targets", total, "inputs", f"{inputs}, to a thousandth",
            total >= _FORGIVEN * inputs),
        Row("fuzz.broken", "inputs for which something did not hold", broken, "inputs", "0", broken == 0),
        Row("fuzz.hung", f"inputs that took more than {HANG_SECONDS} s", hung, "inputs", "0", hung == 0),
        Row("fuzz.slowest", "the slowest input, instrumented", slowest, "ms", "reported", True),
        Row("fuzz.growth", "most that a process grew from a quarter of its inputs to the last", growth, "MiB",
            f"at most {MOST_GROWTH_MIB:g}", growth <= MOST_GROWTH_MIB),
    ]  # fmt: skip


def _inputs_row(plan: Plan, outcomes: Sequence[Outcome], inputs: int) -> Row:
    found, wanted = sum(each.inputs for each in outcomes), round(inputs * plan.share)
    rate = found / max(sum(each.seconds for each in outcomes), 1e-9)
    broken = any(each.broken or each.hung for each in outcomes)
    what = f"{plan.what} ({rate:,.0f} a second on one core)"
    enough = found >= _FORGIVEN * wanted
    return Row(f"fuzz.{plan.name}", what, found, "inputs", f"{wanted}, to a thousandth", enough and not broken)


def main() -> None:
    """Fuzzes, writes the results, and fails when anything broke."""
    parser = argparse.ArgumentParser(prog="fuzzing.run", description="Fuzzed inputs: nothing breaks, hangs or grows.")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="over all targets")
    parser.add_argument("--seed", type=int, default=None, help="another one at each run, and said, unless given")
    parser.add_argument("--json", action="store_true", help="print the results instead of where they are")
    asked = parser.parse_args()
    seed = secrets.randbelow(2**31) if asked.seed is None else asked.seed
    folder = Path(tempfile.mkdtemp(prefix="signalbox-fuzz-"))
    say(f"fuzz: {asked.inputs:,} inputs, seed {seed}; at most {MINUTES:g} minutes")
    outcomes = fuzz(asked.inputs, seed, folder)
    kept = [(each, path) for each in outcomes for path in (*each.broken, *each.hung)]
    for outcome, path in kept:
        say(f"fuzz: {outcome.name}: {path}: {outcome.said}")
    rows = rows_of(outcomes, asked.inputs)
    method = "Method: " + (__doc__ or "").split("Method: ", 1)[1]
    how = f"Command: `make long` ({asked.inputs:,} inputs, seed {seed}). {method}"
    path = write("fuzz", rows, how=" ".join(how.split()))
    print(path.read_text() if asked.json else path)
    if not kept:
        shutil.rmtree(folder)
    sys.exit(0 if all(row.ok for row in rows) else 1)


if __name__ == "__main__":
    main()
