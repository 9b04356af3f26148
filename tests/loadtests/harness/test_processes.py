"""CPU, memory and sockets of a tree of processes, read from /proc."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from loadtests.harness.processes import busy_seconds, cpu_ns, family, listener, memory, waited_ns

BUSY = "import time\nbegan = time.process_time()\nwhile time.process_time() - began < 0.3: pass\n"
NESTED = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {BUSY + 'print("done", flush=True); input()'!r}])
child.wait()
"""


@pytest.fixture
def nest() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits for a child, which has used 0.3 s of CPU by the time it says so."""
    with subprocess.Popen([sys.executable, "-c", NESTED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        yield process
        process.communicate(b"\n")


def test_the_family_is_counted_as_one(nest: subprocess.Popen[bytes]) -> None:
    parent, child = family(nest.pid)
    assert parent == nest.pid
    assert cpu_ns(nest.pid) > cpu_ns(child) >= 300_000_000
    assert memory(child).rss_mib > memory(child).pss_mib > 1


def test_who_shares_a_core_has_to_wait_for_it() -> None:
    command = ["taskset", "--cpu-list", "0", sys.executable, "-c", BUSY + "print('done', flush=True); input()"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == b"done\n"
        waited = waited_ns(one.pid) + waited_ns(other.pid)
        for process in (one, other):
            process.communicate(b"\n")
    assert waited > 100_000_000


def test_a_process_that_ended_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        assert memory(process.pid).rss_mib == 0.0
        assert cpu_ns(process.pid) >= 0


def test_the_listener_is_found_by_its_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener(os.getpid(), port) == os.getpid()
    with pytest.raises(LookupError, match=str(port)):
        listener(os.getpid(), port)


def test_a_busy_core_is_seen() -> None:
    core = min(os.sched_getaffinity(0))
    before = busy_seconds(core)
    subprocess.run(["taskset", "--cpu-list", str(core), sys.executable, "-c", BUSY], check=True)
    assert busy_seconds(core) - before >= 0.25
    assert busy_seconds(core) <= time.clock_gettime(time.CLOCK_BOOTTIME) + 1
