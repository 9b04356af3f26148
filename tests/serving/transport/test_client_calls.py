"""Our load clients: against both transports over a Unix socket, and against a server without a socket."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blockbuster import BlockBuster

from loadtests.clients import grpc_client, open_loop
from loadtests.clients.calls import Broken, Caller
from loadtests.clients.files import Outcome, Plan
from loadtests.clients.prepared import Headers, Prepared, prepare
from loadtests.harness.certificate import make_certificate
from serving.transport.call import Call
from serving.transport.grpcio import grpcio_transport
from serving.transport.http2 import frames
from serving.transport.http2.limits import Limits
from serving.transport.listen import Tls, bind
from serving.transport.methods import Unary
from serving.transport.native import native_transport

MESSAGES = [b"message %d" % number for number in range(400)]


@pytest.fixture
async def listener(tmp_path: Path) -> socket.socket:
    return await asyncio.to_thread(bind, f"unix:{tmp_path / 'socket'}")


@pytest.fixture
async def native(served: Any, listener: socket.socket) -> AsyncIterator[str]:
    async with native_transport(served.methods, listen=listener) as transport:
        yield transport.address


@pytest.fixture
async def grpcio(served: Any, tmp_path: Path) -> AsyncIterator[str]:
    async with grpcio_transport(served.methods, listen=f"unix:{tmp_path / 'other'}") as transport:
        yield transport.address


@pytest.fixture(params=["native", "grpcio"])
def address(request: pytest.FixtureRequest, native: str, grpcio: str) -> str:
    """Where the test's methods are served."""
    return {"native": native, "grpcio": grpcio}[request.param]


def plan(address: str, method: str = "/t/Echo", **more: Any) -> Plan:
    return Plan(address=address, path=method, **({"seconds": 0.05, "warm_seconds": 0.01, "keep_every": 1} | more))


async def closed(asked: Plan) -> tuple[Outcome, list[tuple[int, bytes]]]:
    outcome, client = await grpc_client.run(asked, MESSAGES)
    return outcome, list(client.kept())


