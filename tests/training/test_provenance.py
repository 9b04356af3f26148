"""Which code, which environment: two checkouts of one commit say the same, a changed one says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from training.errors import TrainingError
from training.provenance import read_provenance


def git(root: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.invalid")
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "requirements.lock").write_text("numpy==2.4.6\n")
    (tmp_path / "code.py").write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_clean_checkout_says_its_commit(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    stated = read_provenance(checkout)
    assert len(stated.commit) == 40
    clone = tmp_path_factory.mktemp("clone") / "elsewhere"
    git(checkout, "clone", "-q", str(checkout), str(clone))
    assert read_provenance(clone) == stated


def test_uncommitted_changes_change_it(checkout: Path) -> None:
    clean = read_provenance(checkout)
    (checkout / "code.py").write_text("x = 2\n")
    changed = read_provenance(checkout)
    assert changed.commit.startswith(clean.commit + "+")
    (checkout / "code.py").write_text("x = 3\n")
    assert read_provenance(checkout) != changed


def test_another_lock_file_changes_it(checkout: Path) -> None:
    before = read_provenance(checkout).lock_hash
    (checkout / "requirements.lock").write_text("numpy==2.4.7\n")
    assert read_provenance(checkout).lock_hash != before


def test_a_hook_s_environment_does_not_name_another_repository(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    stated = read_provenance(checkout)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert read_provenance(checkout) == stated


def test_outside_git_the_source_itself_is_hashed(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "code.py").write_text("x = 1\n")
    first = read_provenance(tmp_path)
    assert first.commit.startswith("source+")
    (tmp_path / "training" / "code.py").write_text("x = 2\n")
    assert read_provenance(tmp_path) != first


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"requirements\.lock, found none"):
        read_provenance(tmp_path)
    (tmp_path / "requirements.lock").write_text("")
    (tmp_path / ".git").mkdir()
    with pytest.raises(TrainingError, match="expected Git to name the commit"):
        read_provenance(tmp_path)
