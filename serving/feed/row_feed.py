"""What feeds a worker's tables beside Push: one protocol, and what became of the rows, as a value."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import msgspec


class FeedStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker's feed has done since the worker started.

    followed: feature sets that are read now; connected: how many of them have a connection that answers. rows: taken
    into the tables. repeated: rows that were in the tables already, as they are after a load. refused: rows not taken,
    by RowError. failures: connections that ended or did not come about, by error. reconnects: connections made after
    such a failure. reloads: times that the newest rows were loaded again because the stream no longer
    held what follows the last row read. lag_ns: how long the oldest row of the last answer had been in the stream when
    it was taken, by two clocks: Redis' in milliseconds, and this machine's.
    """

    followed: int = 0
    connected: int = 0
    rows: int = 0
    repeated: int = 0
    refused: dict[str, int] = {}
    failures: dict[str, int] = {}
    reconnects: int = 0
    reloads: int = 0
    lag_ns: int = 0


class RowFeed(Protocol):
    """Whatever brings rows into a worker's tables by itself."""

    async def follow(self, feature_sets: Collection[bytes]) -> None:
        """Reads these feature sets (ids of 32 bytes) from now on, and no other.

        Returns once the newest rows of each are in the tables, or could not be had at the first try: a worker serves
        without its feed.
        """
        ...

    def statistics(self) -> FeedStatistics:
        """What was done so far."""
        ...


class NoFeed:
    """The feed of a worker whose rows come by Push alone."""

    async def follow(self, feature_sets: Collection[bytes]) -> None:
        """Reads nothing."""

    def statistics(self) -> FeedStatistics:
        """Nothing was done."""
        return FeedStatistics()
