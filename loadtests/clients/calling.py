"""A grpcio client in its own process that calls until it is told to stop, and says what became of its calls.

    python -m loadtests.clients.calling HOST:PORT[,HOST:PORT...] PATH --in-flight 8 [--retry]
        [--message FILE --reply FILE]

It writes `ready` once a first call is over, goes on until its input ends, and then writes one JSON document:
`answered`, `wrong` (the reply was not the one expected), `lost` {status: count}, `slowest_ms`. Each call sends a number
and expects it back; with --message it sends that, and expects what is in --reply. With several addresses the calls go
round. --retry: what is UNAVAILABLE is sent again, by gRPC's own retry policy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.01s",
    "maxBackoff": "0.2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_DEADLINE_SECONDS = 20.0


class Tally:
    """What became of the calls."""

    def __init__(self) -> None:
        self.answered = 0
        self.wrong = 0
        self.lost: Counter[str] = Counter()
        self.slowest = 0.0

    def document(self) -> str:
        """As JSON."""
        return json.dumps(
            {
                "answered": self.answered,
                "wrong": self.wrong,
                "lost": dict(self.lost),
                "slowest_ms": round(self.slowest * 1e3, 3),
            }
        )


class Caller:
    """Calls one method on one channel, `in_flight` at a time."""

    def __init__(self, channel: grpc.aio.Channel, path: str, ask: Callable[[int], tuple[bytes, bytes]]) -> None:
        self.tally = Tally()
        self._method = channel.unary_unary(path)
        self._ask = ask  # the number of a call → its message, and the reply that is expected
        self._is_over = False
        self._is_served = asyncio.Event()
        self._number = 0

    async def work(self, in_flight: int) -> None:
        """Until the input ends."""
        workers = [asyncio.create_task(self._calls()) for _ in range(in_flight)]
        await self._is_served.wait()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        self._is_over = True
        await asyncio.gather(*workers)

    async def _calls(self) -> None:
        while not self._is_over:
            self._number += 1
            await self._call(*self._ask(self._number))
            self._is_served.set()

    async def _call(self, message: bytes, expected: bytes) -> None:
        began = time.perf_counter()
        try:
            reply = await self._method(message, timeout=_DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            self.tally.lost[error.code().name] += 1
            return
        self.tally.answered += 1
        self.tally.wrong += reply != expected
        self.tally.slowest = max(self.tally.slowest, time.perf_counter() - began)


def _options(path: str, *, retry: bool) -> list[tuple[str, Any]]:
    service = path[1:].rpartition("/")[0]
    method = {"name": [{"service": service}], **({"retryPolicy": _RETRY} if retry else {})}
    config = {"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [method]}
    return [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.enable_http_proxy", 0),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.initial_reconnect_backoff_ms", 50),
    ]


def _asking(message: Path | None, reply: Path | None) -> Callable[[int], tuple[bytes, bytes]]:
    if message is None or reply is None:
        return lambda number: (b"%d" % number, b"%d" % number)
    same = message.read_bytes(), reply.read_bytes()
    return lambda number: same


async def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("addresses")
    parser.add_argument("path")
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--retry", action="store_true")
    parser.add_argument("--message", type=Path)
    parser.add_argument("--reply", type=Path)
    told = parser.parse_args()
    target = told.addresses if told.addresses.startswith("unix:") else f"ipv4:{told.addresses}"
    async with grpc.aio.insecure_channel(target, options=_options(told.path, retry=told.retry)) as channel:
        caller = Caller(channel, told.path, _asking(told.message, told.reply))
        await caller.work(told.in_flight)
        print(caller.tally.document(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
