"""How many requests a second one core serves: Signalbox's two transports beside other servers, on one machine.

Question: the same ONNX file, the same row, the same client; who serves more on one core, and what does a request cost?
Method: server pinned to core 0, the client to core 1, each server alone on the machine, started, held to ONNX Runtime's
scores before and after every reading, measured, stopped; interleaved rounds, medians, warm-up discarded. Load: closed
loop on one connection, 64 in flight (requests a second) and one in flight (latency); one row a request. The client is
h2load, which repeats one row, and for 64 in flight (`64v`) also Signalbox's own, whose rows all differ.
Server CPU a request is the scheduler's account (schedstat) over all threads of all processes of a server.

The echoes score nothing: they give back the bytes of Signalbox's Score request, and show what a transport alone costs.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from loadtests.clients import h2load, varied
from loadtests.clients.varied import VariedQuestions
from loadtests.harness.model import SHAPES, BenchModel, bench_model, make_rows
from loadtests.harness.progress import say
from loadtests.harness.questions import EchoQuestion, InferQuestion, ManyQuestions, Question, ScoreQuestion
from loadtests.harness.readings import Load
from loadtests.harness.results import Row, write
from loadtests.harness.rounds import Contestant, NoReading, Probe, Readings, interleave
from loadtests.harness.scorers import Options, scratch
from loadtests.harness.servers import Launch, PeerMissing
from loadtests.peers.echoes import EchoQuestions, aio_echo, cpp_echo, go_echo
from loadtests.peers.mlserver import mlserver
from loadtests.peers.triton import triton

BUSY, ALONE = Load(in_flight=64), Load(logged=True)
OURS_SCORE, OURS_INFER = "native-score", "native-infer"
REPORTED = "reported"
AHEAD = "ahead of all of them: more than 1"
NOT_COMPARED = """
Not compared: Triton's C++ ONNX Runtime backend (not in the wheel; measured elsewhere on such a machine, server and
client on a core each: 38,400 requests/s with 64 in flight, 48,800 with dynamic batching, 98 µs alone, 22 µs of CPU a
request with batching: quoted, not measured by this command); GPUs; several model instances or cores; shared memory;
open-loop latency; TLS; REST. MLServer's adaptive batching and parallel workers, and Triton's batching
delay, are left off: each makes a model of microseconds slower.
"""
PEERS = ("triton", "triton-batching", "mlserver")  # they speak the Open Inference Protocol and score
ECHOES = ("echo-cpp", "echo-go", "echo-aio")


@dataclass(frozen=True)
class Column:
    """One number of a Reading: the end of its row's id, its name, its unit, and its field."""

    suffix: str
    what: str
    unit: str
    field: str


RATE = Column("", "requests a second", "1/s", "per_second")
P50 = Column("", "p50 latency", "µs", "p50_us")
P99 = Column(".p99", "p99 latency", "µs", "p99_us")
CPU = Column(".cpu", "server CPU a request", "µs", "cpu_us")
CLIENT_WORDS = {h2load.measure: "h2load, one row repeated", varied.measure: "our own client, rows that all differ"}
COLUMNS = {BUSY: (RATE, CPU), ALONE: (P50, P99, CPU)}


def main() -> None:
    """Runs the bench and writes docs/benchmarks/peers.json (peers_m500.json for the bigger model)."""
    asked = _arguments()
    h2load.require()
    model = bench_model(asked.model)
    contestants = make_contestants(model)
    prepare(contestants)
    readings = interleave(contestants, rounds=asked.rounds, seconds=asked.seconds)
    ratios = ratio_rows(readings)
    rows = [row for contestant in contestants for row in reading_rows(contestant, readings)] + ratios
    for row in ratios:
        print(f"{row.value:8.2f} × {row.what}")
    print(NOT_COMPARED)
    name = "peers" if asked.model == "m100" else f"peers_{asked.model}"
    print(write(name, rows, how=_how(asked, readings)))


def make_contestants(model: BenchModel) -> list[Contestant]:
    """Who takes part: Signalbox by either transport and either protocol, the peers, the echoes."""
    rows = make_rows(1)
    infer = InferQuestion(model, rows), VariedQuestions(InferQuestion, model)
    score = ScoreQuestion(model, rows), VariedQuestions(ScoreQuestion, model)
    echo = EchoQuestion(score[0].message), EchoQuestions(score[1].messages)

    def ours(transport: str) -> Contestant:
        probes = (*_probes(f"{transport}-score", *score), *_probes(f"{transport}-infer", *infer))
        return Contestant(f"signalbox-{transport}", partial(scratch, model, Options(transport)), probes)

    def other(name: str, launch: Callable[[], Launch], questions: tuple[Question, ManyQuestions]) -> Contestant:
        return Contestant(name, launch, _probes(name, *questions))

    return [
        ours("native"),
        ours("grpcio"),
        other("triton", partial(triton, model, batching=False), infer),
        other("triton-batching", partial(triton, model, batching=True), infer),
        other("mlserver", partial(mlserver, model), infer),
        other("echo-cpp", cpp_echo, echo),
        other("echo-go", go_echo, echo),
        other("echo-aio", aio_echo, echo),
    ]


