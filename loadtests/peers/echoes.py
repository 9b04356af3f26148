"""Bare gRPC echoes: what a transport costs when nothing is parsed and nothing is scored.

C++ and Go are built from Debian's packages, `grpc.aio` runs in Signalbox's own environment. Each gives back the bytes
that Signalbox is asked with.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.harness.counters import echoes
from loadtests.harness.questions import EchoQuestion, FirstOfMany
from loadtests.harness.servers import Launch, PeerMissing, free_port
from loadtests.peers.environment import HERE, program

CPP_PACKAGES = "g++ pkg-config libgrpc++-dev"
GO_PACKAGES = "golang-go golang-google-grpc-dev"
_GO_ENVIRONMENT = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode"}  # where Debian keeps Go libraries


@dataclass(frozen=True, eq=False)
class EchoQuestions(FirstOfMany):
    """Many messages to echo, as one question (see ManyQuestions)."""

    messages: Sequence[bytes]
    path: str = EchoQuestion.path
    rows: int = 1

    def check_one(self, number: int, reply: bytes) -> None:
        """WrongAnswer unless `reply` is message `number` again."""
        EchoQuestion(self.messages[number]).check(reply)


def cpp_echo() -> Launch:
    """gRPC C++ (the version that Debian has). PeerMissing without compiler or library."""
    return _echo("echo-cpp", str(_cpp()))


def go_echo() -> Launch:
    """gRPC Go (the version that Debian has). PeerMissing without compiler or library."""
    command = ("go", "build", "-o", "OUTPUT", "SOURCE")
    return _echo(
        "echo-go", str(program("echo-go", "echo.go", command, packages=GO_PACKAGES, environment=_GO_ENVIRONMENT))
    )


def aio_echo() -> Launch:
    """grpcio's asyncio server on uvloop."""
    return _echo("echo-aio", sys.executable, str(HERE / "aio_echo.py"))


def _echo(name: str, *command: str) -> Launch:
    port = free_port()
    return Launch(name=name, command=(*command, str(port)), port=port, counted=echoes(port))


def _cpp() -> object:
    if shutil.which("pkg-config") is None:
        raise PeerMissing(f"echo-cpp: expected pkg-config, found none; run: sudo apt-get install {CPP_PACKAGES}")
    asked = subprocess.run(["pkg-config", "--cflags", "--libs", "grpc++"], capture_output=True, text=True, check=False)  # noqa: S607 - a tool that the bench names as needed
    if asked.returncode:
        raise PeerMissing(
            f"echo-cpp: expected the library grpc++, found none; run: sudo apt-get install {CPP_PACKAGES}"
        )
    command = ("g++", "-O2", "-std=c++17", "-o", "OUTPUT", "SOURCE", *asked.stdout.split())
    return program("echo-cpp", "echo.cc", command, packages=CPP_PACKAGES, environment={})
