"""What travels between a bench and a client process of its own: a plan and messages there, counts and replies back.

The bench knows the model and checks replies; the client process knows bytes alone and has a core to itself. Everything
goes through files of one folder, so that nothing is parsed while the clock runs.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt

from loadtests.clients.prepared import Headers
from loadtests.harness.cache import cache
from loadtests.harness.histogram import Histogram
from loadtests.harness.processes import busy_seconds, cpu_ns, waited_ns
from loadtests.harness.servers import CLIENT_CORE, SERVER_CORE, pinned

Int64s = npt.NDArray[np.int64]

_MESSAGES, _REPLIES = "messages.npz", "replies.npz"
_PATIENCE_SECONDS = 60.0  # beyond the time that a plan says


class ClientFailed(Exception):
    """A client process ended without an outcome; the message quotes what it said."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a client is to do.

    address: HOST:PORT or unix:PATH. path: of the method. certificate: PEM that TLS is trusted by, "" for plain
    text. server: process whose tree's CPU is counted, 0 for none. keep_every: one in so many groups of replies is kept.
    cancel_every: one in so many calls is cancelled, 0 for none. interval_seconds: times are kept apart for each so
    long, 0 for none. rate: of an open loop, requests a second. poisson: with arrivals that do not know one another.
    """

    address: str
    path: str
    seconds: float
    warm_seconds: float = 0.5
    connections: Annotated[int, msgspec.Meta(ge=1)] = 1
    in_flight: Annotated[int, msgspec.Meta(ge=1)] = 1
    headers: Headers = Headers.SAME
    certificate: str = ""
    server: int = 0
    keep_every: Annotated[int, msgspec.Meta(ge=1)] = 16
    cancel_every: int = 0
    interval_seconds: float = 0.0
    rate: float = 0.0
    poisson: bool = False


class Times(msgspec.Struct, frozen=True):
    """A histogram on its way. counts: by bucket."""

    counts: dict[int, int]
    max: int

    @classmethod
    def of(cls, histogram: Histogram) -> Times:
        """What travels of `histogram`."""
        return cls(histogram.counts, histogram.max)

    def histogram(self) -> Histogram:
        """The histogram again."""
        return Histogram.from_counts(self.counts, self.max)


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a client found.

    answered: calls of the measured window that ended with grpc-status 0; in_all: of the whole run, warm-up included.
    cancelled: by the client, in the window. failures: how calls ended that were neither, over the whole run → how many;
    a grpc-status with the words of the first call that had it. seconds: of the window. times: latency, ns. intervals:
    the same for each interval. late: of an open loop, how long after its time each request was sent, ns.

    server_cpu_ns, client_cpu_ns: of the server's tree and of the client, in the window. server_waited_ns: how long the
    server was ready to run while somebody else had its core. others: the share of the two cores that neither server nor
    client used, but somebody did.
    """

    answered: int
    in_all: int
    seconds: float
    times: Times
    cancelled: int = 0
    failures: dict[str, int] = {}
    intervals: tuple[Times, ...] = ()
    late: Times | None = None
    server_cpu_ns: int = 0
    client_cpu_ns: int = 0
    server_waited_ns: int = 0
    others: float = 0.0


@dataclass(frozen=True, eq=False)
class Texts:
    """Byte strings with a number each: messages, or replies with the number of the message that each answers.

    numbers, sizes: int64 [n]. whole: all strings, one behind the other.
    """

    numbers: Int64s
    sizes: Int64s
    whole: bytes

    @classmethod
    def of(cls, numbers: Sequence[int], texts: Sequence[bytes]) -> Texts:
        """`texts` with `numbers`."""
        sizes = [len(text) for text in texts]
        return cls(np.array(numbers, np.int64), np.array(sizes, np.int64), b"".join(texts))

    def __len__(self) -> int:
        return len(self.numbers)

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        start = 0
        for number, size in zip(self.numbers.tolist(), self.sizes.tolist(), strict=True):
            yield number, self.whole[start : start + size]
            start += size

    def save(self, path: Path) -> None:
        """To be read by `load`."""
        whole = np.frombuffer(self.whole, np.uint8)
        np.savez(path, numbers=self.numbers, sizes=self.sizes, whole=whole)

    @classmethod
    def load(cls, path: Path) -> Texts:
        """What `save` wrote."""
        with np.load(path) as stored:
            return cls(stored["numbers"], stored["sizes"], stored["whole"].tobytes())


def ask_in_process(module: str, plan: Plan, messages: Sequence[bytes]) -> tuple[Outcome, Texts]:
    """Has `python -m module` carry out `plan` on the client's core, asking `messages` in turn, over and over."""
    with tempfile.TemporaryDirectory(dir=cache("runs")) as name:
        folder = Path(name)
        (folder / "plan").write_bytes(msgspec.json.encode(plan))
        Texts.of(range(len(messages)), messages).save(folder / _MESSAGES)
        done = subprocess.run(  # noqa: S603 - a module of ours, and a folder made here
            pinned(CLIENT_CORE, sys.executable, "-m", module, name),
            capture_output=True,
            text=True,
            timeout=plan.seconds + plan.warm_seconds + _PATIENCE_SECONDS,
            check=False,
        )
        if done.returncode:
            raise ClientFailed(
                f"{module}: expected an outcome, found that it ended with {done.returncode}: {done.stderr}"
            )
        return msgspec.json.decode((folder / "outcome").read_bytes(), type=Outcome), Texts.load(folder / _REPLIES)


def read_plan(folder: Path) -> tuple[Plan, tuple[bytes, ...]]:
    """The plan and the messages of a client process."""
    plan = msgspec.json.decode((folder / "plan").read_bytes(), type=Plan)
    return plan, tuple(message for _, message in Texts.load(folder / _MESSAGES))


def write_outcome(folder: Path, outcome: Outcome, replies: Texts) -> None:
    """What a client process hands back."""
    replies.save(folder / _REPLIES)
    (folder / "outcome").write_bytes(msgspec.json.encode(outcome))


@dataclass(frozen=True)
class Spent:
    """CPU so far, at one moment. clock, anybody (both cores together): seconds. server, waited, client: ns."""

    clock: float
    server: int
    waited: int
    client: int
    anybody: float

    @classmethod
    def now(cls, server: int) -> Spent:
        """server: process whose tree is counted, 0 for none."""
        spent, waited = (cpu_ns(server), waited_ns(server)) if server else (0, 0)
        return cls(time.monotonic(), spent, waited, time.process_time_ns(), busy_seconds(SERVER_CORE, CLIENT_CORE))

    def others(self, before: Spent) -> float:
        """The share of the two cores since `before` that somebody else used; 0 where the server is not known."""
        if not self.server:
            return 0.0
        ours = (self.server - before.server + self.client - before.client) / 1e9
        seconds = self.clock - before.clock
        return max(self.anybody - before.anybody - ours, 0.0) / (2 * seconds)


def stop_collector() -> None:
    """No collector while the clock runs: what a client keeps is freed with the process."""
    import gc

    gc.collect()
    gc.freeze()
    gc.disable()
