"""What a worker asks of the system: blocks that are used again, and descriptors for its connections."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource
from serving.host.process import keep_freed_memory
assert {keep} is False or keep_freed_memory()
for _ in range(3):
    bytes(bytearray(500_000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    bytes(bytearray(500_000))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


FILES = """
import resource
from serving.host.process import allow_connections
resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))
print(allow_connections(100), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def said(program: str) -> str:
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return run.stdout.strip()


@pytest.mark.parametrize(("hard", "expected"), [(1000, "True 356 1000"), (200, "False 200 200")])
def test_as_many_files_may_be_open_as_connections_need(hard: int, expected: str) -> None:
    assert said(FILES.format(hard=hard)) == expected


def faults(*, keep: bool) -> int:
    return int(said(FAULTS.format(keep=keep)))


def test_big_blocks_cost_no_page_faults() -> None:
    pages = 100 * 500_000 // resource.getpagesize()
    assert faults(keep=True) < pages / 100
    assert faults(keep=False) > pages / 2
