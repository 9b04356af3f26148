"""Progress of long work on stderr: numbered steps, and a counter that overwrites itself on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


class Progress:
    """Prints steps as they start and end. `quiet` prints nothing (for tests)."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._start = perf_counter()

    @property
    def seconds(self) -> float:
        """Wall seconds since the start."""
        return perf_counter() - self._start

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A step: its title before, its duration after."""
        self._say(f"[{self.seconds:6.1f} s] {title}")
        start = perf_counter()
        yield
        self._say(f"           done in {perf_counter() - start:.1f} s")

    def fact(self, text: str) -> None:
        """A figure worth reading while it runs."""
        for line in text.splitlines():
            self._say(f"           {line}")

    def count(self, what: str, done: int, total: int) -> None:
        """How far a long step is; on a terminal in place, otherwise every tenth."""
        if self._quiet:
            return
        if self._terminal:
            print(f"\r           {what} {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        elif done % max(1, total // 5) == 0:
            self._say(f"           {what} {done}/{total}")

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)
