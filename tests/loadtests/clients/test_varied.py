"""Our client as a bench's client: readings of right answers, and refusals of all others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from loadtests.clients.files import ClientFailed, Outcome, Plan, Texts, Times, ask_in_process
from loadtests.clients.prepared import Headers
from loadtests.clients.varied import VariedLoad, VariedQuestions, ask, check_replies, measure, reading_of
from loadtests.harness.histogram import Histogram
from loadtests.harness.model import BenchModel, make_rows
from loadtests.harness.questions import InferQuestion, ManyQuestions, ScoreQuestion, WrongAnswer
from loadtests.harness.readings import Load, ReadingRefused
from loadtests.harness.servers import Server, running
from loadtests.peers.echoes import EchoQuestions, aio_echo
from loadtests.serving.by_instrument import InstrumentQuestions
from loadtests.serving.latency_at_rate import CLIENT, AtRate
from protos.signalbox.v1 import scorer_pb2

ECHOES = EchoQuestions([b"message %d" % number for number in range(500)])


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(aio_echo(), ECHOES) as started:
        yield started


@dataclass(frozen=True, eq=False)
class WrongEchoes(EchoQuestions):
    """Expects another message than it sends, in one of fifty: wherever in the cycle a run begins, it meets one."""

    def check_one(self, number: int, reply: bytes) -> None:
        super().check_one(number + (number % 50 == 3), reply)


def test_a_reading_of_a_server_in_a_process_of_its_own(server: Server) -> None:
    before = server.counted()

    found = measure(server, ECHOES, VariedLoad(in_flight=8, headers=Headers.INDEXED), seconds=0.5)

    assert 0 < found.requests < server.counted() - before  # the warm-up is counted by the server alone
    assert found.per_second == pytest.approx(found.requests / 0.5, rel=0.5)
    assert 0 < found.p50_us <= found.p99_us <= found.p999_us <= found.max_us
    assert found.cpu_us > 0
    assert found.client_cpu_us > 0


def test_one_wrong_answer_among_many_refuses_the_reading(server: Server) -> None:
    plan = Plan(address=server.address, path=ECHOES.path, seconds=0.2, in_flight=8, keep_every=1)
    with pytest.raises(ReadingRefused, match=r"question \d*[05]?3: expected the \d+ bytes that were sent"):
        ask(server, WrongEchoes(ECHOES.messages), plan)


def test_an_error_refuses_the_reading(server: Server) -> None:
    with pytest.raises(ReadingRefused, match=r"failures \{'12: "):
        measure(server, replace(ECHOES, path="/bench.Echo/Nothing"), Load(in_flight=8), seconds=0.1)


def test_a_server_that_counts_others_refuses_the_reading(server: Server) -> None:
    boasting = replace(server, launch=replace(server.launch, counted=lambda: 0))
    with pytest.raises(ReadingRefused, match="and 0 by the server's own count"):
        measure(boasting, ECHOES, Load(), seconds=0.1)


def test_one_question_is_not_many(server: Server, model: BenchModel) -> None:
    with pytest.raises(TypeError, match="give VariedQuestions"):
        measure(server, ScoreQuestion(model, make_rows(1)), Load(), seconds=0.1)


def test_a_client_that_fails_says_why() -> None:
    with pytest.raises(ClientFailed, match="ConnectionRefusedError"):
        ask_in_process("loadtests.clients.grpc_client", Plan(address="127.0.0.1:1", path="/t/E", seconds=0.1), [b"a"])


def test_latency_at_a_rate_is_taken_from_a_server(server: Server) -> None:
    plan = Plan(address=server.address, path=ECHOES.path, seconds=0.5, warm_seconds=0.1, rate=200.0, poisson=True)

    found = AtRate(ask(server, ECHOES, plan, client=CLIENT))

    assert found.outcome.in_all == 120
    assert found.times.total == found.late.total == found.outcome.answered
    assert found.late.max < found.times.max


@pytest.mark.parametrize("kind", [ScoreQuestion, InferQuestion])
def test_varied_questions_have_rows_of_their_own(
    kind: type[ScoreQuestion] | type[InferQuestion], model: BenchModel
) -> None:
    questions = VariedQuestions(kind, model, count=20)

    assert isinstance(questions, ManyQuestions)
    assert questions.path == kind.path
    assert questions.message == questions.messages[0] == kind(model, make_rows(20)[:1]).message
    assert len(set(questions.messages)) == 20


def test_questions_by_instrument_know_each_ones_score(model: BenchModel) -> None:
    values = make_rows(3)
    questions = InstrumentQuestions(model, ("AAA", "BBB", "CCC"), values)
    scores = model.scores(values)

    def reply(at: int, status: bytes = b"\0") -> bytes:
        return bytes(scorer_pb2.ScoreReply(scores=scores[at : at + 1].tobytes(), status=status).SerializeToString())

    asked = [list(scorer_pb2.ScoreRequest.FromString(message).instruments) for message in questions.messages]
    assert asked == [["AAA"], ["BBB"], ["CCC"]]
    for at in range(3):
        questions.check_one(at, reply(at))
    with pytest.raises(WrongAnswer, match="of BBB, found"):
        questions.check_one(1, reply(2))
    with pytest.raises(WrongAnswer, match=r"status OK of AAA, found .* and \[1\]"):
        questions.check(reply(0, b"\1"))


def test_a_run_without_replies_is_no_reading() -> None:
    with pytest.raises(ReadingRefused, match="none was kept"):
        check_replies(ECHOES, Texts.of((), ()))
    with pytest.raises(ReadingRefused, match="found none"):
        reading_of(Outcome(answered=0, in_all=9, seconds=1.0, times=Times.of(Histogram())))


def at_rate(late_us: float = 1.0, answered: int = 1000) -> AtRate:
    times = Times.of(Histogram.of(np.full(1000, 100_000)))
    late = Times.of(Histogram.of(np.full(1000, int(late_us * 1000))))
    return AtRate(Outcome(answered=answered, in_all=1000, seconds=1.0, times=times, late=late))


def test_a_late_sender_or_a_rate_not_reached_refuses_the_reading() -> None:
    at_rate().check(1000)
    with pytest.raises(ReadingRefused, match="p99 of its lateness at most 50 µs, found 51"):
        at_rate(late_us=51.0).check(1000)
    with pytest.raises(ReadingRefused, match="expected 1,000 requests/s, found 980"):
        at_rate(answered=980).check(1000)


def test_texts_travel(tmp_path: Path) -> None:
    texts = Texts.of([3, 1, 2], [b"abc", b"", b"\0\1"])
    texts.save(tmp_path / "texts.npz")

    assert list(Texts.load(tmp_path / "texts.npz")) == [(3, b"abc"), (1, b""), (2, b"\0\1")]
