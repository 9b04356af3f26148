"""Releases swapped under load (02.11).

Question: what does a caller notice of a swap? Method: a home with two releases of the 100-tree model that score
differently, `signalbox serve` on core 0, our own client on core 1 (closed loop, 64 in flight on one connection, 16,384
different rows inline); meanwhile an operator (`loadtests.serving.swapper`) rolls back and promotes in turn, a swap a
second, by ledger and `Control.Sync`. **Every** reply is kept and held to both models: its score has to be, bit by bit,
that of the one release that it names, and a generation must never be answered by two releases. Rounds on a server of
their own.

a: the slowest request of all rounds, from its sending to its reply, against the time that the model's session takes to
load on this machine (median of 20) and 5 ms; beside it the slowest without swaps, just before. b: calls that failed. c:
replies that were wrong or mixed releases.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import msgspec
import numpy as np

from loadtests.clients.files import ClientFailed, Outcome, Plan, Texts, ask_in_process
from loadtests.clients.varied import CLIENT, QUESTIONS
from loadtests.harness.histogram import Histogram
from loadtests.harness.homes import home_of
from loadtests.harness.model import BenchModel, Float32s, bench_model, make_rows
from loadtests.harness.progress import say
from loadtests.harness.readings import ReadingRefused
from loadtests.harness.results import Row
from loadtests.harness.scorers import Options, home
from loadtests.harness.servers import CLIENT_CORE, Server, ServerFailed, pinned, running
from loadtests.harness.small_home import SmallHome
from loadtests.harness.small_release import SIGNAL
from loadtests.serving.bars import failed, row
from loadtests.serving.swapper import Swap

MODELS = ("m100", "m100_next")
INSTRUMENTS = 20
IN_FLIGHT = 64
ROUNDS = 3
SECONDS = 8.0
EVERY_SECONDS = 1.0
LOADS = 20
ALLOWED_MS = 5.0
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Faults:
    """What was wrong with replies. examples: a few of them, in words."""

    replies: int
    wrong: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Round:
    """One run under swaps. calm: half as long, just before, without any: what the machine itself does to a request."""

    calm: Outcome
    outcome: Outcome
    swaps: tuple[Swap, ...]
    faults: Faults


def rows(rounds: int = ROUNDS, seconds: float = SECONDS) -> list[Row]:
    """Every row of this module."""
    taken = []
    models = tuple(map(bench_model, MODELS))
    with home_of(MODELS, instruments=INSTRUMENTS) as small:
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}: swaps under load")
            try:
                taken.append(take(small, models, seconds))
            except (ServerFailed, ReadingRefused) as error:
                return [failed(row_id, str(error)) for row_id in ("02.11a", "02.11b", "02.11c")]
    return _rows(taken, load_ms(models[0]))


def take(small: SmallHome, models: Sequence[BenchModel], seconds: float, every_seconds: float = EVERY_SECONDS) -> Round:
    """One run of `seconds`, with a swap every `every_seconds`. models: of the home's releases, in their order.

    ServerFailed when a process fails, ReadingRefused when nothing swapped.
    """
    features = make_rows(QUESTIONS)
    messages = score_messages(features)
    with running(home(small.home.root, Options())) as server:
        plan = Plan(
            address=server.address,
            path="/signalbox.v1.Scorer/Score",
            seconds=seconds,
            in_flight=IN_FLIGHT,
            server=server.process.pid,
            keep_every=1,
        )
        calm, _ = _ask(server, msgspec.structs.replace(plan, seconds=seconds / 2, keep_every=64), messages)
        outcome, replies, swaps = ask_while_swapping(server, small, plan, messages, every_seconds)
    if len(swaps) < 2:
        raise ReadingRefused(f"expected at least 2 swaps in {seconds:g} s, found {len(swaps)}")
    return Round(calm, outcome, swaps, check(replies, features, dict(zip(small.releases, models, strict=True))))


def score_messages(features: Float32s) -> list[bytes]:
    """One `ScoreRequest` a row, inline."""
    from protos.signalbox.v1 import scorer_pb2

    return [
        bytes(scorer_pb2.ScoreRequest(signal=SIGNAL, features=each.astype("<f4").tobytes()).SerializeToString())
        for each in features
    ]


def check(replies: Texts, features: Float32s, models: Mapping[str, BenchModel]) -> Faults:
    """Holds every reply to the scores of the release that it names. features: float32 [message, column]."""
    from protos.signalbox.v1 import scorer_pb2

    scores = {release: model.scores(features) for release, model in models.items()}
    releases_of: dict[int, str] = {}
    wrong, examples = 0, []
    for number, reply in replies:
        answer = scorer_pb2.ScoreReply.FromString(reply)
        words = _fault(answer, number, scores, releases_of)
        if words:
            wrong += 1
            examples += [f"message {number}: {words}"] if wrong <= 3 else []
    return Faults(len(replies), wrong, tuple(examples))


def load_ms(model: BenchModel) -> float:
    """How long this machine takes to make a session of `model`, ms: the median of 20."""
    from promotion.release.session import make_session

    content = model.path.read_bytes()
    times = []
    for _ in range(LOADS):
        began = time.perf_counter()
        make_session(content)
        times.append(time.perf_counter() - began)
    return median(times) * 1e3


def _ask(server: Server, plan: Plan, messages: Sequence[bytes]) -> tuple[Outcome, Texts]:
    try:
        return ask_in_process(CLIENT, plan, messages)
    except ClientFailed as error:
        raise server.failed(str(error)) from error


def ask_while_swapping(
    server: Server, small: SmallHome, plan: Plan, messages: Sequence[bytes], every_seconds: float
) -> tuple[Outcome, Texts, tuple[Swap, ...]]:
    """Carries out `plan` with an operator beside it, who swaps for as long. ServerFailed when either fails."""
    span = plan.warm_seconds + plan.seconds
    command = [sys.executable, "-m", "loadtests.serving.swapper", str(small.home.root), str(span), str(every_seconds)]
    operator = subprocess.Popen(  # noqa: S603 - a module of ours, on a home of ours
        pinned(CLIENT_CORE, *command), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        outcome, replies = _ask(server, plan, messages)
        said, complaints = operator.communicate(timeout=_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise server.failed(str(error)) from error
    finally:
        operator.kill()
        operator.wait()
    if operator.returncode:
        raise server.failed(f"swapper: {complaints.decode()[-2000:]}")
    return outcome, replies, tuple(msgspec.json.decode(said, type=list[Swap]))


def _fault(answer: Any, number: int, scores: Mapping[str, Float32s], releases_of: dict[int, str]) -> str:
    """Why `answer` to message `number` is wrong, or ""."""
    if len(answer.releases) != 1 or answer.status != b"\0":
        return f"expected one release and status OK, found {list(answer.releases)} and {list(answer.status)}"
    (release,) = answer.releases
    if releases_of.setdefault(answer.generation, release) != release:
        return f"generation {answer.generation}: expected {releases_of[answer.generation][:12]}, found {release[:12]}"
    if release not in scores:
        return f"expected one of the home's releases, found {release[:12]}"
    (score,) = np.frombuffer(answer.scores, "<f4")
    if score != scores[release][number]:
        others = [each[:12] for each in scores if scores[each][number] == score] or ["none"]
        return f"release {release[:12]}: expected {scores[release][number]}, found {score}, the score of {others[0]}"
    return ""


def _rows(taken: Sequence[Round], load: float) -> list[Row]:
    slowest = max(each.outcome.times.max for each in taken) / 1e6
    failures = sum((Counter(each.outcome.failures) for each in taken), Counter[str]())
    wrong = sum(each.faults.wrong for each in taken)
    replies = sum(each.faults.replies for each in taken)
    examples = "; ".join(example for each in taken for example in each.faults.examples)
    words = _load_model(taken)
    return [
        row("02.11a", f"{_slowest(taken, load)}; {words}", slowest, "ms", ok=slowest <= load + ALLOWED_MS),
        row("02.11b", f"failed requests {dict(failures) or ''}; {words}", failures.total(), "calls", ok=not failures),
        row("02.11c", f"wrong or mixed replies of {replies:,} {examples}; {words}", wrong, "replies", ok=not wrong),
    ]


def _slowest(taken: Sequence[Round], load: float) -> str:
    times = Histogram.merged(each.outcome.times.histogram() for each in taken)
    slowest = [each.outcome.times.max / 1e6 for each in taken]
    calm = max(each.calm.times.max for each in taken) / 1e6
    others = max(each.outcome.others for each in taken)
    return (
        f"slowest request ({min(slowest):.2f} to {max(slowest):.2f} ms a round; p99 {times.percentile(99) / 1e6:.2f}, "
        f"p99.9 {times.percentile(99.9) / 1e6:.2f} ms); without swaps {calm:.2f} ms; a session loads in {load:.2f} ms; "
        f"others, the operator among them, used up to {others:.0%} of the two cores"
    )


def _load_model(taken: Sequence[Round]) -> str:
    swaps = [swap for each in taken for swap in each.swaps]
    rate = median(each.outcome.answered / each.outcome.seconds for each in taken)
    return (
        f"closed loop, {IN_FLIGHT} in flight, rows all different, {rate:,.0f} requests/s, {len(swaps)} swaps of "
        f"{median(swap.seconds for swap in swaps) * 1e3:.0f} ms by ledger and sync"
    )
