"""What a scorer leaves in the rings: every scored row once per release, read from outside."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.clock import SystemClock
from features.row import FeatureRow, encode_row
from promotion.home import Home
from promotion.record import RingReader
from protos.signalbox.v1 import scorer_pb2
from serving.feature_table import FeatureTables
from serving.handlers.routes import Route
from serving.handlers.scorer import Scorer
from serving.recorder import RingRecorder
from serving.runtime.backend import LinearBackend, Model
from serving.runtime.engine import Engine
from serving.transport.call import AwaitedCall

SET_ID = bytes.fromhex("ab" * 32)
LIVE, SHADOW, KEY = "11" * 32, "22" * 32, b"k" * 32
NAMES = ("AAA", "BBB")


class Desk:
    """A scorer of x + 10 y whose shadow gives x, with a ring that a reader has open."""

    def __init__(self, home: Home, recorder: RingRecorder, tables: FeatureTables, models: dict[str, Model]) -> None:
        table = tables.table(SET_ID, 2)
        places = dict(zip(NAMES, table.slots(NAMES).tolist(), strict=True))
        route = Route("s", 7, "NORMAL", 0.5, LIVE, models, NAMES, {SET_ID: places}, shadow=(SHADOW,))
        self.tables = tables
        self.scorer = Scorer(Engine(), tables, recorder=recorder)
        self.scorer.swap({"s": route})
        self.reader = RingReader(home.ring(0, SET_ID.hex()))

    async def ask(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        """Asks all in one turn; the records that this has left, once the shadow is done too."""
        calls = [AwaitedCall(time.monotonic_ns()) for _ in requests]
        for call, facts in zip(calls, requests, strict=True):
            self.scorer.score(call, scorer_pb2.ScoreRequest(signal="s", **facts).SerializeToString())
        for call in calls:
            await call.reply
        for _ in range(5):
            await asyncio.sleep(0)
        batch = self.reader.read()
        assert batch.missed == 0
        names = ("release", "instrument", "status", "score", "values", "event_time_ns")
        return [{name: record[name].tolist() for name in names} for record in batch.records]


@pytest.fixture
async def desk(tmp_path: Path) -> Any:
    tables = FeatureTables({1: KEY}, SystemClock())
    home = Home(tmp_path)
    models = {
        digest: Model(digest, SET_ID, ("x", "y"), np.zeros(2, bool), LinearBackend(np.float32(weights)), 100.0)
        for digest, weights in ((LIVE, (1, 10)), (SHADOW, (1, 0)))
    }
    with RingRecorder(home, 0, tables, NAMES) as recorder:
        await asyncio.to_thread(recorder.prepare, models.values())
        made = Desk(home, recorder, tables, models)
        yield made
        made.reader.close()


def inline(*rows: tuple[float, float]) -> dict[str, Any]:
    return {"features": np.array(rows, "<f4").tobytes()}


def record(release: int, score: float, values: list[float], **more: Any) -> dict[str, Any]:
    facts = {"instrument": -1, "status": 0, "event_time_ns": 0}
    return {"release": release, "score": score, "values": values} | facts | more


@pytest.mark.parametrize("alone", [True, False])
async def test_inline_rows_are_recorded_with_what_each_release_made_of_them(desk: Desk, alone: bool) -> None:
    requests = [inline((1, 2)), inline((3, 4), (5, 6))]
    found = [each for request in requests for each in await desk.ask(request)] if alone else await desk.ask(*requests)
    rows = [([1, 2], 21, 1), ([3, 4], 43, 3), ([5, 6], 65, 5)]
    assert sorted(found, key=str) == sorted(
        [record(0, live, row) for row, live, _ in rows] + [record(1, shadow, row) for row, _, shadow in rows], key=str
    )


async def test_a_score_that_may_not_leave_is_recorded_as_refused_without_it(desk: Desk) -> None:
    live = [each for each in await desk.ask(inline((1, 2)), inline((50, 60))) if each["release"] == 0]
    assert [each["status"] for each in live] == [0, 3]
    assert live[0]["score"] == 21
    assert np.isnan(live[1]["score"])
    assert live[1]["values"] == [50, 60]


async def test_a_row_of_the_table_is_recorded_once_for_each_release(desk: Desk) -> None:
    now_ns = time.time_ns()
    row = FeatureRow(SET_ID, "BBB", now_ns - 5, now_ns, 0, now_ns + 10**12, np.array([1, 2], np.float32))
    assert not desk.tables.take([encode_row(row, key_id=1, key=KEY)]).refused
    about = {"instruments": ["BBB"]}
    facts = {"instrument": 1, "event_time_ns": now_ns - 5}
    assert await desk.ask(about, about) == [record(0, 21, [1, 2], **facts), record(1, 1, [1, 2], **facts)]
    assert await desk.ask(about) == []
