"""Halts that outlive their process: one small file, whole or not there at all.

HOME/halts/scorer.json      what `Control.Halt` latched: read by every supervisor of the home that starts
HOME/halts/worker-0.json    what was halted at worker 0's kill socket: read by every worker 0 that starts
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from promotion.home import Home
from serving.errors import HaltNotKept

EVERY = ""  # stands for every signal


class HaltFile:
    """The halts of one scorer or worker: signal (EVERY: all of them) → why it is halted.

    Each change is made under a lock of the folder: while a worker is replaced, two processes have its halts. Every
    method blocks: a loop calls it in a thread.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, str]:
        """What is halted. A file that cannot be read halts every signal: nobody knows what it held."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.DecodeError) as error:
            return {EVERY: f"{self.path}: expected the halts that were latched, found {error}; resume what may go on"}

    def add(self, signal: str, reason: str) -> None:
        """Keeps a halt. HaltNotKept when it cannot be written."""
        with self._changing() as halts:
            halts[signal] = reason

    def remove(self, signal: str) -> None:
        """Forgets a halt; EVERY forgets all of them. HaltNotKept when the file cannot be written."""
        with self._changing() as halts:
            halts.pop(signal, None)
            if signal == EVERY:
                halts.clear()

    @contextmanager
    def _changing(self) -> Iterator[dict[str, str]]:
        """The halts; what the block makes of them is on the disk when it ends."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)
                halts = self.read()
                yield halts
                _replace(self.path, msgspec.json.encode(halts, order="sorted"))
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise HaltNotKept(
                f"{self.path}: the change is in force here, but expected to be written, found {error}; a restart would "
                "not know of it: make room and repeat it, or use `signalbox halt`, which the ledger keeps"
            ) from error


def scorer_halts(home: Home) -> HaltFile:
    """What this home's supervisor latched."""
    return HaltFile(home.root / "halts" / "scorer.json")


def worker_halts(home: Home, worker: int) -> HaltFile:
    """What was halted at the kill socket of worker number `worker`."""
    return HaltFile(home.root / "halts" / f"worker-{worker}.json")


def _replace(path: Path, body: bytes) -> None:
    """Puts `body` at `path` in one step, on the disk before it is seen."""
    temporary = path.with_suffix(".new")
    with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
