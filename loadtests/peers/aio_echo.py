"""A bare `grpc.aio` echo on uvloop: what grpcio's asyncio server costs when nothing is scored.

`python aio_echo.py PORT`. Identity serialisers, no interceptor; the handler gives its bytes back.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import uvloop


class Echo:
    """`bench.Echo`: Echo gives the message back, Count says how many it has given back."""

    def __init__(self) -> None:
        self.echoed = 0

    async def echo(self, message: bytes, _context: Any) -> bytes:
        """The same bytes."""
        self.echoed += 1
        return message

    async def count(self, _message: bytes, _context: Any) -> bytes:
        """Eight bytes, big-endian."""
        return self.echoed.to_bytes(8, "big")


async def serve(port: int) -> None:
    """Serves until it is killed."""
    echo = Echo()
    handlers = {name: grpc.unary_unary_rpc_method_handler(getattr(echo, name.lower())) for name in ("Echo", "Count")}
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
