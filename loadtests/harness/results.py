"""What every bench writes: `docs/benchmarks/NAME.json` (its form: docs/contracts.md) and a table beside it."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
REPORTED = ("numpy", "onnxruntime", "grpcio", "uvloop", "lightgbm", "mlflow")


@dataclass(frozen=True)
class Row:
    """One reading: `value` in `unit` against the `bar` it has to keep."""

    id: str
    what: str
    value: float
    unit: str
    bar: str
    ok: bool


def write(name: str, rows: list[Row], *, how: str) -> Path:
    """Writes NAME.json and NAME.md afresh; refuses readings that are not finite and ids that are not unique."""
    if len({row.id for row in rows}) != len(rows):
        raise ValueError(f"{name}: expected unique row ids, found {[row.id for row in rows]}")
    for row in rows:
        if not math.isfinite(row.value):
            raise ValueError(f"{name}: row {row.id}: expected a finite value, found {row.value}")
    document = {
        "commit": _commit(),
        "machine": machine(),
        "versions": {package: version(package) for package in REPORTED},
        "rows": [asdict(row) for row in rows],
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    (RESULTS / f"{name}.md").write_text(_markdown(name, rows, how))
    return path


def machine() -> str:
    """This machine, in words."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.processor(),
    )
    return (
        f"{os.cpu_count()} cores, {model}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607 - git is a stated prerequisite
        capture_output=True,
        text=True,
        check=True,
        cwd=RESULTS.parents[1],
    )
    return done.stdout.strip()


def _markdown(name: str, rows: list[Row], how: str) -> str:
    lines = [f"# {name}", "", how, "", f"Machine: {machine()}.", "", "| id | what | value | unit | bar | kept |"]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    lines += [
        f"| {row.id} | {row.what} | {row.value:,.6g} | {row.unit} | {row.bar} | {'yes' if row.ok else '**no**'} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
