"""The Redis stream of a feature set, tailed into the feature tables of one worker (design D14).

    note the stream's last id → load the hash → read from the noted id on, again and again

Stream and hash are those of `features.redis_feed`.

From time to time the reader asks whether the entry that it read from is still there: after every read that came full,
for only who lags can be overtaken by a trim, and once a second. Streams are trimmed from their oldest entry on, so
while that one stands nothing behind it was missed; when it is gone (trimmed, flushed, lost by a failover) the hash is
loaded again. A lost connection is made anew for ever, with a bounded back-off; what it left unproven is proven then.
Meanwhile the tables serve what they have, each row until it runs out: no row leaves them for an older one.

One connection a feature set, so that a key of another type under one name stops no other.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from features.errors import FeedAnswerError, FeedError, RowError
from features.redis_connection import RedisConnection, redis_connection
from features.redis_feed import ROW_FIELD, latest_key, stream_key
from features.redis_server import RedisServer
from features.row import SET_ID
from promotion.config import ConfigError
from serving.feature_table import FeatureTables, RowRepeated, RowWentBack, Taken
from serving.feed.row_feed import FeedStatistics

LOG = logging.getLogger("signalbox.feed")

FIRST_LOAD_SECONDS = 10.0  # how long `follow` waits for a slow Redis; a supervisor gives a worker 30 s to acknowledge
_SLICE_ROWS = 32  # rows read and taken before other work gets its turn: about a millisecond
_NOTHING = (0, 0)  # below every id of a stream
_NS_PER_MS = 1_000_000

Login = Callable[[], RedisServer]
Id = tuple[int, int]  # of a stream's entry: milliseconds by Redis' clock, number within them


class RowOfAnotherSet(RowError):
    """The row's feature set is not the one whose stream it lies in."""


@dataclass(frozen=True)
class Timing:
    """How patient a reader is.

    connect_seconds: for a connection. answer_seconds: for each answer. block_seconds: how long Redis holds a read when
    nothing is new, which is also how often an idle connection is proven alive; less than `answer_seconds`.
    first_pause_seconds doubles with each failure up to longest_pause_seconds, before a new connection.
    """

    connect_seconds: float = 1.0
    answer_seconds: float = 2.0
    block_seconds: float = 1.0
    first_pause_seconds: float = 0.05
    longest_pause_seconds: float = 2.0

    def pause_seconds(self, failures: int) -> float:
        """How long to wait after so many failures in a row; spread out, so that workers do not come back as one."""
        doubled = self.first_pause_seconds * 2.0 ** min(failures - 1, 16)
        return min(self.longest_pause_seconds, doubled) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


@dataclass(slots=True)
class FeedCounts:
    """Counted by every reader of a feed; see FeedStatistics."""

    rows: int = 0
    repeated: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    reloads: int = 0
    lag_ns: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)  # set whenever one of these changed


