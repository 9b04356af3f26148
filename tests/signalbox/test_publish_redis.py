"""`signalbox publish --redis`: rows reach a scorer that nobody pushed to."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loadtests.harness.redis_process import RedisProcess, redis_process
from protos.client import Client
from protos.score import OK

Cli = Callable[..., Any]
DAYS = ("publish", "--replay", "--redis", "--from", "2022-12-15", "--to", "2022-12-16")


@pytest.fixture
def redis() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory() as folder, redis_process(Path(folder)) as redis:
        yield redis


@pytest.fixture
def fed_home(home: Path, redis: RedisProcess) -> Path:
    """The small home, with a Redis in its configuration."""
    config = home / "signalbox.toml"
    config.write_text(f'{config.read_text()}\n[redis]\nurl = "{redis.url}"\n')
    return home


def test_rows_go_through_redis(cli: Cli, fed_home: Path) -> None:
    sent = cli(*DAYS, "--home", str(fed_home), "--json").document
    assert (sent["sessions"], sent["rows"], sent["refused"]) == (2, 40, 0)
    command = [sys.executable, "-m", "signalbox", "serve", "--home", str(fed_home), "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        with Client(json.loads(process.stdout.readline())["addresses"][0]) as oms:
            assert set(oms.score("large_caps").status) == {OK}
        process.terminate()
        assert process.wait(timeout=20) == 0
    again = cli(*DAYS, "--home", str(fed_home), "--json").document
    assert (again["rows"], again["refused"]) == (0, 40)


def test_publish_without_the_redis_of_the_configuration(cli: Cli, home: Path) -> None:
    done = cli(*DAYS, "--home", str(home))
    assert (done.code, "expected a [redis] table" in done.err) == (64, True)


def test_publish_to_a_redis_that_is_away(cli: Cli, fed_home: Path, redis: RedisProcess) -> None:
    redis.kill()
    done = cli(*DAYS, "--home", str(fed_home))
    assert done.code == 8
    assert redis.url in done.err
