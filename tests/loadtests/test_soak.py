"""What a soak calls flat, and what it does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from loadtests.clients.files import Outcome, Times
from loadtests.harness.histogram import Histogram
from loadtests.harness.servers import Launch, Server
from loadtests.serving.swapper import Swap
from loadtests.serving.swaps import Faults
from loadtests.soak import Held, Samples, Soak, rows_of

FLAT = [Held(100.0 + at % 2, 40) for at in range(50)]
SWAPS = tuple(Swap(generation, "a" * 64, 0.1) for generation in range(5))


def times(scale: float = 1.0) -> Times:
    return Times.of(Histogram.of((np.arange(1, 1001) * 1000 * scale).astype(np.int64)))


def soak(intervals: Sequence[Times] = (times(),) * 20, samples: Sequence[Held] = FLAT) -> Soak:
    outcome = Outcome(answered=800, in_all=800, seconds=100.0, times=times(), cancelled=200, intervals=tuple(intervals))
    return Soak(outcome, SWAPS, Faults(10, 0), samples)


def broken(found: Soak) -> set[str]:
    return {row.id for row in rows_of(found) if not row.ok}


def test_flat_is_good() -> None:
    assert broken(soak()) == set()


def test_memory_that_grows_is_found_and_its_slope_told() -> None:
    found = soak(samples=[Held(100.0 + at / 5, 40) for at in range(50)])

    assert broken(found) == {"soak.memory"}
    (row,) = (row for row in rows_of(found) if row.id == "soak.memory")
    assert row.value == pytest.approx(108.9 / 102.9)
    assert "+4 a minute" in row.what  # a fifth of a MiB each three seconds


def test_one_descriptor_that_is_left_open_is_found() -> None:
    assert broken(soak(samples=[Held(100.0, 40 + (at > 30)) for at in range(50)])) == {"soak.descriptors"}


def test_latencies_that_drift_are_found() -> None:
    assert broken(soak([times(1 + at / 40) for at in range(20)])) == {"soak.p99"}


def test_what_happens_while_it_warms_up_is_not_compared() -> None:
    warm = [Held(50.0, 10)] * 10 + list(FLAT[10:])
    assert broken(soak([times(9.0)] * 4 + [times()] * 16, warm)) == set()


def test_failures_and_wrong_replies_are_found() -> None:
    found = soak()
    failed = replace(found, outcome=Outcome(answered=800, in_all=800, seconds=1.0, times=times(), cancelled=200,
                                            intervals=found.outcome.intervals, failures={"14: gone": 3}))  # fmt: skip

    assert broken(failed) == {"soak.failed"}
    assert broken(replace(found, faults=Faults(10, 1, ("message 3: mixed",)))) == {"soak.wrong"}
    assert broken(replace(found, swaps=SWAPS[:1])) == {"soak.swaps"}


def test_a_run_that_is_too_short_is_no_soak() -> None:
    with pytest.raises(ValueError, match="at least 5 readings, found 4"):
        rows_of(soak([times()] * 4))


def test_what_a_process_holds_is_read(tmp_path: Path) -> None:
    words = "import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        samples = Samples()
        samples.take(Server(Launch("sleeper", (), 0, lambda: 0), process, tmp_path / "log"))
        process.communicate()

    (held,) = samples.taken
    assert held.mib > 1
    assert held.descriptors == 3