class RedisReader:
    """Keeps the rows of one feature set in step with its stream, by `run`.

    login: where Redis is and as whom; asked in a thread before every connection, so that a new password is taken up.
    changed: told in the turn of the loop that took rows. tried: whether the first attempt has ended, either way.
    """

    def __init__(
        self,
        feature_set_id: bytes,
        *,
        tables: FeatureTables,
        login: Login,
        counts: FeedCounts,
        changed: Callable[[], None],
        timing: Timing,
        now_ns: Callable[[], int],
    ) -> None:
        self.tried = False
        self.connected = False
        self._feature_set_id = feature_set_id
        self._stream, self._latest = stream_key(feature_set_id), latest_key(feature_set_id)
        self._tables = tables
        self._login = login
        self._counts = counts
        self._changed = changed
        self._timing = timing
        self._now_ns = now_ns
        self._loaded = False
        self._lost = False
        self._position: Id = _NOTHING  # the next read begins behind it
        self._proven: Id = _NOTHING  # up to here nothing was missed
        self._proven_at = 0.0  # when that was last looked at, by the loop's clock
        self._overlap: Id = _NOTHING  # up to here the stream may repeat what the hash already gave

    async def run(self) -> None:
        """Keeps up until it is cancelled, whatever Redis does."""
        failures = 0
        while True:
            try:
                async with self._connection() as connection:
                    if not self._loaded:
                        await self._load(connection)
                    failures = 0
                    self._in_touch()
                    while True:
                        await self._follow(connection)
            except (FeedError, ConfigError) as error:
                self._out_of_touch(error)
            failures += 1
            await asyncio.sleep(self._timing.pause_seconds(failures))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[RedisConnection]:
        server = await asyncio.to_thread(self._login)
        timing = self._timing
        async with redis_connection(
            server, connect_seconds=timing.connect_seconds, answer_seconds=timing.answer_seconds
        ) as connection:
            try:
                yield connection
            finally:
                self.connected = False

    async def _follow(self, connection: RedisConnection) -> None:
        """One read from the position on, and now and then the proof that nothing was missed."""
        entries = await self._read(connection)
        await self._take_entries(entries)
        overdue = asyncio.get_running_loop().time() - self._proven_at >= self._timing.block_seconds
        if overdue or len(entries) == _SLICE_ROWS:
            await self._prove(connection)

    async def _prove(self, connection: RedisConnection) -> None:
        """Makes sure that nothing was missed up to the position: by proof, or by loading again."""
        if self._position == _NOTHING:
            return  # a stream without an entry has lost none
        if await self._holds(connection, self._proven):
            self._proven, self._proven_at = self._position, asyncio.get_running_loop().time()
        else:
            await self._load(connection)

    async def _load(self, connection: RedisConnection) -> None:
        """Notes the stream's last id and loads the hash, slice by slice."""
        noted = await self._last_id(connection)
        cursor = b"0"
        while True:
            answer = await connection.ask("HSCAN", self._latest, cursor, "COUNT", _SLICE_ROWS)
            cursor, rows = _scanned(answer)
            await self._take(rows)
            if cursor == b"0":
                break
        self._overlap = await self._last_id(connection)
        self._position = self._proven = noted
        self._proven_at = asyncio.get_running_loop().time()
        self._counts.reloads += self._loaded
        self._loaded = True
        self._counts.moved.set()

    async def _read(self, connection: RedisConnection) -> list[tuple[Id, bytes]]:
        """What came after the position, at most a slice; empty when nothing did within `block`."""
        block_ms = max(1, round(self._timing.block_seconds * 1000))
        at = _text(self._position)
        answer = await connection.ask("XREAD", "COUNT", _SLICE_ROWS, "BLOCK", block_ms, "STREAMS", self._stream, at)
        return [] if answer is None else _entries(answer.get(self._stream) if isinstance(answer, dict) else answer)

    async def _last_id(self, connection: RedisConnection) -> Id:
        entries = _entries(await connection.ask("XREVRANGE", self._stream, "+", "-", "COUNT", 1))
        return entries[0][0] if entries else _NOTHING

    async def _holds(self, connection: RedisConnection, at: Id) -> bool:
        """Whether the stream still has the entry `at`: then all that came behind it is there."""
        return at != _NOTHING and bool(_entries(await connection.ask("XRANGE", self._stream, _text(at), _text(at))))

    async def _take_entries(self, entries: Sequence[tuple[Id, bytes]]) -> None:
        if not entries:
            return
        self._counts.lag_ns = max(0, self._now_ns() - entries[0][0][0] * _NS_PER_MS)
        self._position = entries[-1][0]
        await self._take([row for at, row in entries if at <= self._overlap], overlapping=True)
        await self._take([row for at, row in entries if at > self._overlap])

    async def _take(self, rows: Sequence[bytes], *, overlapping: bool = False) -> None:
        for start in range(0, len(rows), _SLICE_ROWS):
            self._take_slice(rows[start : start + _SLICE_ROWS], overlapping=overlapping)
            await asyncio.sleep(0)

    def _take_slice(self, rows: Sequence[bytes], *, overlapping: bool) -> None:
        own = [row for row in rows if row[SET_ID] == self._feature_set_id or len(row) < SET_ID.stop]
        if len(own) < len(rows):
            self._refuse(
                RowOfAnotherSet.__name__, f"expected rows of {self._stream.decode()} alone", len(rows) - len(own)
            )
        self._count(self._tables.take(own), overlapping=overlapping)

    def _count(self, taken: Taken, *, overlapping: bool) -> None:
        for refusal in taken.refused:
            if refusal.error == RowRepeated.__name__ or (overlapping and refusal.error == RowWentBack.__name__):
                self._counts.repeated += 1
            else:
                self._refuse(refusal.error, refusal.reason)
        self._counts.rows += taken.accepted
        self._counts.moved.set()
        if taken.accepted:
            self._changed()

    def _refuse(self, error: str, reason: str, rows: int = 1) -> None:
        if error not in self._counts.refused:
            LOG.warning("rows from Redis are refused, the first as %s: %s", error, reason)
        self._counts.refused[error] += rows

    def _in_touch(self) -> None:
        self.tried = self.connected = True
        if self._lost:
            self._counts.reconnects += 1
            LOG.warning("%s: Redis answers again", self._stream.decode())
        self._lost = False
        self._counts.moved.set()

    def _out_of_touch(self, error: Exception) -> None:
        self._counts.failures[type(error).__name__] += 1
        if not self._lost:
            LOG.error("%s is not followed, what was known is served on: %s", self._stream.decode(), error)
        self.tried = self._lost = True
        self._counts.moved.set()


