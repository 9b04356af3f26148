"""The `h2` package as a client of ours, and as the judge of what is wrong on the wire."""

from __future__ import annotations

import contextlib
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import pytest
from h2.settings import SettingCodes
from hypothesis import assume, given
from hypothesis import strategies as st

from loadtests.clients import wire
from serving.transport.http2 import frames

from .conftest import InMemory, Served
from .test_any_reads import Said, trains

_ALTSVC = 0xA  # RFC 7838, section 4

FIELDS = wire.Requests().fields("/t/Echo")


class Client:
    """An h2 connection whose bytes go straight to a server in memory, and back, until neither has more to say."""

    def __init__(self, **settings: int) -> None:
        self.served = Served()
        self.server = InMemory(self.served)
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding=None))
        self.h2.initiate_connection()
        self.events: list[h2.events.Event] = []
        if settings:
            self.h2.update_settings({SettingCodes[name.upper()]: value for name, value in settings.items()})
        self.talk()

    def talk(self) -> None:
        while ours := self.h2.data_to_send():
            self.server.send(ours)
            for event in self.h2.receive_data(self.server.sent):
                self.events.append(event)
                if isinstance(event, h2.events.DataReceived) and event.stream_ended is None:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.server.sent = b""

    def call(self, message: bytes, *, path: str = "/t/Echo") -> int:
        stream_id: int = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, wire.Requests().fields(path))
        content = wire.grpc(message)
        while len(content) > self.h2.local_flow_control_window(stream_id):
            room = min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)
            self.h2.send_data(stream_id, content[:room])
            content = content[room:]
            self.talk()
        for at in range(0, len(content), self.h2.max_outbound_frame_size):
            part = content[at : at + self.h2.max_outbound_frame_size]
            self.h2.send_data(stream_id, part, end_stream=at + len(part) == len(content))
        self.talk()
        return stream_id

    def content(self, stream_id: int) -> bytes:
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, h2.events.DataReceived) and event.stream_id == stream_id
        )

    def trailers(self, stream_id: int) -> dict[bytes, bytes]:
        return next(
            dict(event.headers)
            for event in self.events
            if isinstance(event, h2.events.TrailersReceived) and event.stream_id == stream_id
        )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"initial_window_size": 999},
        {"header_table_size": 0},
        {"max_frame_size": 2**20, "initial_window_size": 2**20},
    ],
    ids=str,
)
@pytest.mark.parametrize("size", [0, 1, 200, 16_379, 16_380, 65_531, 300_000])
def test_h2_as_a_client_gets_what_it_sent(settings: dict[str, int], size: int) -> None:
    client = Client(**settings)
    message = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for _ in range(3):  # the third is read as usual: its head is known by then
        stream_id = client.call(message)
        assert client.content(stream_id) == wire.grpc(message)
        assert client.trailers(stream_id) == {b"grpc-status": b"0"}
    assert client.server.unread.used == client.server.unfinished.used == 0


def test_h2_cancels_a_call_that_is_under_way() -> None:
    client = Client()
    stream_id = client.call(b"x", path="/t/Hold")
    (call, _) = client.served.held[0]
    client.h2.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
    client.talk()
    assert call.cancelled
    call.answer(b"too late")
    client.server.flush()
    assert not client.server.sent


def _oracle(train: bytes) -> str:
    """Why h2 refuses the train, or ""."""
    judge = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    judge.initiate_connection()
    try:
        for at in range(0, len(train), 500):
            for event in judge.receive_data(train[at : at + 500]):
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    _acknowledge(judge, event)
    except h2.exceptions.ProtocolError as error:
        return str(error) or type(error).__name__
    return ""


def _acknowledge(judge: h2.connection.H2Connection, event: h2.events.DataReceived) -> None:
    with contextlib.suppress(h2.exceptions.StreamClosedError):  # it was reset meanwhile
        judge.acknowledge_received_data(event.flow_controlled_length, event.stream_id)


@st.composite
def _spoilt(draw: Any) -> bytes:
    """A train with one byte of one frame's head changed, and its last frame whole: ours judges no part of one.

    None with a frame of ALTSVC, which h2 judges and RFC 9113 does not know: unknown types are ignored (section 4.1).
    """
    train = draw(trains())
    at = draw(st.sampled_from(_heads(train)[:-1])) + draw(st.sampled_from([0, 2, 3, 3, 4, 4, 5, 8, 8]))
    spoilt = bytes(train[:at] + bytes((draw(st.integers(0, 10) | st.integers(0, 255)),)) + train[at + 1 :])
    *heads, end = _heads(spoilt)
    assume(all(spoilt[at + 3] != _ALTSVC for at in heads))
    return spoilt.ljust(min(end, len(spoilt) + frames.LEAST_MAX_FRAME_BYTES), b"\0")


def _heads(train: bytes) -> list[int]:
    """Where frames begin behind the preface, and where the last one ends."""
    heads = [len(frames.PREFACE)]
    while heads[-1] + frames.HEAD_BYTES <= len(train):
        at = heads[-1]
        heads.append(at + frames.HEAD_BYTES + int.from_bytes(train[at : at + 3], "big"))
    return heads


@given(trains() | _spoilt())
def test_what_h2_refuses_is_refused(train: bytes) -> None:
    why, said = _oracle(train), Said(train, [len(train)])
    resets = [reset for *_, reset in said.answers.values() if reset is not None]
    code = said.memory.code
    if why:
        assert resets or code >= 0, f"h2 refuses it: {why}"
