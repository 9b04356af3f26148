"""`signalbox demo --json`, whole: the one document of docs/contracts.md, and what it has to show."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """(home, document) of one run."""
    home = tmp_path_factory.mktemp("demo") / "home"
    command = [sys.executable, "-m", "signalbox", "demo", "--home", str(home), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    return home, json.loads(done.stdout)


def test_three_releases_and_a_refusal(demo: tuple[Path, dict[str, Any]]) -> None:
    _, document = demo
    assert len(document["snapshot"]) == 64
    assert [release["as_of"] for release in document["releases"]] == ["2010-12-31", "2014-12-31", "2014-12-31"]
    passed = [
        {verdict["environment"]: verdict["passed"] for verdict in release["verdicts"]}
        for release in document["releases"]
    ]
    assert [each["replay"] for each in passed] == [True, True, False]
    assert not any(each["prod"] for each in passed)
    assert "dsr_published" in document["refusal"]
    for release in document["releases"]:
        assert all(verdict["passed"] == (not verdict["reasons"]) for verdict in release["verdicts"])


def test_a_model_fault_is_cut_and_then_rolled_back(demo: tuple[Path, dict[str, Any]]) -> None:
    _, document = demo
    older, newer, _ = (release["digest"] for release in document["releases"])
    cut = next(action for action in document["actions"] if action["kind"] == "cut")
    back = next(action for action in document["actions"] if action["kind"] == "rollback")
    assert cut["session"] >= "2016-01-04"
    assert (cut["from"], cut["to"], cut["next_reply"]["weight"]) == ("1", "0.5", 0.5)
    assert cut["session"] < back["session"]
    assert (back["from"], back["to"], back["next_reply"]["release"]) == (newer, older, older)
    assert back["next_reply"]["generation"] == cut["next_reply"]["generation"] + 1
    assert not [action for action in document["honest_replay"]["actions"] if action["kind"] in ("cut", "rollback")]


def test_an_input_fault_stops_new_risk_until_a_person_resumes(demo: tuple[Path, dict[str, Any]]) -> None:
    _, document = demo
    struck = [a for a in document["actions"] if "2019-06-03" <= a["session"] <= "2019-07-31"]
    assert [action["kind"] for action in struck] == ["posture", "resume"]
    assert "return_21" in struck[0]["reason"]
    assert struck[0]["next_reply"]["posture"] == "NO_NEW_RISK"
    assert struck[1]["next_reply"]["posture"] == "NORMAL"
    honest = document["honest_replay"]["actions"]
    assert not [a for a in honest if "2019-06-03" <= a["session"] <= "2019-07-31"]


def test_every_session_was_scored_recorded_and_accounted_for(demo: tuple[Path, dict[str, Any]], cli: Cli) -> None:
    home, document = demo
    for replay in (document["replay"], document["honest_replay"]):
        assert (replay["sessions"], replay["ring_records_missed"], replay["sessions_without_scores"]) == (2012, 0, 0)
        assert set(replay["rates"]) == {"desk", "calibrated"}
    assert 0 < document["latency_us"]["p50"] <= document["latency_us"]["p99"]
    kinds = {action["kind"] for action in document["actions"]}
    assert kinds <= {"cut", "rollback", "posture", "resume"}
    audit = cli("audit", "verify", "--home", str(home), "--json")
    assert audit.document["head"] == document["audit"]["head"]
    (row,) = cli("status", "--home", str(home), "--json").document
    assert row["generation"] == document["generations"]
    for release in document["releases"]:
        report = (home / "releases" / release["digest"] / "report.html").read_text()
        assert "survivors" in report
        assert not re.search(r"""(src|href)\s*=\s*["']?https?:|@import|url\(https?:""", report)  # needs no network


def test_a_directory_that_is_not_the_demos_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = cli("demo", "--home", str(tmp_path))
    assert done.code == 64
    assert "expected an earlier demo's home or nothing" in done.err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
