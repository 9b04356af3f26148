"""A server that has no descriptor left, and one that meets a storm of connections."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from .conftest import SocketPeer

ROOT = Path(__file__).resolve().parents[3]
_FEW_DESCRIPTORS = """
import asyncio, resource, uvloop
from serving.transport.methods import Unary
from serving.transport.native import native_transport

async def main():
    async with native_transport({"/t/Echo": Unary(lambda call, body: call.answer(body))}, listen="127.0.0.1:0") as it:
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        print(it.address, flush=True)
        await asyncio.Event().wait()

uvloop.run(main())
"""


async def test_without_a_descriptor_left_it_serves_who_is_there_and_lets_others_in_later() -> None:
    pipe = asyncio.subprocess.PIPE
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _FEW_DESCRIPTORS, stdout=pipe, stderr=pipe, cwd=ROOT
    )
    try:
        assert server.stdout is not None
        assert server.stderr is not None
        address = (await server.stdout.readline()).decode().strip()
        async with SocketPeer.to(address) as first, AsyncExitStack() as stack:
            assert (await first.call("/t/Echo", b"x")).messages == [b"x"]
            late = [await stack.enter_async_context(SocketPeer.to(address)) for _ in range(60)]
            assert b"no connection can be accepted" in await server.stderr.readline()
            assert (await first.call("/t/Echo", b"y")).messages == [b"y"]
            waiting = asyncio.create_task(late[-1].call("/t/Echo", b"z"))
            for peer in late[:50]:
                peer.abort()
            assert (await waiting).messages == [b"z"]
        server.kill()
        _, log = await server.communicate()
        assert log.count(b"no connection can be accepted") < 20, "it looks again now and then, not all the time"
    finally:
        if server.returncode is None:
            server.kill()
            await server.communicate()


async def test_a_storm_of_connections(serve: Any) -> None:
    async with serve() as transport, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(SocketPeer.to(transport.address)) for _ in range(300)]
        found = await asyncio.gather(*(peer.call("/t/Echo", b"%d" % at) for at, peer in enumerate(peers)))
        assert [answer.messages for answer in found] == [[b"%d" % at] for at in range(300)]
        assert transport.statistics().accepted == 300
