"""What supervisor and worker say to each other, and how each learns that the other is gone."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from promotion.identity import Principal
from promotion.ledger.state import SignalState
from serving.errors import PipeBroken
from serving.feature_table import Refusal
from serving.host.pipe import Ack, Assign, Drain, Open, Pipe, Push, Ready, Setup, open_pipe, principals, public, served
from serving.statistics import WorkerStatistics
from serving.transport.listen import Tls


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Pipe, Pipe]]:
    one, other = socket.socketpair()
    ours, theirs = await open_pipe(one), await open_pipe(other)
    yield ours, theirs
    ours.close()
    theirs.close()


async def test_orders_and_replies_arrive_as_they_were_sent(ends: tuple[Pipe, Pipe]) -> None:
    ours, theirs = ends
    state = SignalState("s", 4, "11" * 32, ("22" * 32,), ("33" * 32,), 0.5, posture="NO_NEW_RISK")
    who = {"bob": Principal("bob", "aa" * 32, (), frozenset({"validator"}))}
    setup = Setup(
        worker=1,
        root="/home",
        environment="prod",
        address="unix:/run/sb.sock.1",
        listener=7,
        transport="native",
        tls=Tls(certificate=Path("/c.pem"), key=Path("/k.pem")),
        universes={"s": ("AAA",)},
        core=3,
        grace_seconds=5.0,
    )
    orders = [
        setup,
        Open(),
        Assign(signals=(served(state),), principals=public(who)),
        Push(rows=(b"\0\xff", b"")),
        Drain(),
    ]
    for number, order in enumerate(orders):
        ours.send(number, order)
    assert [await theirs.order() for _ in orders] == list(enumerate(orders))
    replies = [
        Ready(error="why"),
        Ack(failures={"s": "why"}, accepted=3, refused=(Refusal(1, "r"),), statistics=WorkerStatistics(requests=2)),
    ]
    for number, reply in enumerate(replies):
        theirs.send(number, reply)
    assert [await ours.reply() for _ in replies] == list(enumerate(replies))
    assert principals(public(who)) == who


async def test_an_order_knows_what_a_rollback_goes_to() -> None:
    each = served(SignalState("s", 4, "11" * 32, ("22" * 32, "33" * 32)))
    assert (each.live, each.previous, each.generation) == ("11" * 32, "33" * 32, 4)


async def test_the_end_of_the_other_side_is_told(ends: tuple[Pipe, Pipe]) -> None:
    ours, theirs = ends
    theirs.close()
    with pytest.raises(PipeBroken, match="found it gone"):
        await ours.reply()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (struct.pack("<IQ", 3, 1) + b"\xc1\xc1\xc1", "another"),
        (struct.pack("<IQ", 2**32 - 1, 1), "at most"),
        (struct.pack("<IQ", 9, 1) + b"short", "gone"),
    ],
)
async def test_bytes_of_no_message_break_the_pipe(data: bytes, words: str) -> None:
    one, other = socket.socketpair()
    pipe = await open_pipe(one)
    with other:
        other.setblocking(False)
        other.send(data)
    with pytest.raises(PipeBroken, match=words):
        await pipe.order()
    pipe.close()
