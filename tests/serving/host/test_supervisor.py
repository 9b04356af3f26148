"""The supervisor: halts that hold, ledgers that cannot be read, proofs that nobody waits for, workers that hang."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from promotion.errors import BrokenChain
from promotion.release.child import prove_in_child
from protos.client import AsyncClient, AsyncControlClient
from protos.errors import Rejected, Unreachable
from serving.errors import ListenRefused
from serving.host.follower import LedgerFollower
from serving.host.halts import scorer_halts
from serving.host.hosting import Hosting
from serving.host.kill import kill_path
from serving.host.proofs import Principals
from serving.host.supervisor import Place, supervise

HALTED = ("HALTED", [3])


async def test_a_halt_is_latched_whatever_dies_and_whatever_the_ledger_says(desk: Any, running: Any) -> None:
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        generation = (await here.scorer.score("large_caps")).generation
        assert await here.control.halt("large_caps", reason="fat finger") == ("large_caps",)
        assert await here.state() == HALTED
        # not in the ledger yet: replies carry the generation that it will be
        assert (await here.scorer.score("large_caps")).generation == generation + 1
        await here.control.sync()
        assert await here.state() == HALTED
        await here.kill_worker()
        assert await here.state() == HALTED
        (view,) = (await here.control.status()).signals
        assert (view.latched, view.reason) == (True, "fat finger")
    async with running(desk) as restarted:  # the supervisor too
        await restarted.control.push(desk.rows(0))
        assert await restarted.state() == HALTED
        assert (await restarted.scorer.score("large_caps")).generation == generation + 1
        (view,) = (await restarted.control.status()).signals
        assert (view.latched, view.reason) == (True, "fat finger")
        assert await restarted.control.resume("large_caps") == ("large_caps",)
        assert await restarted.state() == ("NORMAL", [0])
        assert await asyncio.to_thread(scorer_halts(desk.home).read) == {}
        desk.rollout.halt("large_caps", why="test", as_="alice")
        await restarted.control.sync()
        await restarted.control.resume()
        assert await restarted.state() == HALTED, "what the ledger halted stays halted"


async def test_a_halt_that_cannot_be_written_down_is_in_force_and_told(desk: Any, running: Any) -> None:
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        await asyncio.to_thread((desk.home.root / "halts").write_text, "a file where the folder should be")
        with pytest.raises(Unreachable, match="is in force here, but expected to be written"):
            await here.control.halt("large_caps", reason="fat finger")
        assert await here.state() == HALTED


async def test_each_worker_can_be_halted_without_its_supervisor(desk: Any, running: Any) -> None:
    async with running(desk, workers=2) as here:
        await here.control.push(desk.rows(0))
        reader, writer = await asyncio.open_unix_connection(kill_path(desk.home, 1))
        writer.write(b"halt large_caps\n")
        assert await reader.readline() == b"halted large_caps\n"
        writer.close()
        first, second = here.supervisor.addresses
        async with AsyncClient(first) as one, AsyncClient(second) as other:
            assert (await one.score("large_caps", ["CCC"])).status.tolist() == [0]
            assert (await other.score("large_caps", ["CCC"])).status.tolist() == [3]
            await here.control.sync()
            assert (await other.score("large_caps", ["CCC"])).status.tolist() == [3]
            await here.kill_worker(1)
            assert (await other.score("large_caps", ["CCC"])).status.tolist() == [3]
            assert (await one.score("large_caps", ["CCC"])).status.tolist() == [0]


async def test_without_a_readable_ledger_everything_starts_halted_until_it_can_be_read(desk: Any, running: Any) -> None:
    away = desk.home.ledger.with_suffix(".away")
    desk.home.ledger.rename(away)
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        assert await here.state() == HALTED
        status = await here.control.status()
        assert status.ledger_sequence == 0
        assert "ledger" in status.ledger_error
        assert status.signals[0].reason
        with pytest.raises(Unreachable, match="expected a ledger") as refused:
            await here.control.sync()
        assert refused.value.retry
        away.rename(desk.home.ledger)
        await here.control.sync()
        assert await here.state() == ("NORMAL", [0])
        desk.home.ledger.rename(away)
        assert await here.state() == ("NORMAL", [0]), "what was known is served on"
        away.rename(desk.home.ledger)


async def test_a_broken_ledger_chain_starts_nothing_and_the_entry_is_named(desk: Any, running: Any) -> None:
    with sqlite3.connect(desk.home.ledger) as connection:
        connection.execute("DROP TRIGGER entries_stay")
        (body,) = connection.execute("SELECT body FROM entries WHERE sequence = 5").fetchone()
        altered = body.replace(b'"time_ns":17', b'"time_ns":18')
        assert altered != body
        connection.execute("UPDATE entries SET body = ? WHERE sequence = 5", (altered,))
    with pytest.raises(BrokenChain, match="entry 5"):
        async with running(desk):
            pass
    assert not desk.home.control_socket.exists()


async def test_a_release_with_an_altered_byte_is_not_served_and_named(desk: Any, running: Any) -> None:
    path = desk.home.releases / desk.releases[1] / "model.onnx"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        assert await here.state() == HALTED
        (view,) = (await here.control.status()).signals
        assert (view.posture, view.live) == ("HALTED", desk.releases[1])
        assert "model.onnx" in view.reason
        desk.rollout.rollback("large_caps", why="altered", as_="alice")
        await here.control.sync()
        assert await here.state() == ("NORMAL", [0])


async def test_a_signal_without_a_release_is_a_clear_refusal(empty_desk: Any, running: Any) -> None:
    async with running(empty_desk) as here:
        with pytest.raises(Rejected, match="promote one") as refused:
            await here.scorer.score("large_caps")
        assert refused.value.code == "FAILED_PRECONDITION"
        release = empty_desk.promote(slope=1.0)
        await here.control.sync(1, signal="large_caps")
        await here.control.push(empty_desk.rows(0))
        assert (await here.scorer.score("large_caps")).releases == (release,)


async def test_an_unnoticed_commit_is_followed_by_polling(
    desk: Any, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.host.supervisor.POLL_SECONDS", 0.02)
    async with running(desk) as here:
        await here.control.push(desk.rows(0))
        desk.rollout.set_weight("large_caps", 0.25, why="test", as_="alice")
        async with asyncio.timeout(10):
            while (await here.scorer.score("large_caps", ["AAA"])).weights.tolist() != [0.25]:
                pass


async def test_nothing_waits_for_the_proof_of_a_new_release(desk: Any) -> None:
    allowed = threading.Event()
    older, newer = desk.releases
    known = {older, newer}

    def prove(digest: str, principals: Principals) -> object:
        if digest not in known:
            allowed.wait()
        return prove_in_child(desk.home, digest, environment="replay", principals=principals)

    universes = {name: each.universe for name, each in desk.config.signals.items()}
    async with (
        LedgerFollower(desk.home, "replay") as follower,
        supervise(Place(desk.home, "replay", universes, follower, prove), Hosting(listen="127.0.0.1:0")) as supervisor,
        AsyncClient(*supervisor.addresses) as scorer,
        AsyncControlClient(supervisor.control) as control,
    ):
        before = await scorer.score("large_caps")
        latest = desk.promote(slope=4.0)
        desk.rollout.set_weight("large_caps", 0.5, why="test", as_="alice")
        await supervisor.follow()
        meanwhile = await scorer.score("large_caps", features=np.ones((1, 3)))
        assert (meanwhile.releases, meanwhile.generation) == ((newer,), before.generation)
        assert (meanwhile.scores.tolist(), meanwhile.weights.tolist()) == ([6], [0.5]), "a cut waits for no proof"
        await control.halt("large_caps", reason="test")
        assert (await scorer.score("large_caps")).posture == "HALTED"
        await control.resume("large_caps")
        allowed.set()
        async with asyncio.timeout(20):
            while (after := await scorer.score("large_caps", features=np.ones((1, 3)))).releases != (latest,):
                pass  # nobody asks for it: it is announced
        assert (after.releases, after.scores.tolist(), after.weights.tolist()) == ((latest,), [12], [0.5])


async def test_a_worker_that_hangs_holds_nobody_up_and_is_started_again(
    desk: Any, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.host.supervisor.ASK_SECONDS", 0.2)
    monkeypatch.setattr("serving.host.fleet.PULSE_SECONDS", 0.2)
    monkeypatch.setattr("serving.host.worker_link.ACK_SECONDS", 2.0)
    async with running(desk, workers=2) as here:
        while not all(each.answers for each in (await here.supervisor.view()).workers):
            pass  # what each said is known
        link = here.supervisor.fleet.links[1]
        os.kill(link.pid, signal.SIGSTOP)
        assert [(each.worker, each.answers) for each in (await here.supervisor.view()).workers] == [
            (0, True),
            (1, False),
        ]
        page = (await here.supervisor.metrics_text()).decode()
        assert 'signalbox_worker_up{worker="0"} 1.0' in page
        assert 'signalbox_worker_up{worker="1"} 0.0' in page
        async with asyncio.timeout(20):
            await here.replaced(link)
        assert here.supervisor.fleet.restarts == {0: 0, 1: 1}


async def test_a_signal_that_the_configuration_does_not_name_is_halted(desk: Any, running: Any) -> None:
    config = msgspec.structs.replace(desk.config, signals={})
    async with running(replace(desk, config=config)) as here:
        score = await here.scorer.score("large_caps", ["AAA"])
        assert (score.posture, score.status.tolist()) == HALTED
        (view,) = (await here.control.status()).signals
        assert "does not name this signal" in view.reason


async def test_one_home_has_one_supervisor_and_one_address_one_worker(desk: Any, running: Any) -> None:
    async with running(desk) as here:
        with pytest.raises(ListenRefused, match="no other supervisor"):
            async with running(desk):
                pass
        with pytest.raises(ListenRefused, match="expected a free address"):
            async with running(
                desk, listen=here.supervisor.addresses[0], control=str(desk.home.root / "other" / "control.sock")
            ):
                pass


SUPERVISE = """
import asyncio, msgspec, sys
from pathlib import Path
from promotion.config import Config
from promotion.home import Home
from serving.host.hosting import Hosting
from serving.host.supervisor import serve

