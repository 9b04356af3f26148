"""`signalbox serve` as a process: opens a home's scorer, says that it is ready, and drains on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import uvloop

from promotion.config import read_config
from promotion.home import Home
from serving.host.hosting import Hosting
from serving.host.supervisor import Supervisor, serve


def run_scorer(home_dir: Path, hosting: Hosting, *, as_json: bool) -> None:
    """Serves until SIGTERM or SIGINT. Once every worker answers, one line on stdout says where."""
    home = Home(home_dir)
    uvloop.run(_run(serve(home, read_config(home.config), hosting), as_json=as_json))


async def _run(scorer: AbstractAsyncContextManager[Supervisor], *, as_json: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with scorer as supervisor:
        ready = {"addresses": list(supervisor.addresses), "control": supervisor.control}
        print(json.dumps(ready) if as_json else f"serving on {', '.join(supervisor.addresses)}", flush=True)
        await stop.wait()
        print("draining", file=sys.stderr, flush=True)
