"""The ledger, read from a loop: one thread of its own, every entry verified, nothing written (design D7, D14)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from promotion.config import Environment
from promotion.errors import LedgerUnreadable
from promotion.home import Home
from promotion.ledger.state import LedgerState
from promotion.ledger.store import SqliteLedger


class LedgerFollower:
    """Follows the ledger of `home`. Owned by an `async with`; `state` may be called again after any error."""

    def __init__(self, home: Home, environment: Environment) -> None:
        self._path = home.ledger
        self._environment = environment
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")  # SQLite's connection stays in one thread
        self._ledger: SqliteLedger | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)  # it is idle: its last work is done

    async def state(self) -> LedgerState:
        """What the ledger says now; only new entries are read and verified.

        LedgerUnreadable when there is no file or it cannot be read, BrokenChain when an entry is not what it should be.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read)

    def _read(self) -> LedgerState:
        try:
            if self._ledger is None:
                self._ledger = SqliteLedger(self._path, read_only=True, environment=self._environment).__enter__()
            return self._ledger.state()
        except LedgerUnreadable:
            self._close()
            raise

    def _close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None
