"""How many requests a second one core serves: Signalbox's two transports beside other servers, on one machine.

Question: the same ONNX file, the same row, the same client; who serves more on one core, and what does a request cost?
Method: server pinned to core 0, h2load to core 1, each server alone on the machine, started, held to ONNX Runtime's
scores before and after every reading, measured, stopped; interleaved rounds, medians, warm-up discarded. Load: closed
loop on one connection, 64 in flight (requests a second) and one in flight (latency); one row a request, repeated.
Server CPU a request is the scheduler's account (schedstat) over all threads of all processes of a server.

The echoes score nothing: they give back the bytes of Signalbox's Score request, and show what a transport alone costs.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial

from loadtests import h2load
from loadtests.clients import CLIENTS
from loadtests.h2load import Load
from loadtests.model import SHAPES, BenchModel, bench_model, make_rows
from loadtests.peers.echoes import aio_echo, cpp_echo, go_echo
from loadtests.peers.environment import PeerMissing, say
from loadtests.peers.mlserver import mlserver
from loadtests.peers.triton import triton
from loadtests.questions import EchoQuestion, InferQuestion, Question, ScoreQuestion
from loadtests.results import Row, write
from loadtests.rounds import Contestant, NoReading, Probe, Readings, interleave
from loadtests.scorers import Options, scratch
from loadtests.servers import Launch

BUSY, ALONE = Load(in_flight=64), Load(logged=True)
OURS_SCORE, OURS_INFER = "native-score", "native-infer"
REPORTED = "reported"
AHEAD = "ahead of all of them: more than 1"
NOT_COMPARED = """
Not compared: Triton's C++ ONNX Runtime backend (not in the wheel; measured elsewhere on such a machine, server and
client on a core each: 38,400 requests/s with 64 in flight, 48,800 with dynamic batching, 98 µs alone, 22 µs of CPU a
request with batching: quoted, not measured by this command); GPUs; several model instances or cores; shared memory;
rows that differ; open-loop latency; TLS; REST. MLServer's adaptive batching and parallel workers, and Triton's batching
delay, are left off: each makes a model of microseconds slower.
"""
PEERS = ("triton", "triton-batching", "mlserver")  # they speak the Open Inference Protocol and score
ECHOES = ("echo-cpp", "echo-go", "echo-aio")


def main() -> None:
    """Runs the bench and writes docs/benchmarks/peers.json (peers_m500.json for the bigger model)."""
    asked = _arguments()
    h2load.require()
    model = bench_model(asked.model)
    contestants = make_contestants(model)
    prepare(contestants)
    measure = CLIENTS[asked.client]
    readings = interleave(contestants, measure, rounds=asked.rounds, seconds=asked.seconds)
    rows = [row for contestant in contestants for row in reading_rows(contestant, readings)] + ratio_rows(readings)
    name = "peers" if asked.model == "m100" else f"peers_{asked.model}"
    print(write(name, rows, how=_how(asked, readings)))


def make_contestants(model: BenchModel) -> list[Contestant]:
    """Who takes part: the peers, the echoes, and Signalbox by either transport and either protocol."""
    rows = make_rows(1)
    infer, score = InferQuestion(model, rows), ScoreQuestion(model, rows)
    echo = EchoQuestion(score.message)
    ours = [_ours(model, transport, score, infer) for transport in ("native", "grpcio")]
    scoring = [
        _contestant("triton", partial(triton, model, batching=False), infer),
        _contestant("triton-batching", partial(triton, model, batching=True), infer),
        _contestant("mlserver", partial(mlserver, model), infer),
    ]
    bare = [
        _contestant("echo-cpp", cpp_echo, echo),
        _contestant("echo-go", go_echo, echo),
        _contestant("echo-aio", aio_echo, echo),
    ]
    return [*ours, *scoring, *bare]


def prepare(contestants: Sequence[Contestant]) -> None:
    """Builds every environment before anything is measured; what is missing is told now and again in the results."""
    for contestant in contestants:
        try:
            contestant.launch()
        except PeerMissing as error:
            say(f"{contestant.name} cannot take part: {error}")


def reading_rows(contestant: Contestant, readings: Readings) -> list[Row]:
    """Requests a second, latency alone and CPU of one contestant's probes."""
    rows = []
    for probe in contestant.probes:
        where = f"{probe.name}, {probe.load.words}"
        fields = _FIELDS[probe.load]
        rows += [_reading_row(f"peers.{probe.name}{suffix}", f"{where}: {what}", unit, probe.name, field, readings)
                 for suffix, what, unit, field in fields]  # fmt: skip
    return rows


