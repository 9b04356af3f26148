"""The client's end without a socket: what it sends, and that runs of answers are read as their frames say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.transport.grpc.ending import ANSWER_BLOCK, OK_BLOCK
from serving.transport.http2 import frames
from serving.transport.http2.client import ClientConnection
from serving.transport.http2.errors import ErrorCode
from serving.transport.http2.frames import Setting
from serving.transport.http2.hpack import Encoder, Head, IndexingEncoder
from serving.transport.http2.layout import LEAST_RUN, Bytes
from serving.transport.http2.limits import Limits

BLOCK = Encoder().encode(((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/t/Echo")))
REFUSED = Encoder().encode(((b":status", b"200"), (b"grpc-status", b"3")))
RUN = 3 * LEAST_RUN


class Seen:
    """A receiver that notes every answer. runs: how long those were that came several at once."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, bytes, bytes]] = []  # stream, content, grpc-status
        self.gone: list[int] = []
        self.runs: list[int] = []
        self._contents: dict[int, bytes] = {}

    def whole_answer(self, stream_id: int, head: Head, content: bytes, trailers: Head) -> None:
        self.answers.append((stream_id, content, dict(trailers.fields)[b"grpc-status"]))

    def whole_answers(self, stream_ids: Sequence[int], head: Head, contents: Bytes, trailers: Head) -> None:
        self.runs.append(len(stream_ids))
        for stream_id, content in zip(stream_ids, contents, strict=True):
            self.whole_answer(stream_id, head, content.tobytes(), trailers)

    def answer_head(self, stream_id: int, head: Head, *, ended: bool) -> None:
        if ended:
            self.whole_answer(stream_id, head, self._contents.pop(stream_id, b""), head)
        else:
            self._contents[stream_id] = b""

    def answer_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        self._contents[stream_id] += data

    def stream_gone(self, stream_id: int, stream: Any) -> None:
        self.gone.append(stream_id)


class Talk:
    """A client's connection whose server has greeted it."""

    def __init__(self, settings: dict[Setting, int] | None = None, *, streams: int = 0, **limits: Any) -> None:
        self.seen = Seen()
        self.connection = ClientConnection(self.seen, Limits(**limits))
        self.connection.receive(frames.settings(settings or {}))
        self.connection.out.clear()
        for _ in range(streams):
            self.connection.request(BLOCK, b"", None)
        self.connection.out.clear()

    def take(self, wire: bytes, size: int = 0) -> None:
        step = size or len(wire)
        for at in range(0, len(wire), step):
            self.connection.receive(wire[at : at + step])


def answer(stream_id: int, content: bytes = b"12345", end: bytes = OK_BLOCK) -> bytes:
    return (
        frames.frame(frames.HEADERS, frames.END_HEADERS, stream_id, ANSWER_BLOCK)
        + frames.frame(frames.DATA, 0, stream_id, content)
        + frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream_id, end)
    )


def refusal(stream_id: int) -> bytes:
    return frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream_id, REFUSED)


def streams(count: int) -> range:
    return range(1, 2 * count, 2)


def test_answers_laid_out_alike_are_read_at_once() -> None:
    talk = Talk(streams=RUN + 3)
    talk.take(b"".join(map(answer, streams(3))))  # frame by frame: their blocks are not known yet

    talk.take(b"".join(answer(stream_id, b"%05d" % stream_id) for stream_id in streams(RUN + 3)[3:]))

    assert talk.seen.runs == [RUN]
    assert talk.seen.answers[3:] == [(each, b"%05d" % each, b"0") for each in streams(RUN + 3)[3:]]
    assert not talk.connection.streams
    assert talk.connection.answered == RUN + 3


_KINDS = st.sampled_from(["usual", "longer", "error", "refused", "ping", "pieces"])
_WIRE = st.lists(st.tuples(_KINDS, st.integers(1, 2 * LEAST_RUN)), min_size=1, max_size=12).map(
    lambda pairs: [kind for kind, times in pairs for _ in range(times)]
)


@given(_WIRE, st.integers(1, 4000), st.randoms(use_true_random=False))
def test_any_answers_in_any_order_and_pieces_are_read_as_their_frames_say(kinds, size, random) -> None:
    numbers = list(streams(len(kinds)))
    random.shuffle(numbers)
    wire, expected = b"", []
    for kind, number in zip(kinds, numbers, strict=True):
        more, found = _made(kind, number)
        wire += more
        expected += found
    talk = Talk(streams=len(kinds))

    talk.take(wire, size)

    assert talk.connection.fault is None
    assert talk.seen.answers == expected
    assert len(talk.connection.streams) == kinds.count("ping")


def _made(kind: str, number: int) -> tuple[bytes, list[tuple[int, bytes, bytes]]]:
    content = b"%05d" % number
    end_block = Encoder().encode(((b"grpc-status", b"8"),))
    head = frames.frame(frames.HEADERS, frames.END_HEADERS, number, ANSWER_BLOCK)
    pieces = b"".join(frames.frame(frames.DATA, 0, number, content[at : at + 1]) for at in range(5))
    end = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number, OK_BLOCK)
    return {
        "usual": (answer(number, content), [(number, content, b"0")]),
        "longer": (answer(number, content * 2), [(number, content * 2, b"0")]),
        "error": (answer(number, content, end_block), [(number, content, b"8")]),
        "refused": (refusal(number), [(number, b"", b"3")]),
        "ping": (frames.frame(frames.PING, 0, 0, b"12345678"), []),
        "pieces": (head + pieces + end, [(number, content, b"0")]),
    }[kind]


