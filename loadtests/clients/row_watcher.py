"""Asks for one instrument's score again and again, one call in flight, and notes when each new row is first answered.

    python -m loadtests.clients.row_watcher ADDRESS INSTRUMENT FIRST LAST

It prints a line once it has its first answer, and ends with a JSON list on stdout: for each sequence from FIRST to
LAST, the system's clock in nanoseconds when a reply first showed it or one above it. It is the load generator of
`loadtests.clients.grpc_client` with other eyes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence

import uvloop

from loadtests.clients.files import Plan, stop_collector
from loadtests.clients.grpc_client import Conversation, Tally, connect
from loadtests.clients.prepared import prepare
from loadtests.harness.small_release import SIGNAL
from protos.score import OK
from protos.signalbox.v1 import scorer_pb2
from serving.transport.grpc.message import PREFIX_BYTES
from serving.transport.http2.hpack import Head
from serving.transport.http2.layout import Bytes

PATH = "/signalbox.v1.Scorer/Score"


class Watch(Conversation):
    """One connection that keeps one call under way until it has seen sequence `last`."""

    def __init__(self, instrument: str, first: int, last: int) -> None:
        message = scorer_pb2.ScoreRequest(signal=SIGNAL, instruments=[instrument]).SerializeToString()
        self._tally = Tally(keep_every=1)
        super().__init__(prepare(PATH, [message]), 1, self._tally)
        self.asking = asyncio.Event()
        self.done = asyncio.Event()
        self.seen_ns: list[int] = []
        self._first, self._last = first, last

    def answered(self, number: int, content: bytes) -> None:
        """See Caller."""
        self._look(content)

    def whole_answers(self, stream_ids: Sequence[int], head: Head, contents: Bytes, trailers: Head) -> None:
        """See http2.client.Receiver."""
        for content in contents:
            self._look(content.tobytes())

    def ended_badly(self, number: int, why: str) -> None:
        """See Caller."""
        raise SystemExit(f"row_watcher: expected an answer to every call, found: {why}")

    def _look(self, content: bytes) -> None:
        now_ns = time.time_ns()
        reply = scorer_pb2.ScoreReply.FromString(content[PREFIX_BYTES:])
        shown = int.from_bytes(reply.row_sequence, "little", signed=True) if reply.status[0] == OK else -1
        self.asking.set()
        self.seen_ns += [now_ns] * (min(shown, self._last) - self._first + 1 - len(self.seen_ns))
        if shown >= self._last:
            self._tally.stopping = True
            self.done.set()


async def watch(address: str, instrument: str, first: int, last: int) -> list[int]:
    """When each sequence from `first` to `last` was first answered, UTC nanoseconds."""
    conversation = Watch(instrument, first, last)
    await connect(Plan(address=address, path=PATH, seconds=0.0), conversation)
    await conversation.greeted.wait()
    conversation.start()
    await conversation.asking.wait()
    print("asking", flush=True)
    await conversation.done.wait()
    conversation.close()
    return conversation.seen_ns


def main() -> None:
    """Watches what the command line names."""
    address, instrument, first, last = sys.argv[1:]
    stop_collector()
    print(json.dumps(uvloop.run(watch(address, instrument, int(first), int(last)))))


if __name__ == "__main__":
    main()
