"""Our own client as a bench's client: rows that all differ, closed loop, every request accounted for.

`measure` has `loadtests.clients.grpc_client` ask thousands of different questions in turn, in a process of its own on
the client's core. A reading is refused unless every call ended with grpc-status 0, the server's own count of rightly
answered requests rose by exactly as many, and replies kept from all over the run are the oracle's, bit by bit.

`loadtests.clients.h2load` repeats one row, which a branch predictor learns; what a server does with rows that differ is
read here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress

import numpy as np

from loadtests.clients.files import ClientFailed, Outcome, Plan, Texts, ask_in_process
from loadtests.clients.prepared import Headers
from loadtests.harness.model import BenchModel, make_rows
from loadtests.harness.questions import (
    FirstOfMany,
    InferQuestion,
    ManyQuestions,
    Question,
    ScoreQuestion,
    WrongAnswer,
    varied,
)
from loadtests.harness.readings import Load, Reading, ReadingRefused
from loadtests.harness.rounds import Probe
from loadtests.harness.servers import Server

CLIENT = "loadtests.clients.grpc_client"
QUESTIONS = 16_384  # different ones, asked in turn
_MOST_CHECKED = 3_000  # replies of a run; each is scored again, alone
_FEW = 8


@dataclass(frozen=True, eq=False)
class VariedQuestions(FirstOfMany):
    """`count` questions of a kind, one row each, no two rows alike."""

    kind: type[ScoreQuestion] | type[InferQuestion]
    model: BenchModel
    count: int = QUESTIONS
    rows: int = 1

    @property
    def path(self) -> str:
        """See Question."""
        return self.kind.path

    @cached_property
    def messages(self) -> Sequence[bytes]:
        """See ManyQuestions."""
        return [question.message for question in self._questions]

    def check_one(self, number: int, reply: bytes) -> None:
        """See ManyQuestions."""
        self._questions[number].check(reply)

    @cached_property
    def _questions(self) -> Sequence[Question]:
        return tuple(varied(self.kind, self.model, make_rows(self.count)))


@dataclass(frozen=True)
class VariedLoad(Load):
    """A closed loop whose header blocks may differ from call to call."""

    headers: Headers = Headers.SAME

    @property
    def words(self) -> str:
        """See Load."""
        differ = "" if self.headers is Headers.SAME else f", {self.headers.value}"
        return f"{super().words}{differ}"


@dataclass(frozen=True)
class VariedReading(Reading):
    """A Reading, and what h2load does not tell. client_cpu_us: CPU of the client per request."""

    p999_us: float
    max_us: float
    client_cpu_us: float


def probe(name: str, question: ManyQuestions, load: Load) -> Probe:
    """A probe that asks `question`'s questions in turn."""
    return Probe(name, question, load, measure)


def measure(server: Server, question: Question, load: Load, *, seconds: float) -> VariedReading:
    """About `seconds` of `load` on `server`, after a warm-up that is thrown away. See the module for refusals."""
    if not isinstance(question, ManyQuestions):
        raise TypeError(f"{question.path}: expected questions that differ, found one; give VariedQuestions")
    plan = Plan(
        address=server.address,
        path=question.path,
        seconds=seconds,
        connections=load.connections,
        in_flight=load.in_flight,
        headers=load.headers if isinstance(load, VariedLoad) else Headers.SAME,
        certificate=(server.launch.certificate or b"").decode(),
        server=server.process.pid,
        keep_every=32 if load.in_flight >= _FEW else 8,
    )
    return reading_of(ask(server, question, plan))


def ask(server: Server, question: ManyQuestions, plan: Plan, *, client: str = CLIENT) -> Outcome:
    """Has `client` carry out `plan` with the questions. ReadingRefused and ServerFailed as the module says."""
    before = server.counted()
    try:
        outcome, replies = ask_in_process(client, plan, question.messages)
    except ClientFailed as error:
        raise server.failed(str(error)) from error
    counted = server.counted() - before
    if outcome.failures or counted != outcome.in_all * question.rows:
        raise ReadingRefused(
            f"{server.launch.name}: expected every call answered well, found failures {outcome.failures}, "
            f"{outcome.in_all} calls answered and {counted} by the server's own count"
        )
    check_replies(question, replies)
    return outcome


def check_replies(question: ManyQuestions, replies: Texts) -> None:
    """ReadingRefused unless kept replies, of at most a few thousand, are right; and when none was kept.

    They are drawn by chance, always the same: every n-th would be the same questions of a cycle again and again.
    """
    if not len(replies):
        raise ReadingRefused(f"{question.path}: expected replies to check, found that none was kept")
    drawn = np.zeros(len(replies), bool)
    drawn[np.random.default_rng(0).permutation(len(replies))[:_MOST_CHECKED]] = True
    for number, reply in compress(replies, drawn):
        try:
            question.check_one(number, reply)
        except WrongAnswer as error:
            raise ReadingRefused(f"{question.path}: question {number}: {error}") from error


def reading_of(outcome: Outcome) -> VariedReading:
    """The numbers of an outcome."""
    times, answered = outcome.times.histogram(), outcome.answered
    if not answered:
        raise ReadingRefused(f"expected calls answered in {outcome.seconds:.1f} s, found none")
    return VariedReading(
        requests=answered,
        per_second=answered / outcome.seconds,
        mean_us=times.mean / 1e3,
        p50_us=times.percentile(50) / 1e3,
        p99_us=times.percentile(99) / 1e3,
        cpu_us=outcome.server_cpu_ns / 1e3 / answered,
        others=outcome.others,
        p999_us=times.percentile(99.9) / 1e3,
        max_us=times.max / 1e3,
        client_cpu_us=outcome.client_cpu_ns / 1e3 / answered,
    )
