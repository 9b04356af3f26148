"""A small home, made once by the command line itself: real prices, one quick candidate, one release, promoted."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from signalbox.cli.main import signalbox
from signalbox.founding import demo_config_text

MIRRORED = ("train", "validate", "promote")  # these open MLflow, whose own warnings are not ours to fix
GATE = """
[gates.replay]
thresholds = [ { metric = "observations", at_least = 100.0 } ]
"""


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its stdout as JSON."""
        return json.loads(self.out)


Cli = Callable[..., Ran]


def run_cli(*arguments: str) -> Ran:
    """`signalbox ARGUMENTS`, in this process."""
    done = CliRunner().invoke(signalbox, list(arguments), prog_name="signalbox")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)


def run_process(*arguments: str) -> Ran:
    """`python -m signalbox ARGUMENTS`, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "signalbox", *arguments], capture_output=True, text=True, timeout=120)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def cli() -> Cli:
    return run_cli


@pytest.fixture(scope="session")
def process() -> Cli:
    return run_process


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """(home, ids): `run`, `releases` (the older first), both promoted by hand as the README does it."""
    root = tmp_path_factory.mktemp("small")
    text = demo_config_text()
    start, end = text.index("[gates.replay]"), text.index("# What capital would ask")
    config = root / "signalbox.toml"
    config.write_text(text[:start] + GATE.lstrip() + "\n" + text[end:])
    home = root / "home"

    def ok(*arguments: str) -> Any:
        run = run_process if arguments[0] in MIRRORED else run_cli
        done = run(*arguments, "--home", str(home), "--json")
        assert done.code == 0, done.err
        return done.document

    ok("init", "--config", str(config))
    ids: dict[str, Any] = {"snapshot": ok("snapshot", "--demo-prices")["snapshot"], "releases": []}
    for as_of, first in (("2000-12-29", "2000-01-03"), ("2001-12-31", "2000-01-03")):
        settings = ("--trainer", "lightgbm", "--set", "trees=5", "--as-of", as_of, "--first-test", first)
        ids["run"] = ok("train", *settings)["run"]
        ids["releases"].append(ok("validate", ids["run"])["digest"])
    for digest in ids["releases"]:
        target = f"large_caps@{digest[:16]}"
        waits = run_process("promote", target, "--home", str(home), "--json")
        assert waits.code == 4, waits.err
        ok("approve", waits.document["plan"])
        assert ok("promote", target)["state"] == "promoted"
    return home, ids


@pytest.fixture
def home(made: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    """A copy of the small home, to do with as a test likes."""
    copy = tmp_path / "home"
    shutil.copytree(made[0], copy, ignore=shutil.ignore_patterns("run"))
    return copy


@pytest.fixture
def ids(made: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    return made[1]
