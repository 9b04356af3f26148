"""Calls that wait for something to change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Watchers:
    """Calls that wait, each for an event of its own. Lives as long as what they watch."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def watching(self) -> Iterator[asyncio.Event]:
        """One more for as long as the block runs: its event, which it clears before it looks."""
        changed = asyncio.Event()
        self._waiting.add(changed)
        try:
            yield changed
        finally:
            self._waiting.discard(changed)

    def wake(self) -> None:
        """Something changed."""
        for changed in self._waiting:
            changed.set()
