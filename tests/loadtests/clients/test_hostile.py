"""Each attack, for a moment, on a server with the usual limits: it does attack, and an honest client is answered."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.clients.hostile import ATTACKS, Line
from loadtests.clients.wire import Reading, Requests
from loadtests.serving.hostile_peers import Outcome
from serving.transport.http2 import frames
from serving.transport.methods import Unary
from serving.transport.native import native_transport

ROOT = Path(__file__).resolve().parents[3]
METHODS = {"/t/Echo": Unary(lambda call, body: call.answer(body))}


async def ask(address: str, message: bytes) -> bytes:
    """One honest call on a connection of its own."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(frames.PREFACE + frames.settings({}) + Requests().call("/t/Echo", message))
    reading = Reading()
    while 1 not in reading.ended:
        found = await reader.read(2**16)
        assert found, reading.goaway
        reading.take(found)
    writer.close()
    return reading.answers[1].messages[0]


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_attacks_and_is_borne(name: str) -> None:
    async with native_transport(METHODS, listen="127.0.0.1:0") as transport:
        line = Line(int(transport.address.rpartition(":")[2]), 0.25, "/t/Echo", b"x" * 100)
        attack = asyncio.create_task(asyncio.to_thread(ATTACKS[name], line))
        number = 0
        while not attack.done() or not number:
            number += 1
            assert await ask(transport.address, b"%d" % number) == b"%d" % number
        await attack
        await asyncio.to_thread(line.end)
        assert line.opened > 0
        assert line.sent > 0
        assert await ask(transport.address, b"afterwards") == b"afterwards"
        assert transport.unread.used <= transport.limits.unread_bytes
        assert transport.unfinished.used <= transport.limits.unfinished_bytes


@pytest.mark.parametrize("name", ["settings flood", "ping flood", "empty data flood", "window flood"])
async def test_floods_are_cut_off(name: str) -> None:
    async with native_transport(METHODS, listen="127.0.0.1:0") as transport:
        line = Line(int(transport.address.rpartition(":")[2]), 0.3, "/t/Echo", b"x")
        await asyncio.to_thread(ATTACKS[name], line)
        await asyncio.to_thread(line.end)
        assert transport.statistics().refused


def test_no_other_host_is_attacked() -> None:
    command = [
        sys.executable,
        "-m",
        "loadtests.clients.hostile",
        "192.0.2.1:1",
        "garbage",
        "--path",
        "/",
        "--message",
        "none",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "expected a server on 127.0.0.1" in done.stderr


def test_what_counts_as_borne() -> None:
    honest = {"answered": 10, "wrong": 0, "lost": {}, "slowest_ms": 1.0}
    attack = {"megabytes": 1.0, "connections": 2, "closed": 2}
    assert Outcome(honest, attack, 64.0).ok
    assert not Outcome(honest, attack, 64.1).ok
    assert not Outcome(honest, attack, 1.0, "UNAVAILABLE").ok
    assert not Outcome(honest | {"answered": 0}, attack, 1.0).ok
    assert not Outcome(honest | {"wrong": 1}, attack, 1.0).ok
    lost = Outcome(honest | {"lost": {"UNAVAILABLE": 2}}, attack, 1.0)
    assert (lost.ok, lost.lost) == (False, 2)
    assert "2 of 12 honest calls lost (2 UNAVAILABLE)" in lost.words
    json.dumps(lost.attack)
