"""The same bytes to both transports, the same answers, request by request; where they differ, a row says why.

Requests are drawn from everything that a client may send, well and badly formed, several of them on a connection, their
frames mixed. What is unusual about a request has a name, its kind (`kinds.py`). A kind without a row in
`differences.py` is answered alike, to the byte of its messages and words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from loadtests.clients import wire
from serving.transport.http2 import frames
from serving.transport.http2.frames import Setting
from serving.transport.http2.limits import Limits

from .asking import MESSAGE_BYTES, PATIENCE_SECONDS, Asked, Servers, Service, Train, ask, both
from .differences import DIFFERENCES, OK, are_alike, behind_a_call, is_silent, rows_of
from .kinds import KINDS, of_kinds, plain

PAGE = Path(__file__).resolve().parents[3] / "docs" / "conformance.md"

# Faults of the connection, sent behind a call.
FAULTS = {
    "RST_STREAM of 3 bytes": frames.frame(frames.RST_STREAM, 0, 1, bytes(3)),
    "WINDOW_UPDATE of 0": frames.window_update(0, 0),
    "WINDOW_UPDATE of 5 bytes": frames.frame(frames.WINDOW_UPDATE, 0, 0, bytes(5)),
    "CONTINUATION alone": frames.frame(frames.CONTINUATION, frames.END_HEADERS, 1, b"\x82"),
    "DATA within a header block": wire.head(99, b"\x82", flags=0) + wire.data(1, b"x"),
    "a block with an integer without end": wire.head(99, b"\xff" * 6),
    "a block that ends within a field": wire.head(99, b"\x40"),
    "a block with index 0": wire.head(99, b"\x80"),
    "a table larger than allowed": wire.head(99, b"\x3f\xff\xff\x01"),
    "SETTINGS on a stream": frames.frame(frames.SETTINGS, 0, 1),
    "SETTINGS of 7 bytes": frames.frame(frames.SETTINGS, 0, 0, bytes(7)),
    "an acknowledgement with content": frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)),
    "SETTINGS_ENABLE_PUSH of 2": wire.settings({Setting.ENABLE_PUSH: 2}),
    "SETTINGS_INITIAL_WINDOW_SIZE of 2^31": wire.settings({Setting.INITIAL_WINDOW_SIZE: 2**31}),
    "SETTINGS_MAX_FRAME_SIZE of 100": wire.settings({Setting.MAX_FRAME_SIZE: 100}),
    "PING of 7 bytes": wire.ping(bytes(7)),
    "GOAWAY of 7 bytes": frames.frame(frames.GOAWAY, 0, 0, bytes(7)),
    "a second preface": frames.PREFACE,
}


async def hear_both(servers: Servers, trains: Sequence[Train], *, everything: bool = False) -> Iterator[Any]:
    """(train, what ours says, what grpcio's says), of all trains at once. everything: those not due are waited for."""
    ours = [ask(servers.native.address, train, _due(train, lambda asked: asked.is_due)) for train in trains]
    theirs = [
        ask(
            servers.grpcio.address,
            train,
            _due(train, lambda asked: (everything or asked.is_due) and not is_silent(asked)),
        )
        for train in trains
    ]
    heard = await asyncio.gather(*ours, *theirs)
    return zip(trains, heard[: len(trains)], heard[len(trains) :], strict=True)


def _due(train: Train, counts: Callable[[Asked], bool]) -> list[int]:
    return [at for at, asked in enumerate(train.requests) if counts(asked)]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@pytest.fixture(scope="module")
def servers(runner: asyncio.Runner) -> Iterator[Servers]:
    """Both transports; afterwards ours holds nothing of what was asked."""
    context = both(Service().methods, Limits(message_bytes=MESSAGE_BYTES))
    servers = runner.run(context.__aenter__())
    yield servers
    runner.run(servers.native.drain(PATIENCE_SECONDS, lambda: None))
    held = servers.native.calls, servers.native.unfinished.used, servers.native.unread.used
    runner.run(context.__aexit__(None, None, None))
    assert held == (0, 0, 0)


def test_each_row_is_so(runner: asyncio.Runner, servers: Servers) -> None:
    shown = [(row, *each) for row in DIFFERENCES for each in row.shows()]
    heard = runner.run(hear_both(servers, [train for _, train, _ in shown], everything=True))
    wrong = [
        f"{row.what}: {train.requests[at].kinds}: {ours[at]} and {theirs[at]}"
        for (row, train, at), (_, ours, theirs) in zip(shown, heard, strict=True)
        if not row.is_shown_by(ours[at], theirs[at])
    ]
    assert not wrong, "\n".join(wrong)


def test_each_kind_without_a_row_is_answered_alike(runner: asyncio.Runner, servers: Servers) -> None:
    alike = [kind for kind in KINDS if not rows_of(of_kinds(plain(), kind))]
    assert len(alike) > 30
    trains = [Train((of_kinds(plain("/t/Metadata"), kind),) * 3) for kind in alike]  # the third is known by its bytes
    for train, ours, theirs in runner.run(hear_both(servers, trains)):
        assert ours == theirs, train.requests[0].kinds
        assert {each.outcome for each in ours} <= {OK, "status 12"}, train.requests[0].kinds


def test_faults_of_the_connection_end_it_on_both(runner: asyncio.Runner, servers: Servers) -> None:
    trains = list(map(behind_a_call, FAULTS.values()))
    for name, (_, ours, theirs) in zip(FAULTS, runner.run(hear_both(servers, trains)), strict=True):
        assert (ours[0].outcome, ours[1].outcome) == (OK, "closed"), name
        assert theirs[1].outcome == "closed", name


# Any train of requests.

# Those that may stand beside others: not what ends grpcio's connection, nor a length that another kind changes.
MIXED = [
    kind
    for kind in KINDS
    if not any("closed" in row.theirs for row in rows_of(of_kinds(plain(), kind)))
    and not kind.startswith(("content-length as", "content-length with"))
]
PATHS = ["/t/Echo"] * 6 + ["/t/Bytes", "/t/Refuse", "/t/Count", "/t/Metadata", "/t/Deadline", "/t/None"]
MESSAGES = [b"hello"] * 3 + [b"", b"abc", b"abcd", bytes(300), b"x" * MESSAGE_BYTES]
ENDINGS = ["data"] * 8 + ["empty", "empty", "trailers", "reset", "late reset", "open"]
BETWEEN = [
    wire.ping(),
    *[wire.settings({Setting.INITIAL_WINDOW_SIZE: 9})] * 3,
    wire.settings({Setting.HEADER_TABLE_SIZE: 0}),
    wire.settings({Setting.MAX_FRAME_SIZE: 20_000}),
    frames.frame(frames.PRIORITY, 0, 1, bytes(5)),
    frames.frame(0x42, 0xFF, 1, b"whatever"),
    frames.window_update(0, 7),
]


@st.composite
def requests(draw: Any) -> Asked:
    asked = replace(
        plain(draw(st.sampled_from(PATHS)), draw(st.sampled_from(MESSAGES) | st.binary(max_size=40))),
        continued=draw(st.sampled_from([0, 0, 0, 1, 2])),
        weighted=draw(st.sampled_from([False, False, False, True])),
        cuts=tuple(draw(st.lists(st.integers(0, 60), max_size=3))),
        ending=draw(st.sampled_from(ENDINGS)),
    )
    return of_kinds(asked, *(draw(st.sampled_from(MIXED)) for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2])))))


