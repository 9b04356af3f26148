"""Our own gRPC client as a load generator: closed loop, rows that all differ, every reply's status looked at.

    python -m loadtests.clients.grpc_client FOLDER     (a plan and messages: loadtests.clients.files)

It is built on the transport's own `ClientConnection`, asyncio and uvloop. Requests are made beforehand
(loadtests.clients.prepared), replies of one read are taken together, and those that are kept are compared with the
model after the run, by the bench. So a request costs this client less than a microsecond, and the server is what is
measured.

**Load model.** Closed loop: each connection keeps a fixed number of calls under way and sends the next when one is
answered. That understates what waiting callers would see (coordinated omission): latencies at a rate are the open
loop's to tell (loadtests.clients.open_loop).
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import uvloop

from loadtests.clients.calls import PATIENCE_SECONDS, Broken, Caller, are_all_good
from loadtests.clients.files import Outcome, Plan, Spent, Texts, Times, read_plan, stop_collector, write_outcome
from loadtests.clients.prepared import Prepared, prepare
from loadtests.harness.histogram import Histogram
from serving.transport.grpc.message import PREFIX_BYTES
from serving.transport.http2.hpack import Head
from serving.transport.http2.layout import Bytes

Int64s = npt.NDArray[np.int64]

_REMEMBERED = 1 << 14  # calls whose sending time is kept, at least as many as are under way
_MOST_KEPT = 2_000_000
_NO_NUMBERS = np.empty(0, np.int64)


class Tally:
    """What all connections of a client have seen. Lives as long as the run.

    answered: calls that ended with grpc-status 0. groups: replies kept, as (their messages' numbers, contents).
    """

    def __init__(self, keep_every: int) -> None:
        self.answered = 0
        self.cancelled = 0
        self.failures: Counter[str] = Counter()
        self.stopping = False
        self.groups: list[tuple[Int64s, Bytes]] = []
        self.idle: Callable[[], None] = lambda: None  # called when a connection has nothing under way any more
        self._kept = 0
        self._groups_seen = 0
        self._keep_every = keep_every
        self._times: list[Int64s] = []
        self._lone_times: list[int] = []

    def take(self, messages: Int64s, times: Int64s, contents: Bytes) -> None:
        """Calls were answered well: `messages`, after `times` ns, with `contents` uint8 [n, bytes]."""
        self.answered += len(messages)
        self._times.append(times)
        if self._is_kept(len(messages)):
            self.groups.append((messages, contents.copy()))

    def take_one(self, message: int, time_ns: int, content: bytes) -> None:
        """The same of one call."""
        self.answered += 1
        self._lone_times.append(time_ns)
        if self._is_kept(1):
            self.groups.append((np.array((message,)), np.frombuffer(content, np.uint8)[None]))

    def times(self) -> Histogram:
        """Of the calls that were answered since this was asked last."""
        times, self._times = self._times, []
        lone, self._lone_times = self._lone_times, []
        return Histogram.of(np.concatenate((np.array(lone, np.int64), *times)))

    def _is_kept(self, size: int) -> bool:
        seen, self._groups_seen = self._groups_seen, self._groups_seen + 1
        if seen % self._keep_every or self._kept >= _MOST_KEPT:
            return False
        self._kept += size
        return True


class Conversation(Caller, asyncio.Protocol):
    """One connection that keeps calls under way. Lives as long as its socket.

    first: number of the message that the cycle's first request carries.
    """

    def __init__(
        self, prepared: Prepared, in_flight: int, tally: Tally, *, first: int = 0, cancel_every: int = 0
    ) -> None:
        super().__init__(prepared, tally.failures)
        self.greeted = asyncio.Event()
        self._in_flight = in_flight
        self._first = first
        self._tally = tally
        self._cancel_every = cancel_every
        self._cancel_later: list[int] = []
        self._transport: asyncio.Transport | None = None
        self._sent_ns = np.zeros(_REMEMBERED, np.int64)  # by call number, modulo
        self._now_ns = 0
        self._running = False

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self.connection.streams) and self._transport is not None

    def start(self) -> None:
        """Begins to ask."""
        self._running = True
        self._ask()
        self._write()

    def close(self) -> None:
        """Closes the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast("asyncio.Transport", transport)
        self._write()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        connection = self.connection
        self._now_ns = connection.now_ns = time.monotonic_ns()
        if self._cancel_later:
            self._cancel(self._cancel_later)
            self._cancel_later.clear()
        connection.receive(data)
        if self._running:
            self._ask()
            if self._tally.stopping and not connection.streams:
                self._tally.idle()
        elif connection.greeted:
            self.greeted.set()
        self._write()
        if connection.fault is not None:
            self.failures[f"connection broken: {connection.fault}"] += 1
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        if self.connection.streams:
            self.failures["connection lost"] += len(self.connection.streams)
        self._tally.idle()

    def answered(self, number: int, content: bytes) -> None:
        """See Caller."""
        time_ns = self._now_ns - self._sent_ns.item(number % _REMEMBERED)
        self._tally.take_one(self._first + number % self.length, time_ns, content)

    def whole_answers(self, stream_ids: Sequence[int], head: Head, contents: Bytes, trailers: Head) -> None:
        """See http2.client.Receiver."""
        if not are_all_good(contents, trailers):
            super().whole_answers(stream_ids, head, contents, trailers)
            return
        numbers = np.array(stream_ids) >> 1
        times = self._now_ns - self._sent_ns[numbers % _REMEMBERED]
        self._tally.take(self._first + numbers % self.length, times, contents)

    def _ask(self) -> None:
        """Sends as many calls as are missing under way, and as the server has room for."""
        while not self._tally.stopping:
            start = self.next % _REMEMBERED
            sent = self.send(min(self._in_flight - len(self.connection.streams), _REMEMBERED - start))
            if not sent:
                return
            self._sent_ns[start : start + sent] = time.monotonic_ns()
            if self._cancel_every:
                self._choose_cancelled(sent)

    def _choose_cancelled(self, sent: int) -> None:
        """Of the calls that are cancelled, every other at once, and the rest once something has come back."""
        chosen = [number for number in range(self.next - sent, self.next) if number % self._cancel_every == 0]
        self._cancel([number for number in chosen if number // self._cancel_every % 2])
        self._cancel_later += [number for number in chosen if not number // self._cancel_every % 2]

    def _cancel(self, numbers: Sequence[int]) -> None:
        self._tally.cancelled += sum(map(self.cancel, numbers))

    def _write(self) -> None:
        if self.connection.out and self._transport is not None:
            self._transport.write(self.take_out())


class Client:
    """The connections of one run. Owned by `run`."""

    def __init__(self, plan: Plan, messages: Sequence[bytes]) -> None:
        self.plan = plan
        self.tally = Tally(plan.keep_every)
        self.conversations = list(_conversations(plan, messages, self.tally))
        self._quiet = asyncio.Event()
        self.tally.idle = self._quiet.set

    async def connect(self) -> None:
        """Opens every connection, and waits until the server has said its SETTINGS on it."""
        for conversation in self.conversations:
            await connect(self.plan, conversation)
        for conversation in self.conversations:
            await asyncio.wait_for(conversation.greeted.wait(), PATIENCE_SECONDS)
            conversation.check_table()

    def start(self) -> None:
        """Begins to ask on every connection."""
        for conversation in self.conversations:
            conversation.start()

    async def finish(self) -> None:
        """Asks no more, and waits for what is under way."""
        self.tally.stopping = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(conversation.busy for conversation in self.conversations):
                self._quiet.clear()
                await self._quiet.wait()
        for conversation in self.conversations:
            conversation.close()

    def kept(self) -> Texts:
        """Replies that were kept, without their prefix, and the message that each answers."""
        groups = self.tally.groups
        sizes = np.repeat([group.shape[1] - PREFIX_BYTES for _, group in groups], [len(group) for _, group in groups])
        numbers = np.concatenate([_NO_NUMBERS, *(numbers for numbers, _ in groups)])
        whole = b"".join(group[:, PREFIX_BYTES:].tobytes() for _, group in groups)
        return Texts(numbers, sizes.astype(np.int64), whole)


async def run(plan: Plan, messages: Sequence[bytes]) -> tuple[Outcome, Client]:
    """Carries out `plan` with `messages`, asked in turn; every connection has a share of its own of them."""
    client = Client(plan, messages)
    tally = client.tally
    await client.connect()
    client.start()
    await asyncio.sleep(plan.warm_seconds)  # the warm-up is a span of time, not a wait for something
    tally.times()
    before, answered, cancelled = Spent.now(plan.server), tally.answered, tally.cancelled
    parts = await _window(plan, tally)
    spent = Spent.now(plan.server)
    answered, cancelled = tally.answered - answered, tally.cancelled - cancelled
    await client.finish()
    return Outcome(
        answered=answered,
        in_all=tally.answered,
        seconds=spent.clock - before.clock,
        times=Times.of(Histogram.merged(parts)),
        cancelled=cancelled,
        failures=dict(tally.failures),
        intervals=tuple(map(Times.of, parts)) if plan.interval_seconds else (),
        server_cpu_ns=spent.server - before.server,
        client_cpu_ns=spent.client - before.client,
        server_waited_ns=spent.waited - before.waited,
        others=spent.others(before),
    ), client


async def connect(plan: Plan, protocol: asyncio.Protocol) -> None:
    """Opens one connection to the plan's address for `protocol`."""

    def make() -> asyncio.Protocol:
        return protocol

    loop = asyncio.get_running_loop()
    context = client_context(plan.certificate)
    name = "localhost" if context else None
    if plan.address.startswith("unix:"):
        await loop.create_unix_connection(make, plan.address.removeprefix("unix:"), ssl=context, server_hostname=name)
        return
    host, _, port = plan.address.rpartition(":")
    await loop.create_connection(make, host, int(port), ssl=context, server_hostname=name)


def client_context(certificate: str) -> ssl.SSLContext | None:
    """TLS that trusts `certificate`, in PEM, and speaks HTTP/2 alone; None for ""."""
    if not certificate:
        return None
    context = ssl.create_default_context(cadata=certificate)
    context.set_alpn_protocols(["h2"])
    return context


def _conversations(plan: Plan, messages: Sequence[bytes], tally: Tally) -> Iterator[Conversation]:
    """One for each connection, with a share of its own of `messages`."""
    size = len(messages) // plan.connections
    if not plan.in_flight <= min(size, _REMEMBERED):
        raise Broken(f"expected {plan.in_flight} messages or more for each connection, found {size}")
    scheme = "https" if plan.certificate else "http"
    for at in range(plan.connections):
        share = messages[at * size : (at + 1) * size]
        prepared = prepare(plan.path, share, headers=plan.headers, scheme=scheme, seed=at)
        yield Conversation(prepared, plan.in_flight, tally, first=at * size, cancel_every=plan.cancel_every)


async def _window(plan: Plan, tally: Tally) -> list[Histogram]:
    """The times of each interval of the measured window."""
    intervals = max(1, round(plan.seconds / plan.interval_seconds)) if plan.interval_seconds else 1
    parts = []
    for _ in range(intervals):
        await asyncio.sleep(plan.seconds / intervals)
        parts.append(tally.times())
    return parts


def main() -> None:
    """Carries out the plan in the folder that is named."""
    folder = Path(sys.argv[1])
    plan, messages = read_plan(folder)
    stop_collector()
    outcome, client = uvloop.run(run(plan, messages))
    write_outcome(folder, outcome, client.kept())


if __name__ == "__main__":
    main()
