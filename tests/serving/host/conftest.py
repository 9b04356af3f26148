"""Running scorers, and a client in a process of its own that keeps them busy."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from promotion.release.open import open_release
from protos.client import AsyncClient, AsyncControlClient
from serving.host.follower import LedgerFollower
from serving.host.hosting import Hosting
from serving.host.proofs import Principals
from serving.host.supervisor import Place, Supervisor, supervise
from serving.host.worker_link import WorkerLink

ASKING = """
import asyncio, json, sys
import numpy as np
from promotion.release.open import open_release
from protos.client import AsyncClient, CallError

async def main():
    answered, failed, scores = 0, [], set()
    asking = True

    async def ask(scorer):
        nonlocal answered
        while asking:
            try:
                score = await scorer.score("large_caps", features=np.ones((2, 3)))
                scores.add((score.generation, score.posture, *np.nan_to_num(score.scores).tolist()))
                answered += 1
                if answered == 100:
                    print("warm", flush=True)
            except CallError as error:
                failed.append(f"{type(error).__name__}: {error}")

    async with AsyncClient(*sys.argv[1:]) as scorer:
        askers = [asyncio.create_task(ask(scorer)) for _ in range(2)]
        await asyncio.to_thread(sys.stdin.readline)
        asking = False
        await asyncio.gather(*askers)
    print(json.dumps({"answered": answered, "failed": failed[:5], "scores": sorted(scores)}), flush=True)

asyncio.run(main())
"""


@dataclass
class Load:
    """What a client saw that asked all the time, and sent a call once more when a worker was gone."""

    answered: int = 0
    failed: list[str] = field(default_factory=list)
    scores: list[list[Any]] = field(default_factory=list)  # distinct (generation, posture, *scores), 0 for NaN


Loading = Callable[..., AbstractAsyncContextManager[Load]]


@asynccontextmanager
async def _under_load(*addresses: str) -> AsyncIterator[Load]:
    load = Load()
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ASKING, *addresses), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert client.stdin is not None
    assert client.stdout is not None
    assert await client.stdout.readline() == b"warm\n"
    yield load
    client.stdin.write(b"\n")
    seen = json.loads(await client.stdout.readline())
    load.answered, load.failed, load.scores = seen["answered"], seen["failed"], seen["scores"]
    await client.wait()


@pytest.fixture
def under_load() -> Loading:
    """A block during which a client asks `large_caps` at these addresses, two calls at a time, rows of ones."""
    return _under_load


@dataclass
class Running:
    supervisor: Supervisor
    scorer: AsyncClient
    control: AsyncControlClient

    async def state(self, *instruments: str) -> tuple[str, list[int]]:
        score = await self.scorer.score("large_caps", instruments or ["CCC"])
        return score.posture, score.status.tolist()

    async def kill_worker(self, worker: int = 0) -> None:
        """kill -9, and waits until another process answers in its place."""
        link = self.supervisor.fleet.links[worker]
        os.kill(link.pid, signal.SIGKILL)
        async with asyncio.timeout(20):
            await self.replaced(link)

    async def replaced(self, link: WorkerLink) -> None:
        """Waits until the process of `link` is gone, and another one takes its calls."""
        await link.gone.wait()
        while self.supervisor.fleet.links.get(link.setup.worker) in (None, link):
            await self.supervisor.assign()  # waits for a worker to be back
            await asyncio.sleep(0)


Runs = Callable[..., AbstractAsyncContextManager[Running]]


@asynccontextmanager
async def _running(desk: Any, **options: Any) -> AsyncIterator[Running]:
    hosting = Hosting(**({"listen": "127.0.0.1:0"} | options))
    universes = {name: each.universe for name, each in desk.config.signals.items()}

    def prove(digest: str, principals: Principals) -> object:
        return open_release(desk.home, digest, environment="replay", principals=principals)

    async with (
        LedgerFollower(desk.home, "replay") as ledger,
        supervise(Place(desk.home, "replay", universes, ledger, prove), hosting) as supervisor,
        AsyncClient(*supervisor.addresses) as scorer,
        AsyncControlClient(supervisor.control) as control,
    ):
        yield Running(supervisor, scorer, control)


@pytest.fixture
def running() -> Runs:
    """A scorer of a desk, with the fields of Hosting as options.

    What `serve` opens, but for the process that a release is proven in: that costs as much as all else together.
    """
    return _running


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)
