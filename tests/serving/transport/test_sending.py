"""What leaves, and when: the peer's windows, one stream after the other, and what waits is counted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients.wire import Frame, read_frames
from serving.transport.http2 import frames
from serving.transport.http2.errors import ConnectionFault, ErrorCode, StreamFault
from serving.transport.http2.limits import Budget
from serving.transport.http2.sending import Sending

END = b"\x88"


class Desk:
    """A sending half, and what has left it."""

    def __init__(self, *, window: int | None = None, **more: Any) -> None:
        self.out: list[bytes] = []
        self.done: list[int] = []
        self.budget = Budget(10**9)
        self.sending = Sending(self.out, self.done.append, budget=self.budget, **more)
        if window is not None:
            self.sending.window = window

    def left(self) -> list[Frame]:
        found, rest = read_frames(b"".join(self.out))
        assert not rest
        self.out.clear()
        return found

    def sizes(self) -> list[tuple[int, int]]:
        """(stream, bytes) of the DATA frames that have left."""
        return [(each.stream_id, len(each.payload)) for each in self.left() if each.kind == frames.DATA]


def test_content_leaves_in_frames_that_the_peer_takes_and_trailers_behind_it() -> None:
    desk = Desk()
    desk.sending.queue(1, b"x" * 40_000, END)
    found = desk.left()
    assert [(each.kind, len(each.payload), each.flags) for each in found] == [
        (frames.DATA, 16_384, 0),
        (frames.DATA, 16_384, 0),
        (frames.DATA, 7232, 0),
        (frames.HEADERS, 1, frames.END_HEADERS | frames.END_STREAM),
    ]
    assert desk.done == [1]
    assert desk.sending.window == frames.FIRST_WINDOW - 40_000
    assert desk.sending.unsent == desk.budget.used == 0


def test_what_the_connection_s_window_holds_back_leaves_when_it_opens() -> None:
    desk = Desk(window=10)
    desk.sending.queue(1, b"0123456789abcdef", END)
    assert desk.sizes() == [(1, 10)]
    assert (desk.sending.unsent, desk.budget.used, desk.sending.waits(1)) == (6, 6, True)
    desk.sending.widen(4)
    assert desk.sizes() == [(1, 4)]
    desk.sending.widen(100)
    assert b"".join(each.payload for each in desk.left() if each.kind == frames.DATA) == b"ef"
    assert desk.done == [1]
    assert desk.sending.window == 98


def test_a_stream_s_window_holds_back_that_stream_alone() -> None:
    desk = Desk()
    desk.sending.set_first_window(3)
    desk.sending.queue(1, b"12345", END)
    desk.sending.queue(3, b"123", END)
    assert desk.sizes() == [(1, 3), (3, 3)]
    assert desk.done == [3]
    desk.sending.widen_stream(1, 2)
    assert desk.sizes() == [(1, 2)]
    assert desk.done == [3, 1]


def test_a_smaller_first_window_makes_streams_windows_negative() -> None:
    """RFC 9113, section 6.9.2."""
    desk = Desk()
    desk.sending.set_first_window(10)
    desk.sending.queue(1, b"x" * 30)
    assert desk.sizes() == [(1, 10)]
    desk.sending.set_first_window(4)  # the stream's window is −6 now
    desk.sending.pump()
    desk.sending.widen_stream(1, 6)  # 0
    assert desk.sizes() == []
    desk.sending.widen_stream(1, 1)
    assert desk.sizes() == [(1, 1)]
    desk.sending.set_first_window(8)
    desk.sending.pump()
    assert desk.sizes() == [(1, 4)]


def test_streams_take_turns() -> None:
    desk = Desk(window=0)
    desk.sending.set_first_window(10**6)
    for stream_id in (1, 3, 5):
        desk.sending.queue(stream_id, b"x" * 40_000, END)
    desk.sending.widen(3 * 16_384)
    assert desk.sizes() == [(1, 16_384), (3, 16_384), (5, 16_384)]
    for _ in range(4):
        desk.sending.widen(1)  # a byte at a time, too, goes round
    assert desk.sizes() == [(1, 1), (3, 1), (5, 1), (1, 1)]


def test_the_end_needs_no_window() -> None:
    desk = Desk(window=0)
    desk.sending.queue(1, b"", END)
    assert [each.kind for each in desk.left()] == [frames.HEADERS]
    assert desk.done == [1]


def test_what_is_forgotten_never_leaves() -> None:
    desk = Desk(window=3)
    desk.sending.queue(1, b"12345", END)
    desk.sending.queue(3, b"67", END)
    desk.left()
    desk.sending.forget(1)
    assert (desk.sending.unsent, desk.budget.used) == (2, 2)
    desk.sending.widen(100)
    assert desk.sizes() == [(3, 2)]
    assert desk.sending.waits(1) is False


def test_windows_beyond_2_31_are_refused() -> None:
    """RFC 9113, sections 6.9.1 and 6.9.2."""
    desk = Desk()
    with pytest.raises(ConnectionFault) as connection:
        desk.sending.widen(frames.MAX_WINDOW - frames.FIRST_WINDOW + 1)
    with pytest.raises(StreamFault) as stream:
        desk.sending.widen_stream(1, frames.MAX_WINDOW - frames.FIRST_WINDOW + 1)
    desk.sending.widen_stream(1, 10)
    with pytest.raises(ConnectionFault) as first:
        desk.sending.set_first_window(frames.MAX_WINDOW - 9)
    assert {each.value.code for each in (connection, stream, first)} == {ErrorCode.FLOW_CONTROL_ERROR}


def test_a_share_of_a_large_window_is_used_until_what_was_written_has_left() -> None:
    desk = Desk(most_window=100)
    desk.sending.set_first_window(10**6)
    desk.sending.widen(10_000)
    desk.sending.queue(1, b"x" * 500, END)
    assert sum(size for _, size in desk.sizes()) == 100
    desk.sending.widen(10_000)  # what the peer allows beyond that does not count yet
    assert desk.sizes() == []
    for _ in range(4):
        desk.sending.refill()
        assert sum(size for _, size in desk.sizes()) == 100
    assert desk.done == [1]
    assert desk.sending.window + desk.sending.reserve == frames.FIRST_WINDOW + 20_000 - 500


def test_who_never_refills_sends_for_ever() -> None:
    """Beyond the 2 GiB that a window may hold, as long as the peer gives more."""
    sending = Desk().sending
    for _ in range(40):
        sending.widen(2**27)
        assert (sending.window, sending.reserve) == (frames.FIRST_WINDOW + 2**27, 0)
        sending.window -= 2**27  # as a client that makes its frames beforehand sends


def test_a_peer_with_a_smaller_table_is_told_once_that_ours_is_empty() -> None:
    """RFC 9113, section 4.3.1; RFC 7541, section 4.2."""
    desk = Desk()
    desk.sending.shrink_table()
    assert desk.sending.small == 0  # nothing leaves but by `block`
    desk.sending.set_first_window(70_000)
    assert desk.sending.small == 0
    desk.sending.block(1, END, ended=False)
    desk.sending.block(3, END, ended=False)
    desk.sending.shrink_table()
    desk.sending.block(5, END, ended=False)
    assert [each.payload for each in desk.left()] == [b"\x20" + END, END, END]
    assert desk.sending.small == 16_384


def test_a_block_larger_than_a_frame_goes_on_in_continuation() -> None:
    desk = Desk()
    desk.sending.block(1, bytes(40_000), ended=True)
    assert [(each.kind, len(each.payload), each.flags) for each in desk.left()] == [
        (frames.HEADERS, 16_384, frames.END_STREAM),
        (frames.CONTINUATION, 16_384, 0),
        (frames.CONTINUATION, 7232, frames.END_HEADERS),
    ]


_STREAMS = st.sampled_from([1, 3, 5])
_ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("queue"), _STREAMS, st.integers(0, 30_000)),
        st.tuples(st.just("widen"), st.just(0), st.integers(1, 20_000)),
        st.tuples(st.just("widen_stream"), _STREAMS, st.integers(1, 20_000)),
        st.tuples(st.just("first"), st.just(0), st.integers(0, 40_000)),
        st.tuples(st.just("refill"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@given(_ACTIONS, st.integers(1, 70_000))
def test_no_window_is_ever_passed_and_nothing_is_kept_back_that_may_go(actions: list[Any], most: int) -> None:
    """Against the plain rules of section 6.9, kept by hand: every window, after every step."""
    desk = Desk(most_window=most)
    windows, queued = dict.fromkeys((0, 1, 3, 5), frames.FIRST_WINDOW), dict.fromkeys((1, 3, 5), 0)
    first = frames.FIRST_WINDOW
    for action, stream_id, size in actions:
        if action == "queue":
            desk.sending.queue(stream_id, bytes(size))
            queued[stream_id] += size
        elif action == "widen":
            desk.sending.widen(size)
            windows[0] += size
        elif action == "widen_stream":
            desk.sending.widen_stream(stream_id, size)
            windows[stream_id] += size
        elif action == "first":
            desk.sending.set_first_window(size)
            desk.sending.pump()
            for each in (1, 3, 5):
                windows[each] += size - first
            first = size
        else:
            desk.sending.refill()
        for each, sent in desk.sizes():
            assert 0 < sent <= min(windows[0], windows[each], queued[each])
            windows[0] -= sent
            windows[each] -= sent
            queued[each] -= sent
        assert desk.sending.unsent == desk.budget.used == sum(queued.values())
        assert desk.sending.window + desk.sending.reserve == windows[0]
        for each in (1, 3, 5):
            assert not queued[each] or windows[each] <= 0 or desk.sending.window == 0
            assert desk.sending.waits(each) == bool(queued[each])
