"""Workers that are replaced or killed under load: a client that sends a call once more loses none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from protos.client import AsyncClient
from serving.errors import WorkerFailed


async def test_neither_a_rolling_restart_nor_a_kill_loses_a_call(
    desk: Any, running: Any, under_load: Any, transport: str
) -> None:
    async with running(desk, workers=2, transport=transport) as here:
        await here.control.push(desk.rows(3))
        before, addresses = here.supervisor.pids, here.supervisor.addresses
        async with under_load(*addresses) as load:
            await here.supervisor.roll()
            rolled = here.supervisor.pids
            await here.kill_worker(0)
        assert load.failed == []
        assert load.answered > 100
        assert [posture_and_scores for _, *posture_and_scores in load.scores] == [["NORMAL", 6.0, 6.0]]
        assert here.supervisor.addresses == addresses
        assert not set(rolled) & set(before)
        assert [each.restarts for each in (await here.control.status()).workers] == [1, 0]
        for address in addresses:
            async with AsyncClient(address) as worker:
                assert (await worker.score("large_caps")).row_sequences.tolist() == [3, 3, 3, 3]


async def test_a_lone_worker_on_a_unix_socket_is_replaced_without_a_refused_call(
    desk: Any, running: Any, transport: str, tmp_path: Path
) -> None:
    listen = f"unix:{tmp_path}/scorer.sock"
    async with running(desk, transport=transport, listen=listen) as here:
        assert here.supervisor.addresses == (listen,)
        await here.control.push(desk.rows(0))
        rolling = asyncio.create_task(here.supervisor.roll())
        while not rolling.done():
            async with AsyncClient(listen, listen) as anew:
                assert (await anew.score("large_caps", ["CCC"])).status.tolist() == [0]
        await rolling
    assert await asyncio.to_thread(lambda: list(tmp_path.glob("scorer.sock*"))) == []


async def test_workers_share_a_port_on_request(desk: Any, running: Any, under_load: Any) -> None:
    async with running(desk, workers=2, transport="native", reuse_port=True) as here:
        (address,) = set(here.supervisor.addresses)
        async with under_load(address) as load:
            await here.supervisor.roll()
        assert load.failed == []


async def test_a_halt_during_a_rolling_restart_holds_in_every_process(desk: Any, running: Any) -> None:
    async with running(desk, workers=2) as here:
        await here.control.push(desk.rows(0))
        rolling = asyncio.create_task(here.supervisor.roll())
        await here.control.halt("large_caps", reason="now")
        while not rolling.done():
            assert await here.state() == ("HALTED", [3])
        await rolling
        for address in here.supervisor.addresses:
            async with AsyncClient(address) as worker:
                assert (await worker.score("large_caps", ["AAA"])).posture == "HALTED"


async def test_a_successor_that_cannot_serve_takes_no_calls(desk: Any, running: Any) -> None:
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        before = here.supervisor.pids
        model = desk.home.releases / desk.releases[1] / "model.onnx"
        model.chmod(0o644)
        model.write_bytes(model.read_bytes()[:-1] + b"\0")
        with pytest.raises(WorkerFailed, match="the present one stays"):
            await here.supervisor.roll()
        assert here.supervisor.pids == before
        assert await here.state() == ("NORMAL", [0])
