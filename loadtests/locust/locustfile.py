"""Locust users of a scorer: what an OMS does all day, with releases swapped in the middle of it.

    make locust          or by hand, against a home that `signalbox serve` serves:
    locust -f loadtests/locust/locustfile.py --headless -u 20 -t 60s --scorer 127.0.0.1:8500 --home DIR

Scenarios: a single row, a cross-section of 500 rows (both inline, every row scored), the whole universe from the
feature table, a subscription that follows pushed rows, and an operator who rolls back and promotes while all of it goes
on. Every answer is held to ONNX Runtime's scores of the release that it names: wrong scores, a generation that goes
back, a refused or failed call, a swap that does not come through are failures, and any failure makes the exit code 1.

**Load model: closed loop.** Each user waits for its answer before it asks again, so a stall of the scorer also stalls
the questions that would have met it, and Locust's percentiles leave them out (coordinated omission); client time in
Python is in them too. They show that nothing fails, not how fast it is. Latency at a fixed rate, open loop, is in
`docs/benchmarks/serving.md`, rows 02.7 and 02.11.

The client is `protos.client`, the one that OMS and monitor use, on grpcio's gevent support: Locust has patched the
standard library before it reads this file, and `init_gevent` must run before any channel is made.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import gevent
import gevent.event
import grpc.experimental.gevent
import locust
import numpy as np

from loadtests.harness.model import Float32s, bench_model, make_rows
from loadtests.harness.small_home import SmallHome, open_small_home
from loadtests.harness.small_release import SIGNAL
from loadtests.locust.scene import CROSS_SECTION, MODELS
from protos.client import CallError, Client, ControlClient, Score

grpc.experimental.gevent.init_gevent()

PUSH_SECONDS = 0.25
SIGNALBOX = str(Path(sys.executable).with_name("signalbox"))
APPROVAL_NEEDED = 4
ANY_CORE = ("taskset", "--cpu-list", f"0-{(os.cpu_count() or 1) - 1}")


class WrongScore(Exception):
    """An answer that is not what the release it names says of these rows."""


@dataclass
class Scene:
    """What every user shares: the home, the rows, and what each release makes of them."""

    home: SmallHome
    scorer: str
    rows: Float32s
    expected: dict[str, Float32s]
    pushed_at: dict[int, float] = field(default_factory=dict)  # row sequence → when the push began, perf_counter
    seen: set[str] = field(default_factory=set)  # releases that answered
    published: gevent.event.Event = field(default_factory=gevent.event.Event)  # the first rows are there

    def check(self, score: Score, indices: slice) -> None:
        """WrongScore unless `score` is, bit by bit, what its release makes of `rows[indices]`."""
        if not score.ok.all():
            raise WrongScore(f"expected every status OK, found {np.bincount(score.status, minlength=4).tolist()}")
        (release,) = score.releases
        if not np.array_equal(score.scores, self.expected[release][indices]):
            raise WrongScore(f"release {release[:12]}: expected its own scores, found others; do not trade on it")
        self.seen.add(release)


class Report(Protocol):
    """Writes one request into Locust's books."""

    def __call__(self, name: str, seconds: float, failure: Exception | None = None) -> None:
        """See the class."""
        ...


class Publisher:
    """Pushes the same values as new rows of every instrument, four times a second, from before the first question until
    after the last answer: subscriptions end by themselves.
    """

    def __init__(self, scene: Scene, report: Report) -> None:
        self._scene = scene
        self._report = report
        self._sequence = 0

    def run(self) -> None:
        """Pushes until it is killed."""
        with ControlClient(f"unix:{self._scene.home.home.control_socket}") as control:
            while True:
                self._push(control)
                self._scene.published.set()
                gevent.sleep(PUSH_SECONDS)

    def _push(self, control: ControlClient) -> None:
        self._sequence += 1
        rows = self._scene.home.rows(self._scene.rows, sequence=self._sequence, known_ns=time.time_ns())
        began = self._scene.pushed_at[self._sequence] = time.perf_counter()
        failure: Exception | None = None
        try:
            pushed = control.push(rows)
            if pushed.refused:
                failure = WrongScore(f"expected every row accepted, found {pushed.refused[0][1]}")
        except CallError as error:
            failure = error
        self._report(f"Push, {len(rows)} rows", time.perf_counter() - began, failure)


SCENE: list[Scene] = []  # one, once the test has started


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--scorer", required=True, help="HOST:PORT of a worker")
    parser.add_argument("--home", required=True, help="the home that it serves, made by loadtests.harness.small_home")
    parser.add_argument("--summary", help="a file for the final figures, as JSON")


