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
    """commit: 40 hex digits, with `+` and the hash of uncommitted changes where there are any. lock_hash: SHA-256."""

    commit: str
    lock_hash: str


def read_provenance(root: Path) -> Provenance:
    """The provenance of the checkout at `root`. Raises TrainingError where there is no Git or no lock file."""
    lock = root / LOCK_FILE
    if not lock.is_file():
        raise TrainingError(f"expected {lock}, found none; run from a checkout that has its lock file")
    commit = _git(root, "rev-parse", "HEAD").decode().strip()
    changes = _git(root, "diff", "HEAD", "--binary")
    if changes:
        commit += f"+{hashlib.sha256(changes).hexdigest()[:12]}"
    return Provenance(commit, hashlib.sha256(lock.read_bytes()).hexdigest())


def _git(root: Path, *arguments: str) -> bytes:
    try:
        # S603, S607: the arguments are fixed; Git is found where the user has it
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.CalledProcessError) as error:
        raise TrainingError(f"expected a Git checkout at {root}, found none ({error}); state the commit") from error
    return done.stdout