class RedisFeed:
    """The readers of one worker. Owned by `open_redis_feed`."""

    def __init__(
        self,
        tables: FeatureTables,
        login: Login,
        tasks: asyncio.TaskGroup,
        *,
        changed: Callable[[], None],
        timing: Timing,
        now_ns: Callable[[], int],
    ) -> None:
        self._counts = FeedCounts()
        self._new_reader = partial(
            RedisReader, tables=tables, login=login, counts=self._counts, changed=changed, timing=timing, now_ns=now_ns
        )
        self._tasks = tasks
        self._readers: dict[bytes, tuple[RedisReader, asyncio.Task[None]]] = {}

    async def follow(self, feature_sets: Collection[bytes]) -> None:
        """See RowFeed.follow."""
        for feature_set_id in set(self._readers) - set(feature_sets):
            self._readers.pop(feature_set_id)[1].cancel()
        for feature_set_id in sorted(set(feature_sets) - set(self._readers)):
            reader = self._new_reader(feature_set_id)
            self._readers[feature_set_id] = (reader, self._tasks.create_task(reader.run()))
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_LOAD_SECONDS):
                await self.until(lambda _: all(reader.tried for reader, _ in self._readers.values()))

    def statistics(self) -> FeedStatistics:
        """See FeedStatistics."""
        counts = self._counts
        return FeedStatistics(
            followed=len(self._readers),
            connected=sum(reader.connected for reader, _ in self._readers.values()),
            rows=counts.rows,
            repeated=counts.repeated,
            refused=dict(counts.refused),
            failures=dict(counts.failures),
            reconnects=counts.reconnects,
            reloads=counts.reloads,
            lag_ns=counts.lag_ns,
        )

    async def until(self, holds: Callable[[FeedStatistics], bool]) -> None:
        """Waits until the statistics are as `holds` wants them."""
        while not holds(self.statistics()):
            self._counts.moved.clear()
            await self._counts.moved.wait()

    def stop(self) -> None:
        """Reads nothing more; connections are dropped."""
        for _, task in self._readers.values():
            task.cancel()


@asynccontextmanager
async def open_redis_feed(
    tables: FeatureTables,
    login: Login,
    *,
    changed: Callable[[], None],
    timing: Timing | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> AsyncIterator[RedisFeed]:
    """A feed into `tables` that follows nothing yet. Its readers end when the block is left.

    login: where Redis is and as whom; it may read files. changed: told when rows were taken. now_ns: UTC, for the lag.
    """
    async with asyncio.TaskGroup() as tasks:
        feed = RedisFeed(tables, login, tasks, changed=changed, timing=timing or Timing(), now_ns=now_ns)
        try:
            yield feed
        finally:
            feed.stop()


def _entries(answer: Any) -> list[tuple[Id, bytes]]:
    """Id and row of each entry; an entry without a row has an empty one, which is no row."""
    try:
        return [(_id(at), _row(fields)) for at, fields in answer]
    except (TypeError, ValueError, AttributeError) as error:
        raise _unexpected("entries of a stream", answer) from error


def _scanned(answer: Any) -> tuple[bytes, list[bytes]]:
    """Cursor and rows of one step over a hash."""
    try:
        cursor, flat = answer
        return str(int(cursor)).encode(), [_bytes(row) for row in flat[1::2]]
    except (TypeError, ValueError) as error:
        raise _unexpected("a step over a hash", answer) from error


def _row(fields: Sequence[Any]) -> bytes:
    values = (value for name, value in zip(fields[::2], fields[1::2], strict=True) if name == ROW_FIELD)
    return _bytes(next(values, b""))


def _bytes(value: Any) -> bytes:
    """`value`; what is no byte string is an empty one, which the tables refuse as no row."""
    return value if isinstance(value, bytes) else b""


def _id(text: bytes) -> Id:
    milliseconds, _, number = text.partition(b"-")
    return int(milliseconds), int(number)


def _text(at: Id) -> str:
    return f"{at[0]}-{at[1]}"


def _unexpected(expected: str, answer: Any) -> FeedAnswerError:
    return FeedAnswerError(f"redis: expected {expected}, found {type(answer).__name__}; what listens there?")