@st.composite
def trains(draw: Any) -> Train:
    """Requests, some of them several times, in any order of their frames."""
    several = st.sampled_from([1, 1, 1, 2, 4])
    found = [asked for asked in draw(st.lists(requests(), min_size=1, max_size=4)) for _ in range(draw(several))]
    order = draw(st.lists(st.integers(0, len(found) - 1), max_size=24))
    between = draw(st.dictionaries(st.integers(0, 9), st.sampled_from(BETWEEN), max_size=4))
    return Train(tuple(found), tuple(order), tuple(between.items()))


# A fault takes grpcio up to a second to answer: few examples of many trains, and no shrinking, as one request is named.
@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # it would hide what differs
@settings(max_examples=max(10, settings.default.max_examples // 12), phases=(Phase.reuse, Phase.generate))
@given(asked=st.lists(trains(), min_size=8, max_size=16))
def test_any_train_is_answered_alike(runner: asyncio.Runner, servers: Servers, asked: list[Train]) -> None:
    for train, ours, theirs in runner.run(hear_both(servers, asked)):
        for at, request in enumerate(train.requests):
            assert are_alike(request, ours[at], theirs[at]), f"{request}: {ours[at]} and {theirs[at]}"


# What cannot be shown beside others.

TRIES = 50


async def test_a_path_that_is_no_text_ends_nothing_for_good() -> None:
    """It ends grpcio's server, and with it the calls of all its clients: they repeat what was not done."""
    asked = of_kinds(plain(), "no :path")
    train = Train((replace(asked, fields=((b":path", b"/t/\xe9"), *asked.fields)),))
    async with both(Service().methods) as servers:
        for transport in servers:
            (heard,) = await ask(transport.address, train, (0,))
            assert heard.outcome in ("status 12", "status 1")
            assert await call_until_it_is_answered(transport.address) == b"hello"


async def call_until_it_is_answered(address: str) -> bytes:
    soon = (("grpc.initial_reconnect_backoff_ms", 50),)
    async with grpc.aio.insecure_channel(address, options=soon) as channel:
        for _ in range(TRIES):
            call = channel.unary_unary("/t/Echo")(b"hello", wait_for_ready=True, timeout=20)
            if await call.code() is grpc.StatusCode.OK:
                return bytes(await call)
    raise AssertionError(f"{address}: {TRIES} calls went wrong")


def test_the_page_says_where_the_two_differ() -> None:
    table = "\n".join(row.row for row in DIFFERENCES)
    assert table in PAGE.read_text(), f"docs/conformance.md: expected this table:\n{table}"