def ratio_rows(readings: Readings) -> list[Row]:
    """Signalbox over each of the others, round by round; the value is the median."""
    rows = []
    for name in PEERS:
        rows.append(_ratio_row(OURS_INFER, name, "64", "per_second", readings))
        rows.append(_ratio_row(name, OURS_INFER, "1", "p50_us", readings))
        rows.append(_ratio_row(name, OURS_INFER, "64", "cpu_us", readings))
    for name in (*ECHOES, "grpcio-score"):
        rows.append(_ratio_row(OURS_SCORE, name, "64", "per_second", readings))
        rows.append(_ratio_row(name, OURS_SCORE, "64", "cpu_us", readings))
    return rows


_FIELDS = {
    BUSY: (("", "requests", "1/s", "per_second"), (".cpu", "server CPU a request", "µs", "cpu_us")),
    ALONE: (
        ("", "p50", "µs", "p50_us"),
        (".p99", "p99", "µs", "p99_us"),
        (".cpu", "server CPU a request", "µs", "cpu_us"),
    ),
}
_NOUNS = {"per_second": "requests/s", "p50_us": "p50 latency", "cpu_us": "server CPU a request"}


def _contestant(name: str, launch: Callable[[], Launch], question: Question) -> Contestant:
    return Contestant(name, launch, _probes(name, question))


def _ours(model: BenchModel, transport: str, score: Question, infer: Question) -> Contestant:
    probes = (*_probes(f"{transport}-score", score), *_probes(f"{transport}-infer", infer))
    return Contestant(f"signalbox-{transport}", partial(scratch, model, Options(transport)), probes)


def _probes(name: str, question: Question) -> tuple[Probe, Probe]:
    return Probe(f"{name}.64", question, BUSY), Probe(f"{name}.1", question, ALONE)


def _reading_row(row_id: str, what: str, unit: str, probe: str, field: str, readings: Readings) -> Row:
    try:
        values = readings.all(probe, field)
    except NoReading as error:
        return Row(row_id, f"{what}; not measured: {_line(error)}", 0.0, unit, REPORTED, False)
    return Row(row_id, f"{what} ({_spread(values)})", statistics.median(values), unit, REPORTED, True)


def _ratio_row(mine: str, theirs: str, load: str, field: str, readings: Readings) -> Row:
    row_id = f"ratio.{mine}.{theirs}.{load}.{field.removesuffix('_us')}"
    what = f"{_NOUNS[field]} of {mine} over {theirs}, {load} in flight"
    try:
        ratios = readings.ratios(f"{mine}.{load}", f"{theirs}.{load}", field)
    except NoReading as error:
        return Row(row_id, f"{what}; not measured: {_line(error)}", 0.0, "×", AHEAD, False)
    value = statistics.median(ratios)
    return Row(row_id, f"{what} ({_spread(ratios)})", value, "×", AHEAD, math.isfinite(value) and value > 1)


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):,.4g} to {max(values):,.4g}"


def _line(error: Exception) -> str:
    return str(error).splitlines()[0]


def _how(asked: argparse.Namespace, readings: Readings) -> str:
    text = (__doc__ or "").split("\n\n", 1)[1].replace("\n", " ")
    return (
        f"Command: `make bench-peers` ({asked.rounds} rounds of about {asked.seconds:g} s a reading, client "
        f"`{asked.client}`, model {asked.model}). {text.strip()} In brackets: least to most over the rounds. Others "
        f"used at most {readings.others:.0%} of the two cores during a reading.\n\n{NOT_COMPARED.strip()}"
    ).replace("  ", " ")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench_peers", description="Signalbox beside other servers.")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (at least 3 for figures to quote)")
    parser.add_argument("--seconds", type=float, default=2.5, help="of one reading, beside its warm-up")
    parser.add_argument("--model", choices=[name for name in SHAPES if "_" not in name], default="m100")
    parser.add_argument("--client", choices=CLIENTS, default="repeated")
    return parser.parse_args()


if __name__ == "__main__":
    main()