def _begin(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    home = open_small_home(Path(options.home))
    rows = make_rows(len(home.universe))
    expected = {release: bench_model(name).scores(rows) for release, name in zip(home.releases, MODELS, strict=True)}
    scene = Scene(home, options.scorer, rows, expected)
    SCENE.append(scene)
    publishing = gevent.spawn(Publisher(scene, reporter(environment)).run)
    environment.events.quitting.add_listener(lambda **_: publishing.kill())
    scene.published.wait()  # nobody asks before there are rows


def _end(environment: Any, **_: Any) -> None:
    unseen = set(SCENE[0].expected) - SCENE[0].seen if SCENE else {"no run"}
    if environment.stats.total.num_failures or not environment.stats.total.num_requests or unseen:
        for release in unseen:
            print(f"locust: expected answers of every release, found none of {release[:12]}", file=sys.stderr)
        environment.process_exit_code = 1
    if environment.parsed_options.summary:  # Locust's own files are written now and then, and miss the last answers
        figures = [_figures(entry) for _, entry in sorted(environment.stats.entries.items())]
        Path(environment.parsed_options.summary).write_text(json.dumps(figures))


def _figures(entry: Any) -> dict[str, Any]:
    """Milliseconds, of one kind of request."""
    return {
        "name": entry.name,
        "requests": entry.num_requests,
        "failures": entry.num_failures,
        "p50_ms": entry.get_response_time_percentile(0.5),
        "p99_ms": entry.get_response_time_percentile(0.99),
        "max_ms": entry.max_response_time,
    }


locust.events.init_command_line_parser.add_listener(_arguments)  # type: ignore[no-untyped-call]
locust.events.test_start.add_listener(_begin)  # type: ignore[no-untyped-call]
locust.events.quitting.add_listener(_end)  # type: ignore[no-untyped-call]


def reporter(environment: Any) -> Report:
    """The Report of this run."""

    def report(name: str, seconds: float, failure: Exception | None = None) -> None:
        environment.events.request.fire(
            request_type="grpc",
            name=name,
            response_time=seconds * 1000,
            response_length=0,
            exception=failure,
            context={},
        )

    return report


class ScorerUser(locust.User):
    """A user with a client of its own."""

    abstract = True

    def on_start(self) -> None:
        """Connects."""
        self.scene = SCENE[0]
        self.client = Client(self.scene.scorer).__enter__()
        self.report = reporter(self.environment)
        self.generation = 0

    def on_stop(self) -> None:
        """Lets go of the connection."""
        self.client.__exit__(None, None, None)

    @contextmanager
    def measured(self, name: str) -> Iterator[None]:
        """What is done inside is one request in Locust's books, failed when it raises what a caller can be told."""
        began = time.perf_counter()
        failure: Exception | None = None
        try:
            yield
        except (CallError, WrongScore) as error:
            failure = error
        self.report(name, time.perf_counter() - began, failure)

    def take(self, score: Score, indices: slice) -> None:
        """Checks an answer: its scores, and that this user never sees an older generation after a newer one."""
        self.scene.check(score, indices)
        if score.generation < self.generation:
            raise WrongScore(f"expected generation {self.generation} or later, found {score.generation}")
        self.generation = score.generation


class Trader(ScorerUser):
    """Asks for single rows mostly, for cross-sections now and then; at most twenty questions a second."""

    weight = 8
    wait_time = locust.constant_pacing(0.05)

    @locust.task(10)
    def single_row(self) -> None:
        """One inline row, another one each time."""
        at = random.randrange(len(self.scene.rows))  # noqa: S311 - which row is asked for is no secret
        with self.measured("Score, one row"):
            self.take(self.client.score(SIGNAL, features=self.scene.rows[at : at + 1]), slice(at, at + 1))

    @locust.task(1)
    def cross_section(self) -> None:
        """500 inline rows."""
        with self.measured(f"Score, {CROSS_SECTION} rows"):
            self.take(self.client.score(SIGNAL, features=self.scene.rows[:CROSS_SECTION]), slice(CROSS_SECTION))

    @locust.task(2)
    def universe(self) -> None:
        """Every instrument, from the feature table."""
        with self.measured("Score, universe"):
            self.take(self.client.score(SIGNAL), slice(None))


class Subscriber(ScorerUser):
    """Follows the signal; each reply to a push is a request in the books, timed from the push."""

    weight = 2

    @locust.task
    def follow(self) -> None:
        """One subscription: ten replies, then a new one."""
        newest = -1
        replies: Any = self.client.subscribe(SIGNAL)  # a generator
        try:
            for score in itertools.islice(replies, 10):
                self.take(score, slice(None))
                sequence = int(score.row_sequences.max())
                if sequence > newest >= 0:
                    self.report("Subscribe, push to reply", time.perf_counter() - self.scene.pushed_at[sequence])
                newest = sequence
        except (CallError, WrongScore) as error:
            self.report("Subscribe, push to reply", 0.0, error)
        finally:
            replies.close()


class Operator(ScorerUser):
    """Swaps releases while the others trade: back to the first release, then forward to the second, again and again.

    By the commands that a person would give, in processes of their own, on whatever core is free.
    """

    fixed_count = 1
    wait_time = locust.between(4, 6)

    @locust.task
    def swap(self) -> None:
        """A rollback; then a plan, its approval, and the promotion."""
        self.order("rollback", "rollback", SIGNAL, "--why", "load test")
        gevent.sleep(2)
        target = f"{SIGNAL}@{self.scene.home.releases[-1]}"
        planned = self.order("promote, plan", "promote", target, code=APPROVAL_NEEDED)
        self.order("approve", "approve", planned.get("plan", ""), "--as", "approver")
        self.order("promote", "promote", target)

    def order(self, name: str, *words: str, code: int = 0) -> dict[str, Any]:
        """One command, a request in the books, and the document that it prints; failed when it ends with another exit
        code than `code`.
        """
        began = time.perf_counter()
        command = [*ANY_CORE, SIGNALBOX, *words, "--home", str(self.scene.home.home.root), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own commands
        failed = done.returncode != code
        failure = WrongScore(f"{name}: exit code {done.returncode}: {done.stderr[-300:]}") if failed else None
        self.report(f"operator: {name}", time.perf_counter() - began, failure)
        document: dict[str, Any] = {} if failed else json.loads(done.stdout)
        return document