@pytest.mark.parametrize("headers", Headers)
@pytest.mark.parametrize(("connections", "in_flight"), [(1, 64), (8, 1), (3, 20)])
async def test_every_call_is_answered_with_its_own_message(
    address: str, headers: Headers, connections: int, in_flight: int
) -> None:
    outcome, kept = await closed(plan(address, headers=headers, connections=connections, in_flight=in_flight))

    assert outcome.failures == {}
    assert 0 < outcome.answered <= outcome.in_all
    assert len(kept) == outcome.in_all
    assert outcome.times.histogram().total == outcome.answered
    assert all(reply == MESSAGES[number] for number, reply in kept)
    shares = {number * connections // len(MESSAGES) for number, _ in kept}
    assert len(shares) == connections


async def test_calls_that_are_refused_are_failures_by_their_status(address: str) -> None:
    outcome, kept = await closed(plan(address, "/t/Refuse", in_flight=20))

    (words,) = outcome.failures
    assert words.startswith("3: ")
    assert outcome.failures[words] > 0
    assert (outcome.answered, kept) == (0, [])


async def test_cancelled_calls_are_no_failures_and_the_others_are_answered(native: str, served: Any) -> None:
    outcome, kept = await closed(plan(native, in_flight=20, cancel_every=5))

    assert outcome.failures == {}
    assert 0 < outcome.cancelled < outcome.answered
    assert all(reply == MESSAGES[number] for number, reply in kept)


async def test_times_of_intervals_add_up_to_the_whole(native: str) -> None:
    outcome, _ = await closed(plan(native, in_flight=8, interval_seconds=0.02))

    assert len(outcome.intervals) >= 2
    assert sum(each.histogram().total for each in outcome.intervals) == outcome.times.histogram().total


async def test_tls_is_spoken_to_whom_the_certificate_says(served: Any, honest_loop: BlockBuster) -> None:
    made = make_certificate()
    certificate = made.path.read_text()
    honest_loop.deactivate()  # a server reads its PEM files before it serves
    async with native_transport(
        served.methods, listen="127.0.0.1:0", tls=Tls(certificate=made.path, key=made.key_path)
    ) as transport:
        outcome, kept = await closed(plan(transport.address, in_flight=64, certificate=certificate))

    assert outcome.failures == {}
    assert all(reply == MESSAGES[number] for number, reply in kept)
    assert kept


async def test_calls_under_way_on_a_connection_that_goes_are_failures(listener: socket.socket) -> None:
    held: list[Call] = []
    all_here = asyncio.Event()

    def hold(call: Call, body: bytes) -> None:
        held.append(call)
        if len(held) == 20:
            all_here.set()

    async with native_transport({"/t/Hold": Unary(hold)}, listen=listener) as transport:
        running = asyncio.create_task(closed(plan(transport.address, "/t/Hold", in_flight=20)))
        await all_here.wait()
    outcome, _ = await running

    assert outcome.failures == {"connection lost": 20}


async def test_more_calls_than_messages_are_refused(native: str) -> None:
    with pytest.raises(Broken, match="expected 401 messages or more for each connection, found 400"):
        await closed(plan(native, in_flight=401))


@pytest.mark.parametrize("poisson", [False, True])
async def test_open_loop_answers_every_request_that_was_due(address: str, poisson: bool) -> None:
    asked = plan(address, rate=2000.0, poisson=poisson, seconds=0.2, keep_every=3)

    outcome, arrivals = await asyncio.to_thread(open_loop.run, asked, MESSAGES)

    assert outcome.failures == {}
    assert outcome.in_all == int(2000 * 0.21)
    assert 0 < outcome.answered < outcome.in_all
    assert (arrivals.sent_ns >= arrivals.due_ns).all()
    assert (arrivals.done_ns > arrivals.sent_ns).all()
    assert len(arrivals.kept) == outcome.in_all / 3
    assert all(reply == MESSAGES[number] for number, reply in arrivals.kept)


async def test_open_loop_charges_for_what_was_due_while_there_was_no_room(served: Any, listener: socket.socket) -> None:
    """One call at a time is let through; the others' times run all the same."""
    async with native_transport(served.methods, listen=listener, limits=Limits(concurrent_streams=1)) as transport:
        asked = plan(transport.address, rate=1_000_000.0, seconds=0.0002, warm_seconds=0.0)
        outcome, arrivals = await asyncio.to_thread(open_loop.run, asked, MESSAGES)

    assert outcome.failures == {}
    assert outcome.late is not None
    assert outcome.times.max >= outcome.late.max > 0
    waits = arrivals.done_ns - arrivals.due_ns
    assert (np.diff(arrivals.done_ns) > 0).all()
    assert waits[-1] == waits.max()


async def test_open_loop_says_that_calls_stay_unanswered(native: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "PATIENCE_SECONDS", 0.05)

    asked = plan(native, "/t/Hold", rate=1000.0, seconds=0.02, warm_seconds=0.0)
    with pytest.raises(Broken, match="expected every call answered, found 20 unanswered"):
        await asyncio.to_thread(open_loop.run, asked, MESSAGES)


def test_even_arrivals_are_even_and_poissons_are_not() -> None:
    even = open_loop.due_times(1000.0, 20.0, poisson=False)
    drawn = open_loop.due_times(1000.0, 20.0, poisson=True)

    assert len(even) == len(drawn) == 20_000
    assert set(np.diff(even)) == {1_000_000}
    waits = np.diff(drawn)
    assert (waits >= 0).all()
    assert waits.mean() == pytest.approx(1_000_000, rel=0.05)
    assert waits.std() == pytest.approx(1_000_000, rel=0.05)  # as of an exponential distribution


class Noted(Caller):
    """Notes what was answered."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(prepared, Counter())
        self.replies: list[tuple[int, bytes]] = []

    def answered(self, number: int, content: bytes) -> None:
        self.replies.append((number, content[5:]))


def talk(caller: Noted, peer: Any) -> None:
    """Carries bytes both ways until nobody has anything to say."""
    while data := caller.take_out():
        peer.send(data)
        caller.connection.receive(peer.sent)
        peer.sent = b""


def test_a_cycle_goes_on_where_it_ends(connect: Callable[..., Any]) -> None:
    caller, peer = Noted(prepare("/t/Echo", MESSAGES[:7], headers=Headers.INDEXED)), connect(first=b"")
    talk(caller, peer)

    for _ in range(10):
        assert caller.send(5) in (5, 2, 3, 4, 1)
        talk(caller, peer)

    assert caller.failures == {}
    assert caller.replies == [(number, MESSAGES[number % 7]) for number in range(caller.next)]
    assert caller.next > 20


def test_no_more_is_sent_than_the_servers_window_and_streams_allow(connect: Callable[..., Any]) -> None:
    caller = Noted(prepare("/t/Hold", MESSAGES))
    peer = connect(first=b"", concurrent_streams=3)
    talk(caller, peer)

    assert caller.send(100) == 3
    assert caller.send(100) == 0

    caller.connection.most_streams = 1000
    caller.connection.sending.window = 100
    sent = 0
    while more := caller.send(1):
        sent += more
    assert sent == 100 // len(b"12345message 0")
    caller.connection.receive(frames.window_update(0, 1000))
    assert caller.send(10) == 10


def test_a_server_with_a_smaller_table_is_not_asked(connect: Callable[..., Any]) -> None:
    caller = Noted(prepare("/t/Echo", MESSAGES))
    caller.connection.receive(frames.settings({frames.Setting.HEADER_TABLE_SIZE: 4095}))

    with pytest.raises(Broken, match="table is 4096 bytes, found 4095"):
        caller.check_table()


def test_a_closed_connection_ends_an_open_loop() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frames.settings({}))
        theirs.shutdown(socket.SHUT_WR)
        arrivals = open_loop.Arrivals(prepare("/t/Echo", MESSAGES), np.zeros(1, np.int64))
        open_loop._greet(ours, arrivals)
        with pytest.raises(Broken, match="closed the connection"):
            open_loop._spin(ours, arrivals)
