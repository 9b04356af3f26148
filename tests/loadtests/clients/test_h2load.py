"""h2load's words as numbers, and the refusal of runs that the server did not count."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients.h2load import Summary, command, measure, parse, percentile, read_log
from loadtests.harness.counters import echoes
from loadtests.harness.questions import EchoQuestion
from loadtests.harness.readings import Load, ReadingRefused
from loadtests.harness.servers import Launch, free_port, running
from loadtests.peers.environment import HERE

PRINTED = """\
starting benchmark...
spawning thread #0: 1 total client(s). 2000 total requests
Application protocol: h2c
progress: 100% done

finished in 2.51s, 203713.45 req/s, 21.95MB/s
requests: 511320 total, 511320 started, 511320 done, 511318 succeeded, 2 failed, 1 errored, 0 timeout
status codes: 511319 2xx, 0 3xx, 1 4xx, 0 5xx
traffic: 55.10MB (57777000) total, 12.19MB (12783000) headers (space savings 83.97%), 28.77MB (30167880) data
                     min         max         mean         sd        +/- sd
time for request:      101us      1.20ms       290us        34us    81.05%
time for connect:       72us        72us        72us         0us   100.00%
time to 1st byte:      412us       412us       412us         0us   100.00%
req/s           :  203801.11   203801.11   203801.11        0.00   100.00%
"""


def test_every_number_is_found() -> None:
    assert parse(PRINTED) == Summary(511320, 511318, 511319, 203713.45, 290.0)


@pytest.mark.parametrize(("word", "mean_us"), [("290us", 290.0), ("1.20ms", 1200.0), ("2.5s", 2_500_000.0)])
def test_units_become_microseconds(word: str, mean_us: float) -> None:
    assert parse(PRINTED.replace("     290us", word.rjust(10))).mean_us == mean_us


@pytest.mark.parametrize("line", ["finished in", "requests:", "status codes:", "time for request:"])
def test_a_missing_line_refuses_the_reading(line: str) -> None:
    kept = "\n".join(each for each in PRINTED.splitlines() if not each.startswith(line))
    with pytest.raises(ReadingRefused, match="found none in"):
        parse(kept)


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=200).map(np.array),
    st.sampled_from([0.1, 50, 90, 99, 99.9, 100]),
)
def test_percentiles_are_nearest_rank(values: np.ndarray, percent: float) -> None:
    found = percentile(values, percent)
    assert found == np.percentile(values, percent, method="inverted_cdf")
    assert np.mean(values <= found) * 100 >= percent - 1e-9


def test_the_log_gives_the_third_column(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("1732443157000001\t200\t61\n1732443157000070\t200\t59\n")
    assert read_log(log).tolist() == [61.0, 59.0]


def test_a_failed_request_in_the_log_refuses_the_reading(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("1732443157000001\t200\t61\n1732443157000070\t503\t59\n")
    with pytest.raises(ReadingRefused, match="503"):
        read_log(log)


def test_the_client_runs_on_its_own_core() -> None:
    argv = command("http://127.0.0.1:1/a/b", Load(connections=64), Path("body"), 1000)
    assert argv[:4] == ["taskset", "--cpu-list", "1", "h2load"]
    assert {"--requests=1000", "--clients=64", "--max-concurrent-streams=1", "--data=body"} <= set(argv)


@pytest.mark.skipif(shutil.which("h2load") is None, reason="needs Debian's nghttp2-client")
def test_an_error_under_http_200_is_no_reading() -> None:
    """An echo that answers UNIMPLEMENTED looks like success to h2load; the server's own count gives it away."""
    port = free_port()
    right = EchoQuestion(b"x" * 100)
    launch = Launch("test-echo", (sys.executable, str(HERE / "aio_echo.py"), str(port)), port, echoes(port))
    with running(launch, right, core=0) as server:
        reading = measure(server, right, Load(in_flight=8, logged=True), seconds=0.1)
        assert reading.requests >= 80
        assert 0 < reading.p50_us <= reading.p99_us
        assert reading.cpu_us > 1
        with pytest.raises(ReadingRefused, match="and 0 by the server's own count"):
            measure(server, replace(right, path="/bench.Echo/Nothing"), Load(in_flight=8), seconds=0.1)
