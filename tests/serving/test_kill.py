"""A worker's own kill switch."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from promotion.home import Home
from serving.errors import ListenRefused
from serving.host.kill import EVERY, KillSwitch, kill_path, kill_socket


async def say(path: Path, line: str) -> str:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line.encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer.strip()


async def test_the_socket_halts_and_resumes(tmp_path: Path) -> None:
    changes: list[str] = []
    switch = KillSwitch(lambda: changes.append(switch.reason("a")))
    async with kill_socket(Home(tmp_path), 3, switch) as owned:
        path = owned.path
        assert path == kill_path(Home(tmp_path), 3)
        assert path.stat().st_mode & 0o777 == 0o600
        assert await say(path, "halt a\n") == "halted a"
        assert switch.reason("a")
        assert not switch.reason("b")
        assert await say(path, "halt\n") == "halted every signal"
        assert switch.reason("b")
        assert "found another line" in await say(path, "destroy\n")
        assert await say(path, "resume a\n") == "resumed a"
        assert switch.reason("a"), "the halt of every signal still holds"
        assert await say(path, "resume\n") == "resumed every signal"
        assert not switch.reason("a")
        assert await say(path, "x" * 1000 + "\n") == ""
    assert len(changes) == 4
    assert not path.exists()


def test_every_is_every_signal() -> None:
    switch = KillSwitch(lambda: None)
    switch.halt(EVERY, "why")
    assert switch.reason("anything") == "why"


async def test_a_socket_that_a_killed_worker_left_is_replaced(tmp_path: Path) -> None:
    path = kill_path(Home(tmp_path), 0)
    path.parent.mkdir(parents=True)
    path.write_text("left behind")
    async with kill_socket(Home(tmp_path), 0, KillSwitch(lambda: None)):
        assert path.is_socket()


async def test_a_path_that_cannot_be_listened_on_is_named(tmp_path: Path) -> None:
    with pytest.raises(ListenRefused, match="107 bytes"):
        async with kill_socket(Home(tmp_path / ("x" * 120)), 0, KillSwitch(lambda: None)):
            pass
