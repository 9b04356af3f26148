"""Closed loop: how many requests a second, how long one alone takes, what it costs (02.1 to 02.5, 02.10, 02.14, 02.15).

Method: `signalbox serve --scratch` on core 0, the client on core 1, each server alone on the machine and held to ONNX
Runtime's scores; interleaved rounds, medians, warm-up discarded; a request carries one row inline. Every reading is
refused unless the worker itself counted as many rows scored as the client sent (`loadtests.clients.h2load`).

Load models: 64 in flight on one connection; 64 connections with one request each; one in flight. All closed: they say
how much is served and how long a lone request takes, not what callers wait at a given rate; that is the open loop's.
"""

from __future__ import annotations

from functools import partial

from loadtests.clients import h2load
from loadtests.harness.certificate import make_certificate
from loadtests.harness.model import BenchModel, bench_model, make_rows
from loadtests.harness.questions import EchoQuestion, InferQuestion, ScoreQuestion
from loadtests.harness.readings import Load
from loadtests.harness.results import Row
from loadtests.harness.rounds import Contestant, Probe, interleave
from loadtests.harness.scorers import Options, scratch
from loadtests.peers.echoes import aio_echo
from loadtests.serving.judged import Judged

ROUNDS = 5
SECONDS = 2.5
BUSY, MANY, ALONE = Load(in_flight=64), Load(connections=64), Load(logged=True)

_RATE, _MEAN, _P50, _P99, _CPU = "per_second", "mean_us", "p50_us", "p99_us", "cpu_us"
JUDGED = (
    Judged("02.1a", "Score, 64 in flight", "native-score.64", _RATE, "requests/s", 140_000),
    Judged("02.2a", "ModelInfer, 64 in flight", "native-infer.64", _RATE, "requests/s", 100_000),
    Judged("02.3a", "Score, native over grpcio", "native-score.64", _RATE, "×", 14, over="grpcio-score.64"),
    Judged("02.3b", "Score by grpcio over a bare grpc.aio echo of the same bytes, at least 0.7",
           "grpcio-score.64", _RATE, "×", 0.7, over="echo-aio.64"),
    Judged("02.4a", "Score, 64 connections", "native-score.c64", _RATE, "requests/s", 60_000),
    Judged("02.4b", "ModelInfer, 64 connections", "native-infer.c64", _RATE, "requests/s", 60_000),
    Judged("02.5a", "Score alone, mean", "native-score.1", _MEAN, "µs", 85, most=True),
    Judged("02.5b", "Score alone, p99", "native-score.1", _P99, "µs", 150, most=True),
    Judged("02.5c", "Score alone, mean over the grpcio transport's", "native-score.1", _MEAN, "×", 0.5,
           most=True, over="grpcio-score.1"),
    Judged("02.5d", "ModelInfer alone, mean", "native-infer.1", _MEAN, "µs", 85, most=True),
    Judged("02.5e", "ModelInfer alone, p99", "native-infer.1", _P99, "µs", 150, most=True),
    Judged("02.5f", "ModelInfer alone, mean over the grpcio transport's", "native-infer.1", _MEAN, "×", 0.5,
           most=True, over="grpcio-infer.1"),
    Judged("02.10a", "Score with TLS over Score without, 64 in flight", "native-tls-score.64", _RATE, "×",
           0.8, over="native-score.64"),
    Judged("02.14a", "Score, 64 in flight, CPU of the whole scorer", "native-score.64", _CPU, "µs", 8,
           most=True),
    Judged("02.14b", "Score alone, CPU of the whole scorer", "native-score.1", _CPU, "µs", 55, most=True),
    Judged("02.15a", "Score alone, --busy-poll, p50", "native-busy-poll-score.1", _P50, "µs", 50, most=True),
    Judged("02.15b", "Score alone, --busy-poll, p99", "native-busy-poll-score.1", _P99, "µs", 90, most=True),
)  # fmt: skip


def rows(rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Row]:
    """Every row of this module."""
    readings = interleave(contestants(bench_model("m100")), rounds=rounds, seconds=seconds)
    return [judged.row(readings) for judged in JUDGED]


def contestants(model: BenchModel) -> list[Contestant]:
    """The scorer in each setting that is asked about, and the echo beside it."""
    one = make_rows(1)
    score, infer = ScoreQuestion(model, one), InferQuestion(model, one)

    def scorer(options: Options, *probes: Probe) -> Contestant:
        return Contestant(options.name, partial(scratch, model, options), probes)

    return [
        scorer(
            Options("native"),
            h2load.probe("native-score.64", score, BUSY),
            h2load.probe("native-infer.64", infer, BUSY),
            h2load.probe("native-score.c64", score, MANY),
            h2load.probe("native-infer.c64", infer, MANY),
            h2load.probe("native-score.1", score, ALONE),
            h2load.probe("native-infer.1", infer, ALONE),
        ),
        scorer(
            Options("grpcio"),
            h2load.probe("grpcio-score.64", score, BUSY),
            h2load.probe("grpcio-score.1", score, ALONE),
            h2load.probe("grpcio-infer.1", infer, ALONE),
        ),
        scorer(Options("native", certificate=make_certificate()), h2load.probe("native-tls-score.64", score, BUSY)),
        scorer(Options("native", busy_poll=True), h2load.probe("native-busy-poll-score.1", score, ALONE)),
        Contestant("echo-aio", aio_echo, (h2load.probe("echo-aio.64", EchoQuestion(score.message), BUSY),)),
    ]
