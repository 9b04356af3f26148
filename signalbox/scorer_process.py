"""`signalbox serve` as a process: opens a home's scorer, says that it is ready, and drains on SIGTERM."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import uvloop

from promotion.config import Config, read_config
from promotion.home import Home
from serving.host.supervisor import serve


@dataclass(frozen=True)
class ScorerOptions:
    """How a scorer is started: HOST:PORT of worker 0, workers, transport, the control socket's path or None, and
    HOST:PORT of its metrics page or None.
    """

    listen: str
    workers: int = 1
    transport: str = "grpcio"
    control: str | None = None
    metrics: str | None = None


def run_scorer(home_dir: Path, options: ScorerOptions, *, as_json: bool) -> None:
    """Serves until SIGTERM or SIGINT. Once every worker answers, one line on stdout says where."""
    home = Home(home_dir)
    uvloop.run(_run(home, read_config(home.config), options, as_json=as_json))


async def _run(home: Home, config: Config, options: ScorerOptions, *, as_json: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(
        home,
        config,
        listen=options.listen,
        workers=options.workers,
        transport=options.transport,
        control=options.control,
        metrics=options.metrics,
    ) as scorer:
        ready = {"addresses": list(scorer.addresses), "control": scorer.control}
        print(json.dumps(ready) if as_json else f"serving on {', '.join(scorer.addresses)}", flush=True)
        await stop.wait()
        print("draining", file=sys.stderr, flush=True)
