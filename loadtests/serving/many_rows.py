"""Many rows in one request, beside ONNX Runtime alone (02.8).

Question: what share of bare `session.run`'s rows a second is left when 3,000 rows come in one request? Method: native
transport, server on core 0, h2load on core 1, 3,000 different rows a request (384,000 bytes); before each reading a
bare run of the same rows on core 0, in a process of its own; ratios round by round, medians. Load model: closed loop on
one connection, one request in flight: the scorer also waits while the client takes an answer in and sends the next.
"""

from __future__ import annotations

from functools import partial
from statistics import median

from loadtests.clients import h2load
from loadtests.harness.model import BenchModel, bench_model, make_rows
from loadtests.harness.progress import say
from loadtests.harness.questions import InferQuestion, Question, ScoreQuestion
from loadtests.harness.readings import Load
from loadtests.harness.results import Row
from loadtests.harness.rounds import Contestant, NoReading, Readings, interleave
from loadtests.harness.scorers import Options, scratch
from loadtests.serving.bare_run import rows_per_second
from loadtests.serving.bars import failed, row

ROUNDS = 3
SECONDS = 2.5
ROWS = 3000
LEAST = 0.9
ALONE = Load()
METHODS = {"02.8a": "Score", "02.8b": "ModelInfer"}


def rows(rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Row]:
    """Every row of this module."""
    model = bench_model("m100")
    bare, rounds_of_ours = [], []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}: bare session.run")
        bare.append(rows_per_second(model, ROWS, seconds))
        rounds_of_ours.append(interleave([_contestant(model)], rounds=1, seconds=seconds))
    return [_row(row_id, bare, rounds_of_ours) for row_id in METHODS]


def _contestant(model: BenchModel) -> Contestant:
    many = make_rows(ROWS)
    questions: dict[str, Question] = {"Score": ScoreQuestion(model, many), "ModelInfer": InferQuestion(model, many)}
    probes = tuple(h2load.probe(row_id, questions[method], ALONE) for row_id, method in METHODS.items())
    return Contestant("native-many-rows", partial(scratch, model, Options()), probes)


def _row(row_id: str, bare: list[float], ours: list[Readings]) -> Row:
    try:
        served = [readings.median(row_id, "per_second") * ROWS for readings in ours]
    except NoReading as error:
        return failed(row_id, str(error))
    ratios = [mine / alone for mine, alone in zip(served, bare, strict=True)]
    what = (
        f"{METHODS[row_id]}, {ALONE.words}: {median(served):,.0f} rows/s over bare {median(bare):,.0f} rows/s "
        f"({min(ratios):.3g} to {max(ratios):.3g})"
    )
    value = median(ratios)
    return row(row_id, what, value, "×", ok=value >= LEAST)
