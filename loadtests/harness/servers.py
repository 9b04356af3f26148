"""Servers under load: each a tree of processes pinned to one core, started, proven right, measured and stopped.

A server counts as started when it gives the scores that ONNX Runtime gives (`Question.check`), not when its port is
open: an echo of errors under HTTP 200 is a very fast server.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc

from loadtests.harness import processes
from loadtests.harness.cache import cache
from loadtests.harness.questions import Question, WrongAnswer

SERVER_CORE = 0
CLIENT_CORE = 1
HOST = "127.0.0.1"
_PATIENCE_SECONDS = 90.0
_GRACE_SECONDS = 20.0
_RETRY_SECONDS = 0.05
_QUOTED_LINES = 15


class PeerMissing(Exception):
    """Somebody else's server cannot be had here: what it needs, and how to get it."""


class ServerFailed(Exception):
    """A server did not start, answered wrongly, or ended early. The message quotes its log."""


@dataclass(frozen=True)
class Launch:
    """How to start a server. command: argv. port: where it answers calls. environment: added to this process's.

    folder: its working directory. counted: how many rows (of an echo: calls) the running server itself says it has
    answered rightly since it started; a server that counts requests is asked one row a request.
    """

    name: str
    command: tuple[str, ...]
    port: int
    counted: Callable[[], int]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    certificate: bytes | None = None  # the PEM that its TLS is to be trusted by; None for plain text


@dataclass(frozen=True)
class Server:
    """A server that runs and has given right answers."""

    launch: Launch
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{HOST}:{self.launch.port}"

    @property
    def url(self) -> str:
        """What an HTTP client begins a path with."""
        return f"{'http' if self.launch.certificate is None else 'https'}://{self.address}"

    def cpu_ns(self) -> int:
        """See processes.cpu_ns."""
        return processes.cpu_ns(self.process.pid)

    def memory(self) -> processes.Memory:
        """Of the process that holds the port: the worker, not its supervisor."""
        return processes.memory(processes.listener(self.process.pid, self.launch.port))

    def counted(self) -> int:
        """See Launch.counted: once two looks agree, for some servers count a moment after they have answered.

        ServerFailed when it does not say.
        """
        try:
            last, now = -1, self.launch.counted()
            while now != last:
                time.sleep(_RETRY_SECONDS)
                last, now = now, self.launch.counted()
            return now
        except (OSError, grpc.RpcError) as error:
            raise self.failed(f"expected its own count of answers, found {_words(error)}") from error

    def check(self, question: Question) -> None:
        """Asks `question` once. ServerFailed when the answer is not the oracle's."""
        try:
            _check(self, question)
        except (grpc.RpcError, WrongAnswer) as error:
            raise self.failed(f"expected a right answer to {question.path}, found {_words(error)}") from error

    def failed(self, words: str) -> ServerFailed:
        """An error that quotes the end of the log; its first line stands by itself."""
        tail = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()][-_QUOTED_LINES:]
        last = tail[-1].strip() if tail else "nothing"
        return ServerFailed("\n  ".join([f"{self.launch.name}: {words}; its log ends with: {last}", *tail]))


@contextmanager
def running(launch: Launch, *questions: Question, core: int = SERVER_CORE) -> Iterator[Server]:
    """The server of `launch` on `core`, once it answers every question rightly, and counts; stopped after the block."""
    log = cache("logs") / f"{launch.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - servers that the benches name
            pinned(core, *launch.command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **launch.environment},
            cwd=launch.folder,
            start_new_session=True,
        )
    server = Server(launch, process, log)
    try:
        _await_answers(server, questions)
        yield server
    finally:
        _stop(process)


def pinned(core: int, *command: str) -> list[str]:
    """`command` so that it and all its children run on `core` alone."""
    return ["taskset", "--cpu-list", str(core), *command]


def free_port() -> int:
    """A TCP port of HOST that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _await_answers(server: Server, questions: tuple[Question, ...]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    waiting: list[Callable[[], object]] = [
        *(partial(_check, server, question) for question in questions),
        server.launch.counted,
    ]
    last = "no answer yet"
    while waiting:
        if server.process.poll() is not None:
            raise server.failed(f"expected it to serve, found that it ended with {server.process.returncode}")
        if time.monotonic() > deadline:
            raise server.failed(f"expected right answers within {_PATIENCE_SECONDS:.0f} s, found {last}")
        try:
            waiting[0]()
        except (grpc.RpcError, WrongAnswer, OSError) as error:
            last = _words(error)
            time.sleep(_RETRY_SECONDS)
        else:
            waiting.pop(0)


def _check(server: Server, question: Question) -> None:
    options = (
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_receive_message_length", -1),
    )
    with _channel(server, options) as channel:
        call = channel.unary_unary(question.path)
        question.check(call(question.message, timeout=10.0))


def _channel(server: Server, options: tuple[tuple[str, int], ...]) -> grpc.Channel:
    certificate = server.launch.certificate
    if certificate is None:
        return grpc.insecure_channel(server.address, options=options)
    return grpc.secure_channel(server.address, grpc.ssl_channel_credentials(certificate), options=options)


def _words(error: Exception) -> str:
    if isinstance(error, grpc.Call):
        return f"{error.code().name}: {error.details()}"
    return str(error)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the process that was started, as an operator would; what is left after the grace is killed."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):  # then it is killed
            process.wait(_GRACE_SECONDS)
    with suppress(ProcessLookupError):  # nothing of its group is left
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
