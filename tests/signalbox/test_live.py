"""Serve, publish, ask, roll back, watch: the README's second half, with the real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protos.client import Client
from protos.score import OK, STALE

Cli = Callable[..., Any]


@pytest.fixture
def scorer(home: Path) -> Iterator[str]:
    """`signalbox serve` on the small home; the address of its worker, once it says that it is ready."""
    command = [sys.executable, "-m", "signalbox", "serve", "--home", str(home), "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["addresses"][0]
        process.terminate()
        assert process.wait(timeout=20) == 0


def test_serve(cli: Cli, process: Cli, home: Path, ids: dict[str, Any], scorer: str) -> None:
    older, newer = ids["releases"]
    with Client(scorer) as oms:
        assert set(oms.score("large_caps").status) == {STALE}
        sent = cli("publish", "--replay", "--from", "2022-12-12", "--to", "2022-12-16", "--home", str(home), "--json")
        assert (sent.document["sessions"], sent.document["rows"], sent.document["refused"]) == (5, 100, 0)
        score = oms.score("large_caps", ["AAPL", "XOM", "NOPE"])
        assert (score.generation, score.posture, score.releases) == (2, "NORMAL", (newer,))
        assert score.status.tolist() == [OK, OK, 2]
        assert score.weights.tolist() == [1.0, 1.0, 0.0]

        watched = process("monitor", "--scorer", scorer, "--sessions", "1", "--home", str(home), "--json")
        record = json.loads(watched.out)
        assert (record["session"], record["scored"], record["rows"]) == ("2022-12-16", 20, 20)

        assert cli("rollback", "large_caps", "--why", "a drill", "--home", str(home)).code == 0
        score = oms.score("large_caps", ["AAPL"])
        assert (score.generation, score.releases) == (3, (older,))
        assert cli("weight", "large_caps", "0.25", "--why", "a drill", "--home", str(home)).code == 0
        assert oms.score("large_caps", ["AAPL"]).weights.tolist() == [0.25]
        assert cli("halt", "large_caps", "--why", "a drill", "--home", str(home)).code == 0
        assert oms.score("large_caps", ["AAPL"]).posture == "HALTED"

        again = cli("publish", "--replay", "--from", "2022-12-16", "--to", "2022-12-16", "--home", str(home), "--json")
        assert again.document["refused"] == 20


def test_publish_without_a_scorer_says_what_to_run(cli: Cli, home: Path) -> None:
    done = cli("publish", "--replay", "--home", str(home))
    assert done.code == 8
    assert "signalbox serve" in done.err