@pytest.mark.parametrize("odd", [0, 5, LEAST_RUN, RUN - 1])
def test_an_answer_of_a_call_that_was_given_up_is_skipped_within_a_run(odd: int) -> None:
    talk = Talk(streams=RUN + 2)
    talk.take(answer(1) + answer(3))
    rest = streams(RUN + 2)[2:]
    talk.connection.cancel(rest[odd])

    talk.take(b"".join(map(answer, rest)))

    assert [stream_id for stream_id, *_ in talk.seen.answers[2:]] == [each for each in rest if each != rest[odd]]
    assert talk.connection.fault is None
    assert talk.seen.runs


def test_frames_of_two_answers_between_one_another_are_told_apart_within_a_run() -> None:
    talk = Talk(streams=RUN + 3)
    first, second, *rest = streams(RUN + 3)
    talk.take(b"".join(map(answer, rest[:3])))
    one, other = answer(first, b"first"), answer(second, b"other")
    head_bytes = frames.HEAD_BYTES + len(ANSWER_BLOCK)

    talk.take(one[:head_bytes])
    talk.take(
        b"".join(map(answer, rest[3:7])) + other[:head_bytes] + one[head_bytes:] + b"".join(map(answer, rest[7:]))
    )
    talk.take(other[head_bytes:])

    assert dict(each[:2] for each in talk.seen.answers) == {first: b"first", second: b"other"} | dict.fromkeys(
        rest, b"12345"
    )
    assert talk.seen.runs


def test_a_second_answer_on_a_stream_is_refused_within_a_run() -> None:
    talk = Talk(streams=RUN + 2)
    talk.take(answer(1) + answer(3))
    rest = [*streams(RUN + 2)[2:]]

    talk.take(b"".join(map(answer, [*rest[:10], rest[4], *rest[10:]])))

    assert sorted(stream_id for stream_id, *_ in talk.seen.answers) == sorted((1, 3, *rest))
    reset = frames.rst_stream(rest[4], ErrorCode.STREAM_CLOSED)
    assert reset in b"".join(talk.connection.out)


def test_a_table_that_moved_gives_the_same_bytes_another_meaning() -> None:
    server = IndexingEncoder()
    enters, indexed = (server.encode(((b"grpc-status", b"0"),)) for _ in range(2))
    moves = server.encode(((b"grpc-status", b"8"),))  # what `indexed` says is this one from now on
    talk = Talk(streams=2 * RUN)
    numbers = streams(2 * RUN)

    talk.take(answer(1, end=enters) + b"".join(answer(each, end=indexed) for each in numbers[1:RUN]))
    talk.take(answer(numbers[RUN], end=moves) + b"".join(answer(each, end=indexed) for each in numbers[RUN + 1 :]))

    assert [status for _, _, status in talk.seen.answers] == [b"0"] * RUN + [b"8"] * RUN
    assert len(talk.seen.runs) == 2


def test_requests_made_beforehand_are_the_same_as_requests_one_by_one() -> None:
    one_by_one, at_once = Talk(), Talk()
    for number in range(5):
        one_by_one.connection.request(BLOCK, b"%d" % number, "kept")
    made = b"".join(one_by_one.connection.out)

    assert at_once.connection.has_room(5, 1)
    at_once.connection.send_made(made, 5, 5, "kept")

    assert at_once.connection.out == [made]
    assert at_once.connection.streams == one_by_one.connection.streams == dict.fromkeys(streams(5), "kept")
    assert at_once.connection.next_stream == one_by_one.connection.next_stream
    assert at_once.connection.sending.window == one_by_one.connection.sending.window
    at_once.take(b"".join(map(answer, streams(5))))
    assert len(at_once.seen.answers) == 5


def test_there_is_room_for_what_the_servers_windows_hold() -> None:
    talk = Talk({Setting.INITIAL_WINDOW_SIZE: 100})

    assert talk.connection.has_room(65_535, 100)
    assert not talk.connection.has_room(65_536, 100)
    assert not talk.connection.has_room(101, 101)

    talk.take(frames.window_update(0, 1))
    assert talk.connection.has_room(65_536, 100)


def test_what_the_server_allows_is_there_to_be_read() -> None:
    talk = Talk({Setting.MAX_CONCURRENT_STREAMS: 7, Setting.HEADER_TABLE_SIZE: 128})

    assert talk.connection.most_streams == 7
    assert talk.connection.peer_table_bytes == 128


def test_content_of_runs_is_given_back_to_the_server_as_credit() -> None:
    talk = Talk(streams=2 * RUN, connection_window_bytes=65_535)
    content = bytes(5000)

    for at in range(0, 2 * RUN, LEAST_RUN):
        talk.take(b"".join(answer(stream_id, content) for stream_id in streams(2 * RUN)[at : at + LEAST_RUN]))

    given = [
        int.from_bytes(each[9:13], "big")
        for each in talk.connection.out
        if each[3] == frames.WINDOW_UPDATE and each[5:9] == bytes(4)
    ]
    assert talk.seen.runs
    assert 0 <= 2 * RUN * len(content) - sum(given) < 65_535 / 2
    assert len(talk.seen.answers) == 2 * RUN


def test_streams_that_a_goaway_left_out_are_gone() -> None:
    talk = Talk(streams=4)

    talk.take(frames.goaway(3, ErrorCode.NO_ERROR))

    assert talk.seen.gone == [5, 7]
    assert list(talk.connection.streams) == [1, 3]
    assert talk.connection.peer_goes
