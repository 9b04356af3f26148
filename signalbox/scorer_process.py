"""`signalbox serve` as a process: opens a scorer, says that it is ready, rolls on SIGHUP, and drains on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from promotion.config import read_config
from promotion.home import Home
from serving.errors import ServingError
from serving.host.hosting import Hosting
from serving.host.scratch import serve_scratch
from serving.host.scratch_model import scratch_feature_set
from serving.host.supervisor import Supervisor, serve

Opened = AbstractAsyncContextManager[tuple[Supervisor, dict[str, Any]]]  # a scorer, and what is to be said of it


def run_scorer(home_dir: Path, hosting: Hosting, *, as_json: bool) -> None:
    """Serves a home until SIGTERM or SIGINT. Once every worker answers, one line on stdout says where.

    As JSON: addresses, control, metrics ("" for none), pids of the workers, transport and cores (none: anywhere).
    """
    home = Home(home_dir)
    uvloop.run(_run(_home_scorer(home, hosting), hosting, as_json=as_json))


def run_scratch(models: Mapping[str, Path], hosting: Hosting, *, instruments: int, as_json: bool) -> None:
    """Serves ONNX files, loudly, until SIGTERM or SIGINT. The JSON also says the home, and each model's facts."""
    for name, file in models.items():
        _tell(f"SCRATCH: {name} is {file}: no ledger, no signature, weight 0, this machine alone; for trials only")
    uvloop.run(_run(_scratch_scorer(models, hosting, instruments), hosting, as_json=as_json))


@asynccontextmanager
async def _home_scorer(home: Home, hosting: Hosting) -> AsyncIterator[tuple[Supervisor, dict[str, Any]]]:
    async with serve(home, read_config(home.config), hosting) as supervisor:
        yield supervisor, {}


@asynccontextmanager
async def _scratch_scorer(
    models: Mapping[str, Path], hosting: Hosting, instruments: int
) -> AsyncIterator[tuple[Supervisor, dict[str, Any]]]:
    async with serve_scratch(models, hosting, instruments=instruments) as (supervisor, home):
        facts = {
            each.signal: {"digest": each.live, "feature_set_id": scratch_feature_set(each.live or "")}
            for each in (await supervisor.view()).signals
        }
        yield supervisor, {"scratch": True, "home": str(home.root), "signals": facts}


async def _run(opened: Opened, hosting: Hosting, *, as_json: bool) -> None:
    stop, roll = asyncio.Event(), asyncio.Event()
    for number, event in ((signal.SIGTERM, stop), (signal.SIGINT, stop), (signal.SIGHUP, roll)):
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    async with opened as (supervisor, more):
        ready = _ready(supervisor, hosting) | more
        print(json.dumps(ready) if as_json else f"serving on {', '.join(supervisor.addresses)}", flush=True)
        rolling = asyncio.create_task(_roll_when_asked(supervisor, roll))
        await stop.wait()
        rolling.cancel()
        _tell("draining")


def _ready(supervisor: Supervisor, hosting: Hosting) -> dict[str, Any]:
    return {
        "addresses": list(supervisor.addresses),
        "control": supervisor.control,
        "metrics": supervisor.metrics,
        "pids": list(supervisor.pids),
        "transport": hosting.transport,
        "cores": list(hosting.cores),
    }


async def _roll_when_asked(supervisor: Supervisor, roll: asyncio.Event) -> None:
    """One rolling restart after the other, for as long as they are asked for. Runs until it is cancelled."""
    while True:
        await roll.wait()
        roll.clear()
        try:
            await supervisor.roll()
        except ServingError as error:
            _tell(f"the rolling restart stopped: {error}")
        else:
            _tell("every worker was replaced")


def _tell(text: str) -> None:
    print(f"signalbox: {text}", file=sys.stderr, flush=True)
