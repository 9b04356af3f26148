"""Whole scorers fed by Redis: their workers read it themselves, begin with its newest rows, and serve on without it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from features.redis_feed import latest_key, stream_key
from loadtests.harness.redis_process import RedisProcess
from promotion.config import Config, ConfigError, Redis
from protos.client import AsyncClient, AsyncControlClient
from protos.errors import Unreachable
from protos.score import OK, STALE, Score
from serving.feed.row_feed import FeedStatistics
from serving.host.hosting import Hosting
from serving.host.supervisor import Supervisor, serve

if TYPE_CHECKING:
    from tests.serving.feed.conftest import Push, Root

SET_ID = bytes.fromhex("ab" * 32)


class Running:
    """A scorer, and a client of each worker."""

    def __init__(self, supervisor: Supervisor, workers: list[AsyncClient]) -> None:
        self.supervisor = supervisor
        self.workers = workers

    async def until(self, sequences: list[int], *instruments: str) -> list[Score]:
        """What each worker answers once it shows rows of these sequences."""
        async with asyncio.timeout(20):
            return [await self._until(worker, sequences, instruments) for worker in self.workers]

    async def _until(self, worker: AsyncClient, sequences: list[int], instruments: tuple[str, ...]) -> Score:
        while True:
            with suppress(Unreachable):  # a worker that was killed is on its way back
                score = await worker.score("large_caps", instruments)
                if score.row_sequences.tolist() == sequences:
                    return score

    async def feeds(self) -> list[FeedStatistics]:
        return [each.statistics.feed for each in (await self.supervisor.view()).workers]


@asynccontextmanager
async def running(desk: Any, config: Config, workers: int = 1) -> AsyncIterator[Running]:
    async with AsyncExitStack() as owned:
        hosting = Hosting(listen="127.0.0.1:0", workers=workers)
        supervisor = await owned.enter_async_context(serve(desk.home, config, hosting))
        clients = [await owned.enter_async_context(AsyncClient(address)) for address in supervisor.addresses]
        yield Running(supervisor, clients)


@pytest.fixture
def config(desk: Any, redis: RedisProcess) -> Config:
    """The desk's configuration with a Redis, its reader's password in a file of the home."""
    password = desk.home.keys / "redis-reader.password"
    password.touch(mode=0o600)
    password.write_text("READER-PASSWORD\n")
    table = Redis(url=redis.tcp_url, user="signalbox-reader", password_file="keys/redis-reader.password")
    return msgspec.structs.replace(desk.config, redis=table)


async def test_every_worker_reads_for_itself_and_begins_with_the_newest_rows(
    desk: Any, config: Config, redis: RedisProcess, push: Push
) -> None:
    await push(desk.rows(1))
    async with running(desk, config, workers=2) as here:
        for worker in here.workers:
            assert (await worker.score("large_caps")).row_sequences.tolist() == [1] * 4, "there before the first call"
        await push(desk.rows(2))
        for score in await here.until([2] * 4):
            assert (score.scores.tolist(), set(score.status)) == ([6.0, 12.0, 18.0, 24.0], {OK})
        os.kill(here.supervisor.pids[0], signal.SIGKILL)
        await push(desk.rows(3))
        await here.until([3] * 4)
        assert [(said.followed, said.connected, said.refused) for said in await here.feeds()] == [(1, 1, {})] * 2


async def test_a_scorer_serves_without_redis_what_it_knows_until_that_runs_out(
    desk: Any, config: Config, redis: RedisProcess, push: Push
) -> None:
    redis.kill()
    async with running(desk, config) as here, AsyncControlClient(here.supervisor.control) as control:
        assert set((await here.workers[0].score("large_caps")).status) == {STALE}, "it has started all the same"
        redis.start()
        await push(desk.rows(1))
        await here.until([1] * 4)
        redis.kill()
        assert set((await here.workers[0].score("large_caps")).status) == {OK}
        await control.push(desk.rows(3, instruments=("DDD",)))  # two days later, by another way
        (score,) = await here.until([1, 3], "AAA", "DDD")
        assert score.status.tolist() == [STALE, OK]
        assert np.isnan(score.scores[0])
        redis.start()
        await push(desk.rows(4))
        (score,) = await here.until([4] * 4)
        assert set(score.status) == {OK}


async def test_neither_a_bad_row_nor_an_older_one_reaches_a_score(
    desk: Any, config: Config, push: Push, root: Root
) -> None:
    await push(desk.rows(5))
    async with running(desk, config) as here:
        good = desk.rows(6)[0]
        for bad in (good[:-1] + b"\0", good[:60], b"\1garbage"):
            await root("XADD", stream_key(SET_ID), "*", "row", bad)
            await root("HSET", latest_key(SET_ID), "AAA", bad)
        await push(desk.rows(6, instruments=("DDD",)))
        await here.until([5, 6], "AAA", "DDD")
        (said,) = await here.feeds()
        assert (said.rows, said.refused) == (5, {"RowForgedError": 1, "RowTruncatedError": 2})

        await root("FLUSHALL")
        await push(desk.rows(4, np.full((4, 3), 99.0)))
        await push(desk.rows(8, instruments=("DDD",)))
        (score,) = await here.until([5, 8], "AAA", "DDD")
        assert score.status.tolist() == [STALE, OK], "not the older row: none"
        (said,) = await here.feeds()
        assert said.refused["RowWentBack"] >= 4


async def test_a_password_that_cannot_be_read_is_told_at_the_start(desk: Any, config: Config) -> None:
    (desk.home.keys / "redis-reader.password").chmod(0o644)
    with pytest.raises(ConfigError, match="expected mode 0600, found 0644"):
        async with running(desk, config):
            pass
