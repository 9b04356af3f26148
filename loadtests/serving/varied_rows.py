"""Rows that all differ, by our own client, closed loop (02.1, 02.2, 02.4, 02.6, 02.10, 02.14).

Method: as in `loadtests.serving.closed_loop`, but the client is `loadtests.clients.grpc_client`: 16,384 different rows
in turn, so that no branch predictor learns one; requests are made before the run, so that the client's core keeps up. A
reading is refused unless every call ended with grpc-status 0, the worker counted as many rows scored, and replies kept
from all over the run have ONNX Runtime's scores, bit by bit (`loadtests.clients.varied`). Five interleaved rounds,
medians.

02.6: the same connection, rows and run, with a `grpc-timeout` (1.0 to 1.2 s) and a `traceparent` that differ on every
call, sent in the three ways that clients have: literals without indexing (a), all indexed and Huffman-coded as Go does
(b), timeouts rounded and kept in the table with literal traces as gRPC's C core does (c).

Load models: closed loop, 64 in flight on one connection; 64 connections with one request each; one in flight.
"""

from __future__ import annotations

from functools import partial

from loadtests.clients import varied
from loadtests.clients.prepared import Headers
from loadtests.clients.varied import VariedLoad, VariedQuestions
from loadtests.harness.certificate import make_certificate
from loadtests.harness.model import BenchModel, bench_model
from loadtests.harness.questions import InferQuestion, ScoreQuestion
from loadtests.harness.results import Row
from loadtests.harness.rounds import Contestant, interleave
from loadtests.harness.scorers import Options, scratch
from loadtests.serving.judged import Judged

ROUNDS = 5
SECONDS = 2.0
LEAST_SHARE = 0.6  # of 02.1, with headers that differ
BUSY, MANY, ALONE = VariedLoad(in_flight=64), VariedLoad(connections=64), VariedLoad()
_VARYING = {"a": Headers.LITERAL, "b": Headers.INDEXED, "c": Headers.ROUNDED}

_CLIENT = "our client, rows all different"
_Row = partial(Judged, client=_CLIENT)
JUDGED = (
    _Row("02.1b", "Score, 64 in flight", "score.64", "per_second", "requests/s", 140_000),
    _Row("02.2b", "ModelInfer, 64 in flight", "infer.64", "per_second", "requests/s", 100_000),
    _Row("02.4c", "Score, 64 connections", "score.c64", "per_second", "requests/s", 60_000),
    _Row("02.4d", "ModelInfer, 64 connections", "infer.c64", "per_second", "requests/s", 60_000),
    *(
        _Row(f"02.6{letter}", f"Score, 64 in flight, {headers.value}, over 02.1b", f"score.64.{headers.name}",
             "per_second", "×", LEAST_SHARE, over="score.64")
        for letter, headers in _VARYING.items()
    ),
    _Row("02.10b", "Score with TLS over Score without, 64 in flight", "tls-score.64", "per_second", "×", 0.8,
         over="score.64"),
    _Row("02.14c", "Score, 64 in flight, CPU of the whole scorer", "score.64", "cpu_us", "µs", 8, most=True),
    _Row("02.14d", "Score alone, CPU of the whole scorer", "score.1", "cpu_us", "µs", 55, most=True),
)  # fmt: skip


def rows(rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Row]:
    """Every row of this module."""
    readings = interleave(contestants(bench_model("m100")), rounds=rounds, seconds=seconds)
    return [judged.row(readings) for judged in JUDGED]


def contestants(model: BenchModel) -> list[Contestant]:
    """The scorer without TLS and with it."""
    score, infer = VariedQuestions(ScoreQuestion, model), VariedQuestions(InferQuestion, model)
    varying = [
        varied.probe(f"score.64.{headers.name}", score, VariedLoad(in_flight=64, headers=headers))
        for headers in _VARYING.values()
    ]
    plain = (
        varied.probe("score.64", score, BUSY),
        *varying,
        varied.probe("infer.64", infer, BUSY),
        varied.probe("score.c64", score, MANY),
        varied.probe("infer.c64", infer, MANY),
        varied.probe("score.1", score, ALONE),
    )
    secret = Options(certificate=make_certificate())
    return [
        Contestant("native-varied", partial(scratch, model, Options()), plain),
        Contestant("native-tls-varied", partial(scratch, model, secret), (varied.probe("tls-score.64", score, BUSY),)),
    ]
