"""Open loop: what callers wait who do not wait for one another, at a fixed rate.

    python -m loadtests.clients.open_loop FOLDER     (a plan and messages: loadtests.clients.files)

**Load model.** Every request has a time at which it is to be sent, fixed before the run: evenly spaced, or by a Poisson
process. Its latency counts from that time, whether it could be sent then or not, until its reply was read: a server
that stalls is charged for every request that was due meanwhile (no coordinated omission). Latencies go into a histogram
of 0.8 % relative error; one connection, as many calls under way as it takes, up to what the server allows.

**The client's own wake-ups are left out.** The sender owns its core and never sleeps: it spins between clock and
socket, so a reply is read within microseconds of its arrival. A caller that sleeps adds its own wake-up (about 30 µs on
a virtual machine) to these figures. How late the sender itself was is reported beside them (`late`).
"""

from __future__ import annotations

import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtests.clients.calls import PATIENCE_SECONDS, Broken, Caller
from loadtests.clients.files import Outcome, Plan, Spent, Texts, Times, read_plan, stop_collector, write_outcome
from loadtests.clients.prepared import Prepared, prepare
from loadtests.harness.histogram import Histogram
from serving.transport.grpc.message import PREFIX_BYTES

Int64s = npt.NDArray[np.int64]

_NS = 1_000_000_000
_READ_BYTES = 1 << 18
_SEED = 7


def due_times(rate: float, seconds: float, *, poisson: bool) -> Int64s:
    """When each request is due, int64 ns from the start, rising: `rate` a second for `seconds`."""
    count = int(rate * seconds)
    if poisson:
        waits = np.random.default_rng(_SEED).exponential(_NS / rate, count)
        return np.cumsum(waits).astype(np.int64)
    return (np.arange(count) * (_NS / rate)).astype(np.int64)


class Arrivals(Caller):
    """Calls that are sent when they are due, over one connection. Lives as long as the run.

    due_ns: int64 by call number, monotonic clock. sent_ns, done_ns: likewise; 0 while it is neither. kept: message
    number and reply, of one in `keep_every` calls.
    """

    def __init__(self, prepared: Prepared, due_ns: Int64s, *, keep_every: int = 16) -> None:
        super().__init__(prepared, Counter())
        self.due_ns = due_ns
        self.sent_ns = np.zeros(len(due_ns), np.int64)
        self.done_ns = np.zeros(len(due_ns), np.int64)
        self.kept: list[tuple[int, bytes]] = []
        self._keep_every = keep_every
        self._now_ns = 0

    def send_due(self, now_ns: int) -> None:
        """Sends what is due; what the server has no room for stays due, and its time runs."""
        until = int(np.searchsorted(self.due_ns, now_ns, side="right"))
        while sent := self.send(until - self.next):
            self.sent_ns[self.next - sent : self.next] = now_ns

    def receive(self, data: bytes, now_ns: int) -> None:
        """Takes what was read at `now_ns`."""
        self._now_ns = self.connection.now_ns = now_ns
        self.connection.receive(data)
        if self.connection.fault is not None:
            raise Broken(f"the connection broke: {self.connection.fault}")

    def answered(self, number: int, content: bytes) -> None:
        """See Caller."""
        self.done_ns[number] = self._now_ns
        if number % self._keep_every == 0:
            self.kept.append((number % self.length, content[PREFIX_BYTES:]))

    def ended_badly(self, number: int, why: str) -> None:
        """See Caller."""
        self.done_ns[number] = self._now_ns
        super().ended_badly(number, why)


def run(plan: Plan, messages: Sequence[bytes]) -> tuple[Outcome, Arrivals]:
    """Carries out `plan`: requests due in its warm-up are answered and not counted. CPU is that of the whole run."""
    due = due_times(plan.rate, plan.warm_seconds + plan.seconds, poisson=plan.poisson)
    arrivals = Arrivals(prepare(plan.path, messages, headers=plan.headers), due, keep_every=plan.keep_every)
    with _connected(plan.address) as wire:
        _greet(wire, arrivals)
        before = Spent.now(plan.server)
        began_ns = time.monotonic_ns()
        arrivals.due_ns = due + began_ns
        _spin(wire, arrivals)
        spent = Spent.now(plan.server)
    measured = due >= plan.warm_seconds * _NS
    done_ns, due_ns = arrivals.done_ns[measured], arrivals.due_ns[measured]
    return Outcome(
        answered=len(done_ns),
        in_all=len(due) - arrivals.failures.total(),
        seconds=max(float(done_ns.max() - began_ns) / _NS - plan.warm_seconds, plan.seconds),
        times=Times.of(Histogram.of(done_ns - due_ns)),
        late=Times.of(Histogram.of(arrivals.sent_ns[measured] - due_ns)),
        failures=dict(arrivals.failures),
        server_cpu_ns=spent.server - before.server,
        client_cpu_ns=spent.client - before.client,
        server_waited_ns=spent.waited - before.waited,
        others=spent.others(before),
    ), arrivals


@contextmanager
def _connected(address: str) -> Iterator[socket.socket]:
    if address.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(address.removeprefix("unix:"))
            yield wire
        return
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), PATIENCE_SECONDS) as wire:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield wire


def _greet(wire: socket.socket, arrivals: Arrivals) -> None:
    """Until the server's SETTINGS are there; the socket does not block from then on."""
    wire.settimeout(PATIENCE_SECONDS)
    wire.sendall(arrivals.take_out())
    while not arrivals.connection.greeted:
        data = wire.recv(_READ_BYTES)
        if not data:
            raise Broken("the server closed the connection before it said its SETTINGS")
        arrivals.receive(data, time.monotonic_ns())
    arrivals.check_table()
    wire.sendall(arrivals.take_out())
    wire.setblocking(False)


def _spin(wire: socket.socket, arrivals: Arrivals) -> None:
    """Between clock and socket, until every request is answered. Broken when some stay unanswered."""
    due: list[int] = [*arrivals.due_ns.tolist(), sys.maxsize]
    until_ns = due[-2] + int(PATIENCE_SECONDS * _NS)
    unwritten = b""
    connection = arrivals.connection
    while arrivals.next < len(arrivals.due_ns) or connection.streams:
        now_ns = time.monotonic_ns()
        if now_ns >= due[arrivals.next]:
            arrivals.send_due(now_ns)
        if connection.out or unwritten:
            unwritten = _write(wire, unwritten + arrivals.take_out())
        try:
            data = wire.recv(_READ_BYTES)
        except BlockingIOError:
            if now_ns > until_ns:
                left = len(arrivals.due_ns) - arrivals.next + len(connection.streams)
                raise Broken(f"expected every call answered, found {left} unanswered") from None
            continue
        if not data:
            raise Broken("the server closed the connection")
        arrivals.receive(data, time.monotonic_ns())


def _write(wire: socket.socket, data: bytes) -> bytes:
    """Writes what the socket takes; returns the rest."""
    try:
        return data[wire.send(data) :]
    except BlockingIOError:
        return data


def main() -> None:
    """Carries out the plan in the folder that is named."""
    folder = Path(sys.argv[1])
    plan, messages = read_plan(folder)
    stop_collector()
    outcome, arrivals = run(plan, messages)
    write_outcome(folder, outcome, Texts.of(*zip(*arrivals.kept, strict=True)) if arrivals.kept else Texts.of((), ()))


if __name__ == "__main__":
    main()
