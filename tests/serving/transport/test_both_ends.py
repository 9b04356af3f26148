"""Our client and our server in memory: in whatever pieces it travels, each call gets its own answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients import wire
from serving.transport.http2 import frames
from serving.transport.http2.client import ClientConnection
from serving.transport.http2.errors import ErrorCode
from serving.transport.http2.frames import Setting
from serving.transport.http2.hpack import Encoder, Head
from serving.transport.http2.limits import Limits

from .conftest import InMemory, Served

_ENCODER = Encoder()


def block(path: str) -> bytes:
    return _ENCODER.encode(wire.Requests().fields(path))


class Answers:
    """The client's receiver: what has come back, stream by stream."""

    def __init__(self) -> None:
        self.contents: dict[int, bytes] = {}
        self.statuses: dict[int, bytes] = {}
        self.gone: list[int] = []

    def whole_answer(self, stream_id: int, head: Head, content: bytes, trailers: Head) -> None:
        self.answer_head(stream_id, head, ended=False)
        self.answer_data(stream_id, content, ended=False)
        self.answer_head(stream_id, trailers, ended=True)

    def whole_answers(self, stream_ids: Sequence[int], head: Head, contents: Any, trailers: Head) -> None:
        for stream_id, content in zip(stream_ids, contents, strict=True):
            self.whole_answer(stream_id, head, content.tobytes(), trailers)

    def answer_head(self, stream_id: int, head: Head, *, ended: bool) -> None:
        status = dict(head.fields).get(b"grpc-status")
        if status is not None:
            assert stream_id not in self.statuses
            self.statuses[stream_id] = status

    def answer_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        self.contents[stream_id] = self.contents.get(stream_id, b"") + data

    def stream_gone(self, stream_id: int, stream: Any) -> None:
        self.gone.append(stream_id)


class Line:
    """A client and a server, and what is on its way between them."""

    def __init__(self, window: int, ours: int) -> None:
        self.answers = Answers()
        self.served = Served()
        self.client = ClientConnection(self.answers, Limits(stream_window_bytes=window, connection_window_bytes=2**20))
        self.server = InMemory(self.served, Limits(stream_window_bytes=ours, connection_window_bytes=65_535))
        self.asked: dict[int, bytes] = {}
        self._up = self._down = b""

    def ask(self, path: str, message: bytes) -> int:
        stream_id = self.client.request(block(path), wire.grpc(message), None)
        self.asked[stream_id] = message
        return stream_id

    def up(self, size: int) -> None:
        """So many bytes reach the server."""
        self._up += b"".join(self.client.out)
        self.client.out.clear()
        self.server.send(self._up[:size])
        self._up = self._up[size:]
        self._down += self.server.sent
        self.server.sent = b""

    def down(self, size: int) -> None:
        """So many bytes reach the client."""
        self.client.receive(self._down[:size])
        self._down = self._down[size:]

    def settle(self) -> None:
        """Until neither has more to say."""
        while self._up or self._down or self.client.out or self.server.sent:
            self.up(10**7)
            self.down(10**7)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from([0, 1, 30, 30, 30, 30, 16_379, 16_380, 70_000])),
        st.tuples(st.just("many"), st.integers(2, 30)),
        st.tuples(st.just("hold"), st.just(0)),
        st.tuples(st.just("refuse"), st.just(0)),
        st.tuples(st.just("cancel"), st.integers(0, 50)),
        st.tuples(st.just("answer"), st.integers(0, 50)),
        st.tuples(st.just("up"), st.integers(1, 5000)),
        st.tuples(st.just("down"), st.integers(1, 5000)),
    ),
    max_size=25,
)


def _step(line: Line, action: str, size: int) -> None:
    if action == "ask":
        line.ask("/t/Echo", bytes(size))
    elif action == "many":
        for at in range(size):
            line.ask("/t/Echo", b"%05d" % at)
    elif action in ("hold", "refuse"):
        line.ask(f"/t/{action.capitalize()}", b"h")
    elif action == "cancel" and line.client.streams:
        stream_id = list(line.client.streams)[size % len(line.client.streams)]
        line.client.cancel(stream_id)
        del line.asked[stream_id]
    elif action == "answer" and line.served.held:
        call, body = line.served.held.pop(size % len(line.served.held))
        call.answer(body)
        line.server.flush()
    elif action in ("up", "down"):
        getattr(line, action)(size)


@given(_STEPS, st.sampled_from([16_384, 2**18]), st.sampled_from([16_384, 2**18]))
def test_every_call_gets_its_own_answer(steps: list[tuple[str, int]], window: int, ours: int) -> None:
    line = Line(window, ours)
    for action, size in steps:
        _step(line, action, size)
    line.settle()
    for call, body in line.served.held:
        call.answer(body)
    line.server.flush()
    line.settle()

    assert line.client.fault is None
    assert line.server.connection.fault is None
    for stream_id, message in line.asked.items():
        status = line.answers.statuses[stream_id]
        assert status in (b"0", b"3")
        if status == b"0":
            assert line.answers.contents[stream_id] == wire.grpc(message)
    assert not line.client.streams
    assert not line.server.connection.streams
    assert line.server.unread.used == line.server.unfinished.used == 0


def test_a_graceful_end_loses_nothing() -> None:
    line = Line(2**18, 2**18)
    held = line.ask("/t/Hold", b"h")
    line.settle()
    line.server.connection.announce_end()
    on_its_way = line.ask("/t/Echo", b"sent before the client knew")
    line.server.flush()
    line.settle()
    assert line.server.connection.final, "the client's answer to PING says that it knows"
    assert line.client.peer_goes
    late = line.ask("/t/Echo", b"after all")
    line.settle()
    line.served.held[0][0].answer(b"done")
    line.server.flush()
    line.settle()
    assert line.answers.contents == {held: wire.grpc(b"done"), on_its_way: wire.grpc(b"sent before the client knew")}
    assert line.answers.gone == [late], "refused, not lost: it is safe to send elsewhere (RFC 9113, section 8.7)"


def test_a_fault_of_the_server_s_peer_reaches_the_client_in_words() -> None:
    line = Line(2**18, 2**18)
    line.settle()
    line.client.out.append(frames.window_update(0, 0))
    line.settle()
    assert line.server.connection.fault is not None
    assert line.server.connection.fault.code == ErrorCode.PROTOCOL_ERROR
    assert line.client.peer_goes


def test_settings_of_the_client_change_what_is_under_way() -> None:
    line = Line(16_384, 2**18)
    stream_id = line.ask("/t/Bytes", b"100000")
    line.up(10**7)
    line.client.out.append(frames.settings({Setting.INITIAL_WINDOW_SIZE: 10**6, Setting.MAX_FRAME_SIZE: 2**15}))
    line.client.limits = Limits(stream_window_bytes=10**6)
    line.client._windows[stream_id] = 10**6
    line.up(10**7)
    assert max(len(each.payload) for each in line.server.reading.of(frames.DATA)) == 2**15
