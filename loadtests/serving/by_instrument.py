"""By instrument from the table, rows that have not changed (02.9).

Question: how many requests a second ask for an instrument's score when its row is the same as before? Such a row is not
scored again: the score that is kept per (row, release) is looked up, checked and sent (exact, not approximate). Method:
a home with one release of the 100-tree model and 1,000 instruments, `signalbox serve` on core 0, one row of each pushed
over the control socket; then one instrument a request, 64 in flight on one connection, closed loop. By
h2load (a: the same instrument again and again) and by our own client (b: all instruments in turn, and replies kept from
all over the run are ONNX Runtime's scores of the pushed rows). A reading is refused unless the worker counted as many
rows answered with status OK. Both clients in each round, on one server; medians over the rounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from loadtests.clients import h2load, varied
from loadtests.harness.homes import fill, home_of
from loadtests.harness.model import BenchModel, Float32s, bench_model, make_rows
from loadtests.harness.questions import FirstOfMany, WrongAnswer
from loadtests.harness.readings import Load
from loadtests.harness.results import Row
from loadtests.harness.rounds import Contestant, interleave
from loadtests.harness.scorers import Options, home
from loadtests.harness.small_release import SIGNAL
from loadtests.serving.judged import Judged

ROUNDS = 3
SECONDS = 2.5
INSTRUMENTS = 1000
LEAST = 120_000
BUSY = Load(in_flight=64)


@dataclass(frozen=True, eq=False)
class InstrumentQuestions(FirstOfMany):
    """One question for each instrument of a universe: the score of its row. values: float32 [instrument, column]."""

    model: BenchModel
    universe: Sequence[str]
    values: Float32s
    path: str = "/signalbox.v1.Scorer/Score"
    rows: int = 1

    @cached_property
    def messages(self) -> Sequence[bytes]:
        """See ManyQuestions."""
        from protos.signalbox.v1 import scorer_pb2

        requests = (scorer_pb2.ScoreRequest(signal=SIGNAL, instruments=[name]) for name in self.universe)
        return [bytes(request.SerializeToString()) for request in requests]

    def check_one(self, number: int, reply: bytes) -> None:
        """See ManyQuestions."""
        from protos.signalbox.v1 import scorer_pb2

        answer = scorer_pb2.ScoreReply.FromString(reply)
        scores = np.frombuffer(answer.scores, "<f4")
        if answer.status != b"\0" or scores.tolist() != [self._scores[number]]:
            raise WrongAnswer(
                f"expected score {self._scores[number]} and status OK of {self.universe[number]}, found "
                f"{scores.tolist()} and {list(answer.status)}"
            )

    @cached_property
    def _scores(self) -> Float32s:
        return self.model.scores(self.values)


JUDGED = (
    Judged("02.9a", "Score of one instrument, 64 in flight", "one.64", "per_second", "requests/s", LEAST,
           client="h2load, one instrument repeated"),
    Judged("02.9b", "Score of one instrument, 64 in flight", "all.64", "per_second", "requests/s", LEAST,
           client="our client, 1,000 instruments in turn"),
)  # fmt: skip


def rows(rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Row]:
    """Every row of this module."""
    values = make_rows(INSTRUMENTS)
    with home_of(["m100"], instruments=INSTRUMENTS) as small:
        questions = InstrumentQuestions(bench_model("m100"), small.universe, values)
        contestant = Contestant(
            "native-by-instrument",
            partial(home, small.home.root, Options()),
            (h2load.probe("one.64", questions, BUSY), varied.probe("all.64", questions, BUSY)),
            fill=partial(fill, small, values),
        )
        readings = interleave([contestant], rounds=rounds, seconds=seconds)
    return [judged.row(readings) for judged in JUDGED]
