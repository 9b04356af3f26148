"""The outside project of the documentation, installed into a folder of its own and run as its README says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "outside"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the project was installed into."""
    folder = tmp_path_factory.mktemp("outside")
    source = shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    target = folder / "installed"
    command = ["uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
    where = ["--python", sys.executable, "--target", str(target), str(source)]
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([str(uv), *command[1:], *where], check=True, capture_output=True, timeout=120)
    return target


def run_python(installed: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_feature_and_trainer_are_found_by_entry_point(installed: Path) -> None:
    said = run_python(
        installed,
        "-c",
        "from features.registry import available\n"
        "from training.trainer import load_trainer\n"
        "print(available()['distance_from_low_63'].owner, type(load_trainer('correlation')).__name__)",
    )
    assert said.split() == ["outside-research", "CorrelationTrainer"]


def test_the_walkthrough_gives_two_releases(installed: Path, tmp_path: Path) -> None:
    trained, handed = json.loads(run_python(installed, "-m", "outside_research.walkthrough", str(tmp_path / "home")))
    assert (trained["trials"], handed["trials"]) == ("counted", "declared")
    for release in (trained, handed):
        folder = tmp_path / "home" / "releases" / release["digest"]
        assert (folder / "report.html").is_file()
        manifest = json.loads((folder / "manifest.json").read_text())
        assert [column["name"] for column in manifest["features"]] == [
            "return_5",
            "volatility_21",
            "distance_from_low_63",
        ]


def test_without_the_project_its_names_are_unknown() -> None:
    from features.registry import available
    from training.trainer import available as trainers

    assert "distance_from_low_63" not in available()
    assert "correlation" not in trainers()


def test_the_readme_names_what_is_there() -> None:
    readme = (EXAMPLE / "README.md").read_text()
    for path in ("features.py", "correlation.py", "walkthrough.py"):
        assert f"outside_research/{path}" in readme
        assert (EXAMPLE / "outside_research" / path).is_file()
