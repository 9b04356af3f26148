"""A real redis-server with the users of the docs, a wire to it that can be cut or held, and a feed from it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.clock import ReplayClock
from features.redis_connection import redis_connection
from features.redis_feed import AsyncRedisSender
from features.redis_server import RedisServer
from features.row import FeatureRow, encode_row
from loadtests.harness.redis_process import RedisProcess, redis_process
from serving.feature_table import FeatureTables, Rows
from serving.feed.redis_reader import RedisFeed, Timing, open_redis_feed
from serving.feed.row_feed import FeedStatistics

ROOT = Path(__file__).resolve().parents[3]
SET_ID = bytes.fromhex("ab" * 32)
KEY = b"k" * 32
DAY_NS = 86_400_000_000_000
FIRST_NS = 1_300_000_000_000_000_000
QUICK = Timing(
    connect_seconds=5.0, answer_seconds=5.0, block_seconds=0.1, first_pause_seconds=0.01, longest_pause_seconds=0.05
)  # waits little where nothing comes, and long where a busy machine is slow
READER, WRITER = "signalbox-reader", "signalbox-writer"
PASSWORDS = {READER: "READER-PASSWORD", WRITER: "WRITER-PASSWORD"}


def acl_lines() -> list[str]:
    """The users as the docs tell an operator to make them."""
    text = (ROOT / "docs" / "redis.md").read_text()
    return text.split("```acl\n")[1].split("```")[0].splitlines()


def redis_options() -> list[str]:
    durable = ["appendonly yes", "appendfsync always", "repl-diskless-sync-delay 0"]
    return [*acl_lines(), "user root on >root ~* +@all", *durable]


@dataclass
class Wire:
    """A TCP wire to a port: it can be cut (connections end, new ones find nobody) and held (bytes wait).

    hold_at: it holds by itself before these bytes, and sets `held`.
    """

    port: int
    at: int
    _server: asyncio.Server | None = None
    _ends: set[asyncio.StreamWriter] = field(default_factory=set)
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    hold_at: bytes = b""
    held: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.at}"

    async def mend(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.at)
        self.at = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for end in self._ends:
            end.transport.abort()
        self._open.set()

    def hold(self) -> None:
        self._open.clear()

    def let_go(self) -> None:
        self.hold_at = b""
        self._open.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, here = await asyncio.open_connection("127.0.0.1", self.port)
            self._ends |= {writer, here}
            await asyncio.gather(self._pump(reader, here), self._pump(there, writer))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                if self.hold_at and self.hold_at in data:
                    self.hold()
                    self.held.set()
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
        self._ends.discard(sink)


@dataclass
class Feeding:
    """A feed, its tables, and what one wants to see of both."""

    feed: RedisFeed
    tables: FeatureTables
    changes: list[None]

    def rows(self, *instruments: str) -> Rows:
        table = self.tables.table(SET_ID, 3)
        return table.rows(table.slots(instruments or ("AAA",)))

    def sequences(self, *instruments: str) -> list[int]:
        return self.rows(*instruments).sequences.tolist()

    async def until(self, holds: Callable[[FeedStatistics], bool]) -> FeedStatistics:
        try:
            async with asyncio.timeout(20):
                await self.feed.until(holds)
        except TimeoutError:
            pytest.fail(f"still {self.feed.statistics()} after 20 s")
        return self.feed.statistics()

    async def until_sequence(self, sequence: int, instrument: str = "AAA") -> FeedStatistics:
        return await self.until(lambda _: self.sequences(instrument) == [sequence])


Encoded = Callable[..., bytes]
Open = Callable[..., AbstractAsyncContextManager[Feeding]]
Push = Callable[..., Awaitable[None]]
Root = Callable[..., Awaitable[Any]]


@pytest.fixture
def encoded() -> Encoded:
    """An encoded row: known a day later with each sequence, valid for a day, its values the sequence."""

    def encoded(instrument: str = "AAA", sequence: int = 0, key: bytes = KEY, **changes: Any) -> bytes:
        known_ns = FIRST_NS + sequence * DAY_NS
        facts: dict[str, Any] = {
            "feature_set_id": SET_ID,
            "event_time_ns": known_ns - 60,
            "knowledge_time_ns": known_ns,
            "valid_until_ns": known_ns + DAY_NS,
            "values": np.full(3, sequence, np.float32),
        }
        row = FeatureRow(instrument=instrument, sequence=sequence, **(facts | changes))
        return encode_row(row, key_id=1, key=key)

    return encoded


@pytest.fixture
def feeding() -> Open:
    """Opens a feed of SET_ID from the Redis at a URL, as the reader of the docs."""

    @asynccontextmanager
    async def feeding(url: str, *, follow: bool = True, timing: Timing = QUICK, **login: Any) -> AsyncIterator[Feeding]:
        tables = FeatureTables({1: KEY}, ReplayClock("replay"))
        tables.table(SET_ID, 3)
        changes: list[None] = []
        server = RedisServer(url, **({"user": READER, "password": PASSWORDS[READER]} | login))
        async with open_redis_feed(tables, lambda: server, changed=lambda: changes.append(None), timing=timing) as feed:
            if follow:
                await feed.follow([SET_ID])
            yield Feeding(feed, tables, changes)

    return feeding


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a Unix socket's name."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def redis(short_path: Path) -> Iterator[RedisProcess]:
    """The users of the docs, and `root` for what tests do to it; what it acknowledged outlives it."""
    (short_path / "here").mkdir()
    with redis_process(short_path / "here", redis_options()) as redis:
        yield redis


@pytest.fixture
def elsewhere(short_path: Path) -> Iterator[RedisProcess]:
    """A second one, with the same users."""
    (short_path / "there").mkdir()
    with redis_process(short_path / "there", redis_options()) as redis:
        yield redis


@pytest.fixture
async def wire(redis: RedisProcess) -> AsyncIterator[Wire]:
    wire = Wire(redis.port, 0)
    await wire.mend()
    yield wire
    wire.cut()


@pytest.fixture
def push(redis: RedisProcess) -> Push:
    """Writes rows as the writer of the docs; every one must be taken."""

    async def push(rows: Sequence[bytes], stream_rows: int = 10_000, url: str = redis.url) -> None:
        server = RedisServer(url, user=WRITER, password=PASSWORDS[WRITER])
        async with AsyncRedisSender(server, stream_rows=stream_rows) as sender:
            assert (await sender.push(rows)).refused == ()

    return push


@pytest.fixture
def root(redis: RedisProcess) -> Root:
    """What an operator, or an attacker, may do to Redis."""

    async def ask(*command: bytes | str | int, url: str = redis.url) -> Any:
        async with redis_connection(RedisServer(url, user="root", password="root")) as connection:
            return await connection.ask(*command)

    return ask
