"""Which code and which locked environment made something: the commit, and the hash of the lock file."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from training.errors import TrainingError

LOCK_FILE = "requirements.lock"


@dataclass(frozen=True)
class Provenance:
    """What code, in what environment.

    commit: 40 hex digits, with `+` and the hash of uncommitted changes where there are any; outside a Git checkout
    `source+` and the hash of every Python file. lock_hash: SHA-256 of the lock file.
    """

    commit: str
    lock_hash: str


def read_provenance(root: Path) -> Provenance:
    """The provenance of the code at `root`. Raises TrainingError where there is no lock file, or Git fails."""
    lock = root / LOCK_FILE
    if not lock.is_file():
        raise TrainingError(f"expected {lock}, found none; run from a checkout that has its lock file")
    commit = _commit(root) if (root / ".git").exists() else _source(root)
    return Provenance(commit, hashlib.sha256(lock.read_bytes()).hexdigest())


def _commit(root: Path) -> str:
    commit = _git(root, "rev-parse", "HEAD").decode().strip()
    changes = _git(root, "diff", "HEAD", "--binary", "--no-ext-diff")
    return f"{commit}+{hashlib.sha256(changes).hexdigest()[:12]}" if changes else commit


def _source(root: Path) -> str:
    hashed = hashlib.sha256()
    for path in sorted(root.glob("[a-z]*/**/*.py")):
        hashed.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return f"source+{hashed.hexdigest()[:40]}"


def _git(root: Path, *arguments: str) -> bytes:
    # the repository is named outright: inside a Git hook the environment may name another one
    where = [f"--git-dir={root / '.git'}", f"--work-tree={root}"]
    try:
        # S603, S607: the arguments are fixed; Git is found where the user has it
        done = subprocess.run(["git", *where, *arguments], capture_output=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError) as error:
        raise TrainingError(
            f"expected Git to name the commit of {root}, found {error}; install or repair it"
        ) from error
    return done.stdout
