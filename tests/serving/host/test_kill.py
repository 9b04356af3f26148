"""A worker's own kill switch: in force at once, kept across restarts, known to both processes of a hand-over."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from promotion.home import Home
from serving.errors import ListenRefused
from serving.host.halts import EVERY, worker_halts
from serving.host.kill import KillSwitch, kill_path, kill_socket


async def say(path: Path, line: str) -> str:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line.encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer.strip()


def switch() -> KillSwitch:
    return KillSwitch(lambda: None)


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
    halted = switch()
    halted.halt(EVERY, "why")
    assert halted.reason("anything") == "why"


async def test_a_halt_holds_across_restarts_until_it_is_resumed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    async with kill_socket(home, 0, switch()) as owned:
        await say(owned.path, "halt a\n")
        await say(owned.path, "halt b\n")
        await say(owned.path, "resume b\n")
    restarted, another = switch(), switch()
    async with kill_socket(home, 0, restarted) as owned, kill_socket(home, 1, another):
        assert restarted.reason("a") == "halted by the worker's kill socket"
        assert not restarted.reason("b")
        assert not another.reason("a"), "each worker has its own"
        await say(owned.path, "resume\n")
    after = switch()
    async with kill_socket(home, 0, after):
        assert not after.reason("a")


async def test_a_halt_is_in_force_even_where_it_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "halts").write_text("a file where the folder should be")
    halted = switch()
    async with kill_socket(Home(tmp_path), 0, halted) as owned:
        # What was halted before cannot be known here: everything is, until somebody says otherwise.
        assert "expected the halts" in halted.reason("a")
        assert "resumed every signal, but" in await say(owned.path, "resume\n")
        answer = await say(owned.path, "halt a\n")
        assert answer.startswith("halted a, but ")
        assert "expected to be written" in answer
        assert halted.reason("a") == "halted by the worker's kill socket"


async def test_while_a_worker_is_replaced_both_processes_hear_of_a_halt(tmp_path: Path) -> None:
    home, leaving, coming = Home(tmp_path), switch(), switch()
    async with kill_socket(home, 0, leaving) as before:
        late = await asyncio.open_unix_connection(before.path)  # connected, and has not said anything yet
        async with kill_socket(home, 0, coming) as now:
            assert await say(now.path, "halt a\n") == "halted a"
            assert coming.reason("a")
            assert leaving.reason("a")
            late[1].write(b"halt b\n")
            assert await late[0].readline() == b"halted b\n"
            late[1].close()
            assert leaving.reason("b")
            assert coming.reason("b")
            assert await say(now.path, "resume a\n") == "resumed a"
            assert not leaving.reason("a")
            assert not coming.reason("a")
            assert list(await asyncio.to_thread(worker_halts(home, 0).read)) == ["b"]
    assert not kill_path(home, 0).exists()
    assert list(kill_path(home, 0).parent.iterdir()) == []


async def test_a_predecessor_that_ends_leaves_its_successors_socket_alone(tmp_path: Path) -> None:
    home, coming = Home(tmp_path), switch()
    before = kill_socket(home, 0, switch())
    await before.__aenter__()
    async with kill_socket(home, 0, coming) as now:
        await before.__aexit__(None, None, None)
        assert await say(now.path, "halt a\n") == "halted a"
        assert coming.reason("a")


async def test_a_socket_that_a_killed_worker_left_is_replaced(tmp_path: Path) -> None:
    path = kill_path(Home(tmp_path), 0)
    path.parent.mkdir(parents=True)
    path.write_text("left behind")
    async with kill_socket(Home(tmp_path), 0, switch()):
        assert path.is_socket()


async def test_a_path_that_cannot_be_listened_on_is_named(tmp_path: Path) -> None:
    with pytest.raises(ListenRefused, match="107 bytes"):
        async with kill_socket(Home(tmp_path / ("x" * 120)), 0, switch()):
            pass
