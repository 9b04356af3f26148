"""The slice: push rows, score by instrument, see weight, posture and release change in the next reply."""

from __future__ import annotations

from typing import Any

import numpy as np

from promotion.record import RingReader
from protos.client import AsyncClient, AsyncControlClient
from serving.host.hosting import Hosting
from serving.host.supervisor import serve


async def test_rows_pushed_are_scored_and_what_the_ledger_says_next_is_in_the_next_reply(desk: Any) -> None:
    older, newer = desk.releases
    async with (
        serve(desk.home, desk.config, Hosting(listen="127.0.0.1:0")) as supervisor,
        AsyncClient(*supervisor.addresses) as scorer,
        AsyncControlClient(supervisor.control) as control,
    ):
        empty = await scorer.score("large_caps")
        assert empty.status.tolist() == [1, 1, 1, 1]
        assert np.isnan(empty.scores).all()

        pushed = await control.push(desk.rows(0))
        assert (pushed.accepted, pushed.refused) == (4, ())
        score = await scorer.score("large_caps", ["CCC", "XXX", "AAA"])
        assert score.status.tolist() == [0, 2, 0]
        assert score.scores[[0, 2]].tolist() == [18.0, 6.0]
        assert score.weights.tolist() == [1.0, 0.0, 1.0]
        assert score.releases == (newer,)

        desk.rollout.set_weight("large_caps", 0.5, why="test", as_="alice")
        await control.sync(signal="large_caps", generation=score.generation + 1)
        halved = await scorer.score("large_caps", ["CCC"])
        assert (halved.weights.tolist(), halved.generation) == ([0.5], score.generation + 1)

        desk.rollout.rollback("large_caps", why="test", as_="alice")
        await control.sync()
        back = await scorer.score("large_caps", ["CCC"])
        assert (back.releases, back.scores.tolist()) == ((older,), [9.0])

        desk.rollout.set_posture("large_caps", "NO_NEW_RISK", why="test", as_="alice")
        await control.sync()
        careful = await scorer.score("large_caps", ["CCC"])
        assert (careful.posture, careful.scores.tolist()) == ("NO_NEW_RISK", [9.0])

        desk.rollout.halt("large_caps", why="test", as_="alice")
        await control.sync()
        halted = await scorer.score("large_caps", ["CCC"])
        assert (halted.posture, halted.status.tolist(), halted.weights.tolist()) == ("HALTED", [3], [0.0])
        assert np.isnan(halted.scores).all()
    with RingReader(desk.home.ring(0, "ab" * 32)) as ring:
        batch = ring.read()
        assert batch.missed == 0
        assert [ring.instruments[each["instrument"]] for each in batch.records] == ["CCC", "AAA", "CCC"]
        assert batch.records["score"].tolist() == [18.0, 6.0, 9.0]