def prepare(contestants: Sequence[Contestant]) -> None:
    """Builds every environment before anything is measured; what is missing is told now and again in the results."""
    for contestant in contestants:
        try:
            contestant.launch()
        except PeerMissing as error:
            say(f"{contestant.name} cannot take part: {error}")


def reading_rows(contestant: Contestant, readings: Readings) -> list[Row]:
    """Requests a second, latency alone and CPU of one contestant's probes."""
    return [_reading_row(probe, column, readings) for probe in contestant.probes for column in COLUMNS[probe.load]]


def ratio_rows(readings: Readings) -> list[Row]:
    """How far Signalbox is ahead of each of the others, round by round; the value is the median. More is better."""
    rows = []
    for name in PEERS:
        rows.append(_ratio_row(f"{OURS_INFER}.64", f"{name}.64", RATE, readings))
        rows.append(_ratio_row(f"{OURS_INFER}.64v", f"{name}.64v", RATE, readings))
        rows.append(_ratio_row(f"{name}.1", f"{OURS_INFER}.1", P50, readings))
        rows.append(_ratio_row(f"{name}.64", f"{OURS_INFER}.64", CPU, readings))
    for name in (*ECHOES, "grpcio-score"):
        rows.append(_ratio_row(f"{OURS_SCORE}.64", f"{name}.64", RATE, readings))
        rows.append(_ratio_row(f"{OURS_SCORE}.64v", f"{name}.64v", RATE, readings))
        rows.append(_ratio_row(f"{name}.64", f"{OURS_SCORE}.64", CPU, readings))
    return rows


def _probes(name: str, repeated: Question, different: ManyQuestions) -> tuple[Probe, ...]:
    return (
        h2load.probe(f"{name}.64", repeated, BUSY),
        h2load.probe(f"{name}.1", repeated, ALONE),
        varied.probe(f"{name}.64v", different, BUSY),
    )


def _reading_row(probe: Probe, column: Column, readings: Readings) -> Row:
    row_id = f"peers.{probe.name}{column.suffix}"
    what = f"{probe.name.rpartition('.')[0]}: {column.what}, {probe.load.words}, {CLIENT_WORDS[probe.measure]}"
    try:
        values = readings.all(probe.name, column.field)
    except NoReading as error:
        return Row(row_id, f"{what}; not measured: {error}", 0.0, column.unit, REPORTED, False)
    return Row(row_id, f"{what} ({_spread(values)})", statistics.median(values), column.unit, REPORTED, True)


def _ratio_row(above: str, below: str, column: Column, readings: Readings) -> Row:
    row_id = f"ratio.{above}.{below}{column.suffix}"
    what = f"{column.what}: {above} over {below}"
    try:
        ratios = readings.ratios(above, below, column.field)
    except NoReading as error:
        return Row(row_id, f"{what}; not measured: {error}", 0.0, "×", AHEAD, False)
    value = statistics.median(ratios)
    return Row(row_id, f"{what} ({_spread(ratios)})", value, "×", AHEAD, value > 1)


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):,.4g} to {max(values):,.4g}"


def _how(asked: argparse.Namespace, readings: Readings) -> str:
    text = (__doc__ or "").split("\n\n", 1)[1].replace("\n", " ")
    return (
        f"Command: `make bench-peers` ({readings.rounds} rounds of about {asked.seconds:g} s a reading, "
        f"model {asked.model}). {text.strip()} In brackets: least to most over the rounds. Others "
        f"used at most {readings.others():.0%} of the two cores during a reading.\n\n{NOT_COMPARED.strip()}"
    ).replace("  ", " ")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="peers.bench", description="Signalbox beside other servers.")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (at least 3 for figures to quote)")
    parser.add_argument("--seconds", type=float, default=2.5, help="of one reading, beside its warm-up")
    parser.add_argument("--model", choices=[name for name in SHAPES if "_" not in name], default="m100")
    return parser.parse_args()


if __name__ == "__main__":
    main()
