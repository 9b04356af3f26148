"""Hostile peers beside an honest client (02.16).

Question: does an attack cost anybody else a call, and what does it cost in memory? Method: for each attack a fresh
scorer on the server's core; on the client's core a grpcio client that keeps four calls in flight and sends none again,
and the attack at full rate for three seconds. A call is lost when it ends in an error or with another reply than the
one that ONNX Runtime's scores make; growth is the worker's resident memory, highest during the attack, over what it
was before it. The grpcio transport stands beside for comparison and is not judged. Load model: closed loop; the slowest
honest call, in words, is on a core that the attack shares, so it says little of the server. Limits: one machine, over
loopback; 127.0.0.1 is never cut off, as a host that attacks might be.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import grpc

from loadtests.clients.hostile import ATTACKS
from loadtests.harness import processes
from loadtests.harness.model import bench_model, make_rows
from loadtests.harness.progress import say
from loadtests.harness.questions import Question, ScoreQuestion
from loadtests.harness.results import Row
from loadtests.harness.scorers import Options, scratch
from loadtests.harness.servers import CLIENT_CORE, Server, ServerFailed, pinned, running
from loadtests.serving.bars import failed, row

SECONDS = 3.0
MOST_MIB = 64.0
_IN_FLIGHT = 4
_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """What an attack did. honest: see clients/calling.py; attack: see clients/hostile.py; growth in MiB.

    afterwards: why a call after the attack was not answered rightly, or "".
    """

    honest: dict[str, Any]
    attack: dict[str, Any]
    growth_mib: float
    afterwards: str = ""

    @property
    def lost(self) -> int:
        """Honest calls that were not answered rightly."""
        return int(sum(self.honest["lost"].values()) + self.honest["wrong"])

    @property
    def words(self) -> str:
        """All of it."""
        return (
            f"{self.lost} of {self.honest['answered'] + self.lost:,} honest calls lost{self._how}, slowest "
            f"{self.honest['slowest_ms']:,.0f} ms; {self.attack['megabytes']:,.0f} MB sent on "
            f"{self.attack['connections']:,} connections{self.afterwards and f'; afterwards: {self.afterwards}'}"
        )

    @property
    def _how(self) -> str:
        how = [f"{count} {status}" for status, count in self.honest["lost"].items()]
        return f" ({', '.join(how)})" if how else ""

    @property
    def ok(self) -> bool:
        """Whether the bar is kept."""
        served = self.honest["answered"] > 0 and not self.afterwards
        return served and self.lost == 0 and self.growth_mib <= MOST_MIB


def rows() -> list[Row]:
    """Every row of this module: growth in MiB; lost calls are in words, and in `ok`."""
    letters = iter(ascii_lowercase)
    return [
        _row(f"02.16{next(letters)}", transport, attack) for transport in ("native", "grpcio") for attack in ATTACKS
    ]


def _row(row_id: str, transport: str, attack: str) -> Row:
    say(f"{transport}: {attack}")
    model = bench_model("m100")
    question = ScoreQuestion(model, make_rows(1))
    try:
        with running(scratch(model, Options(transport)), question) as server:
            outcome = suffer(server, question, attack)
    except ServerFailed as error:
        return failed(row_id, str(error).splitlines()[0])
    judged = transport == "native"
    what = f"{transport} transport: {attack}: growth of the worker; {outcome.words}"
    return row(row_id, what if judged else f"{what} (reported)", outcome.growth_mib, "MiB", ok=outcome.ok or not judged)


def suffer(server: Server, question: Question, attack: str, *, seconds: float = SECONDS) -> Outcome:
    """An attack on `server`, with an honest client beside it. ServerFailed when it is not served even before."""
    worker = processes.listener(server.process.pid, server.launch.port)
    with tempfile.TemporaryDirectory(prefix="signalbox-bench-") as folder:
        message, reply = Path(folder, "message"), Path(folder, "reply")
        message.write_bytes(question.message)
        reply.write_bytes(_reply(server, question))
        with _honest(server, question, message, reply) as honest:
            before = processes.memory(worker).rss_mib
            done, most = _attacked(server, question, attack, message, worker, seconds)
            told, _ = honest.communicate("", timeout=_PATIENCE_SECONDS)
    return Outcome(json.loads(told), done, max(0.0, most - before), _unserved(server, question))


def _unserved(server: Server, question: Question) -> str:
    try:
        server.check(question)
    except ServerFailed as error:
        return str(error).splitlines()[0]
    return ""


def _reply(server: Server, question: Question) -> bytes:
    with grpc.insecure_channel(server.address, (("grpc.enable_http_proxy", 0),)) as channel:
        reply: bytes = channel.unary_unary(question.path)(question.message, timeout=10.0)
    question.check(reply)
    return reply


@contextmanager
def _honest(server: Server, question: Question, message: Path, reply: Path) -> Iterator[subprocess.Popen[str]]:
    arguments = [server.address, question.path, "--in-flight", str(_IN_FLIGHT), "--message", message, "--reply", reply]
    process = _python("loadtests.clients.calling", *map(str, arguments))
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise ServerFailed("the honest client was not answered before the attack")
        yield process
    finally:
        process.kill()
        process.wait()


def _attacked(
    server: Server, question: Question, attack: str, message: Path, worker: int, seconds: float
) -> tuple[dict[str, Any], float]:
    """What the attack says that it did, and the highest resident memory of the worker meanwhile, in MiB."""
    arguments = [server.address, attack, "--seconds", str(seconds), "--path", question.path, "--message", str(message)]
    process = _python("loadtests.clients.hostile", *arguments)
    most = 0.0
    try:
        deadline = time.monotonic() + seconds + _PATIENCE_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            most = max(most, processes.memory(worker).rss_mib)
            time.sleep(_LOOK_SECONDS)
    finally:
        process.kill()
        told, _ = process.communicate()
    if not told:
        raise ServerFailed(f"{attack}: the attack did not end")
    return json.loads(told), max(most, processes.memory(worker).rss_mib)


def _python(module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own modules
        pinned(CLIENT_CORE, sys.executable, "-m", module, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


if __name__ == "__main__":
    for each in rows():
        print(f"{each.id}  {each.value:8.1f} {each.unit}  {'kept' if each.ok else 'NOT KEPT'}  {each.what}")
