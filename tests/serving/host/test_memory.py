"""Big blocks are used again: what is freed and asked for anew costs no page faults."""

from __future__ import annotations

import resource
import subprocess
import sys

FAULTS = """
import resource
from serving.host.memory import keep_freed_memory
assert {keep} is False or keep_freed_memory()
for _ in range(3):
    bytes(bytearray(500_000))
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    bytes(bytearray(500_000))
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, keep: bool) -> int:
    told = subprocess.run(
        [sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=True, timeout=60
    )
    return int(told.stdout)


def test_big_blocks_cost_no_page_faults() -> None:
    pages = 100 * 500_000 // resource.getpagesize()
    assert faults(keep=True) < pages / 100
    assert faults(keep=False) > pages / 2