async def main():
    config = msgspec.json.decode(sys.argv[2], type=Config)
    async with serve(Home(Path(sys.argv[1])), config, Hosting(listen="127.0.0.1:0")) as supervisor:
        print(supervisor.addresses[0], supervisor.fleet.links[0].pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_workers_serve_on_when_their_supervisor_is_killed_and_drain_on_sigterm(desk: Any, running: Any) -> None:
    config = msgspec.json.encode(desk.config)
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUPERVISE, str(desk.home.root), config, stdout=asyncio.subprocess.PIPE
    )
    assert supervisor.stdout is not None
    address, pid = (await supervisor.stdout.readline()).decode().split()
    async with AsyncControlClient(str(desk.home.control_socket)) as control, AsyncClient(address) as scorer:
        await control.push(desk.rows(0))
        supervisor.kill()
        await supervisor.wait()
        with pytest.raises(Unreachable):
            await control.status()
        score = await scorer.score("large_caps", ["CCC"])
        assert score.scores.tolist() == [18]
        async with running(desk) as successor:  # another supervisor takes over beside the orphan
            assert successor.supervisor.addresses != (address,)
        assert (await scorer.score("large_caps", ["CCC"])).scores.tolist() == [18]
        os.kill(int(pid), signal.SIGTERM)
        async with asyncio.timeout(10):
            while True:
                try:
                    await scorer.score("large_caps", ["CCC"])
                except Unreachable:
                    break
