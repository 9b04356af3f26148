"""Servers that say what a test tells them to, for the client to meet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import pytest

Handler = Callable[[bytes, Any], Awaitable[bytes]]


@pytest.fixture
async def answering() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """Starts a server whose Score (and Describe) is `handler`; returns its address."""
    async with AsyncExitStack() as owned:

        async def start(handler: Handler) -> str:
            return await owned.enter_async_context(_server(handler))

        yield start


@asynccontextmanager
async def _server(handler: Handler) -> AsyncIterator[str]:
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    methods = {name: grpc.unary_unary_rpc_method_handler(handler) for name in ("Score", "Describe")}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("signalbox.v1.Scorer", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
        await asyncio.sleep(0)
