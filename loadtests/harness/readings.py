"""What a client is asked for and what it gives back: a load, and a reading of a server under it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from loadtests.harness.questions import Question
from loadtests.harness.servers import Server


class ReadingRefused(Exception):
    """A run whose number must not be believed: failed requests, or a server that counted others than were sent."""


@dataclass(frozen=True)
class Load:
    """How many connections, and how many requests each keeps in flight. logged: whether percentiles are taken."""

    connections: int = 1
    in_flight: int = 1
    logged: bool = False

    @property
    def words(self) -> str:
        """The load model, in words."""
        if self.connections == 1:
            return f"closed loop, one connection, {self.in_flight} in flight"
        return f"closed loop, {self.connections} connections, {self.in_flight} in flight on each"


@dataclass(frozen=True)
class Reading:
    """One measured run. per_second: requests. mean_us, p50_us, p99_us: from the request's first byte to the reply's
    last, in the client; percentiles are NaN where the load was not logged. cpu_us: the server's CPU per request.
    others: the share of the two cores that neither server nor client used, but somebody did; a reading beside a busy
    neighbour says little.
    """

    requests: int
    per_second: float
    mean_us: float
    p50_us: float
    p99_us: float
    cpu_us: float
    others: float


class Measure(Protocol):
    """A client: one run of about `seconds`, warm-up discarded; ReadingRefused when its number must not be believed."""

    def __call__(self, server: Server, question: Question, load: Load, *, seconds: float) -> Reading:
        """See the class."""
        ...
