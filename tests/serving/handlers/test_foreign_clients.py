"""Clients that we did not write, each in a process of its own, against the handlers on both transports."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from serving.transport.grpcio import grpcio_transport
from serving.transport.native import native_transport

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
KSERVE = ROOT / ".venv-kserve" / "bin" / "python"
TRANSPORTS = {"native": native_transport, "grpcio": grpcio_transport}


@pytest.fixture(params=TRANSPORTS)
async def served(request: pytest.FixtureRequest, make_world: Any) -> AsyncIterator[Any]:
    """A world and where it is served."""
    world = make_world(time.monotonic_ns)
    world.book.set_serving("", True)
    world.book.set_serving("large_caps", True)
    async with TRANSPORTS[request.param](world.methods, listen="127.0.0.1:0") as transport:
        yield world, transport.address


@asynccontextmanager
async def client(script: str, address: str) -> AsyncIterator[Process]:
    """The client `script` while it talks to `address`."""
    async with process_of(sys.executable, "-W", "error", str(HERE / "foreign" / script), address) as process:
        yield process


@asynccontextmanager
async def process_of(*command: str) -> AsyncIterator[Process]:
    """A process of `command`, in an environment with nothing but the way to this tree."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": os.defpath}
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env=environment)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    "script", ["triton_sync.py", "triton_aio.py", "grpcio_sync.py", "grpcio_aio.py", "h2_client.py"]
)
async def test_a_client_finds_what_it_expects(served: Any, script: str) -> None:
    _, address = served
    async with client(script, address) as process:
        said, complaints = await process.communicate()
    assert (process.returncode, said) == (0, b""), complaints.decode()


async def test_kserves_client_finds_what_it_expects(served: Any) -> None:
    """In the environment that `.ci/setup test` makes for it: it wants versions of its own."""
    _, address = served
    async with process_of(str(KSERVE), str(HERE / "foreign" / "kserve_client.py"), address) as process:
        said, complaints = await process.communicate()
    assert (process.returncode, said) == (0, b""), complaints.decode()


async def test_a_health_client_is_told_each_state(served: Any) -> None:
    world, address = served
    async with client("health_check.py", address) as process:
        assert process.stdout is not None

        async def line() -> str:
            return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()  # type: ignore[union-attr]

        assert await line() == "checked SERVING SERVING NOT_FOUND"
        assert await line() == "watched SERVING"
        world.book.set_serving("large_caps", False)
        assert await line() == "watched NOT_SERVING"
        world.book.set_serving("large_caps", True)
        assert await line() == "watched SERVING"
        world.book.shutdown()
        assert await line() == "watched NOT_SERVING"
        assert await line() == "over"
        assert await process.wait() == 0
    assert world.book.watchers == 0
