"""gRPC's words on HTTP/2: what a head asks for, one message a call, how calls end."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients import wire
from serving.errors import (
    DeadlinePassed,
    MalformedRequest,
    MessageTooLarge,
    WrongCardinality,
    WrongCompression,
    WrongValue,
)
from serving.runtime.engine import NO_DEADLINE_NS
from serving.status import Code
from serving.transport.grpc.ending import percent_encoded
from serving.transport.grpc.message import only_message
from serving.transport.grpc.opening import Openings, timeout_ns
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode
from serving.transport.http2.hpack import Head

from .conftest import InMemory, Served

GZIP = (b"grpc-encoding", b"gzip")


# How a call ends.


@given(st.text())
def test_a_grpc_message_is_printable_ascii_and_means_what_was_said(text: str) -> None:
    encoded = percent_encoded(text)
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert encoded == encoded.strip(), "no field value begins or ends with a space (RFC 9113, section 8.2.1)"
    assert text.encode().startswith(unquote_to_bytes(encoded)), "it may be cut, and is nothing else"
    assert len(text.encode()) > 1024 or unquote_to_bytes(encoded).decode() == text


def test_an_error_is_trailers_alone_with_its_status_and_words(peer: InMemory) -> None:
    answer = peer.call("/t/Refuse")
    assert (answer.status, answer.message) == (Code.INVALID_ARGUMENT, "%C3%A9: 100 %25 wrong%0A")
    assert answer.http_status == 200
    assert answer.ended
    assert not answer.trailers


def test_a_defect_of_ours_is_internal_and_tells_nothing(peer: InMemory, caplog: pytest.LogCaptureFixture) -> None:
    answer = peer.call("/t/Fail")
    assert answer.status == Code.INTERNAL
    assert "secret" not in answer.message
    assert "a secret" in caplog.text
    assert peer.call("/t/Echo", b"next").messages == [b"next"]


# One message a call.


def test_a_message_may_come_in_any_frames(peer: InMemory) -> None:
    content = wire.grpc(b"hello")
    for cuts in [(0,), (1,), (4, 5), (5,), (6,), (0, 0, 10), (1, 2, 3, 4, 5, 6, 7, 8, 9)]:
        stream_id = peer.requests.stream()
        parts = [content[a:b] for a, b in zip((0, *cuts), (*cuts, len(content)), strict=True)]
        peer.send(wire.head(stream_id, peer.requests.block(peer.requests.fields("/t/Echo"))))
        for part in parts:
            peer.send(wire.data(stream_id, part))
        peer.send(wire.data(stream_id, b"", end=True))
        assert peer.reading.answers[stream_id].messages == [b"hello"], cuts
    assert peer.unfinished.used == 0


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", Code.UNIMPLEMENTED),
        (wire.grpc(b"a") + wire.grpc(b"b"), Code.UNIMPLEMENTED),
        (wire.grpc(b"abc")[:-1], Code.INVALID_ARGUMENT),
        (b"\0\0\0", Code.INVALID_ARGUMENT),
        (wire.grpc(b"abc", flag=2), Code.INVALID_ARGUMENT),
        (wire.grpc(b"abc", flag=1), Code.INTERNAL),
        (b"\0\xff\xff\xff\xff", Code.RESOURCE_EXHAUSTED),
        (b"\0\0\0\0\0", Code.OK),
    ],
    ids=["none", "two", "cut short", "three bytes", "flag 2", "compressed without a word", "huge", "empty"],
)
def test_exactly_one_whole_message(peer: InMemory, content: bytes, status: Code) -> None:
    for _ in range(3):  # the head is known from the second on
        stream_id = peer.requests.stream()
        block = peer.requests.block(peer.requests.fields("/t/Echo"))
        peer.send(wire.head(stream_id, block) + wire.data(stream_id, content, end=True))
        assert peer.reading.answers[stream_id].status == status
    assert peer.code == -1


def test_a_request_without_content_has_no_message(peer: InMemory) -> None:
    peer.send(wire.head(1, peer.requests.block(peer.requests.fields("/t/Echo")), end=True))
    assert peer.reading.answers[1].status == Code.UNIMPLEMENTED


def test_a_size_beyond_the_limit_is_refused_before_it_comes(connect: Callable[..., InMemory]) -> None:
    peer = connect(message_bytes=100)
    block = peer.requests.block(peer.requests.fields("/t/Echo"))
    peer.requests.next_stream = 3
    peer.send(wire.head(1, block) + wire.data(1, b"\0\0") + wire.data(1, b"\0\0\x65!"))
    assert peer.reading.answers[1].status == Code.RESOURCE_EXHAUSTED
    assert peer.reading.answers[1].reset == ErrorCode.NO_ERROR, "and the rest is not wanted"
    assert peer.unfinished.used == 0
    assert peer.call("/t/Echo", bytes(100)).messages == [bytes(100)]


@pytest.mark.parametrize("stated", [b"0", b"9", b"11", b"999999"])
def test_content_length_that_is_not_kept_is_malformed(peer: InMemory, stated: bytes) -> None:
    """RFC 9113, section 8.1.1."""
    for _ in range(3):
        answer = peer.call("/t/Echo", b"hello", (b"content-length", stated))
        assert (answer.reset, answer.head) == (ErrorCode.PROTOCOL_ERROR, ())
    assert peer.call("/t/Echo", b"hello", (b"content-length", b"10")).messages == [b"hello"]


# Compression.


def test_a_gzip_message_is_inflated(peer: InMemory) -> None:
    stream_id = peer.requests.stream()
    block = peer.requests.block(peer.requests.fields("/t/Echo", GZIP))
    content = wire.grpc(gzip.compress(b"hello" * 100), flag=1)
    peer.send(wire.head(stream_id, block) + wire.data(stream_id, content, end=True))
    assert peer.reading.answers[stream_id].messages == [b"hello" * 100]
    assert peer.call("/t/Echo", b"plain", GZIP).messages == [b"plain"], "one that says gzip may send it uncompressed"


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", gzip.compress(b"x")[:-1], gzip.compress(b"x") + b"y", zlib.compress(b"x")],
    ids=["empty", "plain", "cut", "more behind", "zlib"],
)
def test_what_is_no_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(WrongCompression, match="gzip"):
        only_message(wire.grpc(body, flag=1), gzip=True, max_bytes=1000)


def test_a_bomb_is_inflated_to_the_limit_and_no_further() -> None:
    bomb = wire.grpc(gzip.compress(bytes(64 * 2**20), compresslevel=1), flag=1)
    tracemalloc.start()
    with pytest.raises(MessageTooLarge, match="inflated"):
        only_message(bomb, gzip=True, max_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_an_encoding_that_is_not_read_is_named_with_those_that_are(peer: InMemory) -> None:
    """gRPC's compression document: UNIMPLEMENTED with `grpc-accept-encoding`."""
    answer = peer.call("/t/Echo", b"x", (b"grpc-encoding", b"snappy"))
    assert answer.status == Code.UNIMPLEMENTED
    assert dict(answer.head)[b"grpc-accept-encoding"] == b"identity,gzip"
    assert "snappy" in answer.message


@given(st.binary(max_size=64), st.integers(0, 70), st.booleans())
def test_any_bytes_are_one_message_or_refused(tail: bytes, size: int, zipped: bool) -> None:
    try:
        found = only_message(bytes((0, 0, 0, 0, size)) + tail, gzip=zipped, max_bytes=60)
    except (MalformedRequest, WrongCompression, WrongCardinality, MessageTooLarge):
        return
    assert found == tail
    assert len(tail) == size <= 60


# What a head asks for.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"1H", 3_600_000_000_000),
        (b"2M", 120_000_000_000),
        (b"3S", 3_000_000_000),
        (b"4m", 4_000_000),
        (b"5u", 5_000),
        (b"6n", 6),
        (b"99999999H", 99_999_999 * 3_600_000_000_000),
    ],
)
def test_timeouts(text: bytes, expected: int) -> None:
    assert timeout_ns(text) == expected


@pytest.mark.parametrize(
    "text", [b"", b"1", b"S", b"123456789S", b"-1S", b"1s", b"1.5S", b" 1S", b"1S ", "1\u0661S".encode()]
)
def test_what_is_no_timeout_is_refused(peer: InMemory, text: bytes) -> None:
    with pytest.raises(MalformedRequest, match="grpc-timeout"):
        timeout_ns(text)
    if text == text.strip():
        assert peer.call("/t/Echo", b"x", (b"grpc-timeout", text)).status == Code.INVALID_ARGUMENT


def test_a_timeout_of_nothing_has_passed_already(peer: InMemory) -> None:
    with pytest.raises(DeadlinePassed, match=r"expected more than 0, found 00H"):
        timeout_ns(b"00H")
    assert peer.call("/t/Echo", b"x", (b"grpc-timeout", b"0n")).status == Code.DEADLINE_EXCEEDED


def test_a_call_knows_its_deadline_and_its_metadata(peer: InMemory, served: Served) -> None:
    peer.connection.now_ns = 1000
    peer.send(peer.requests.call("/t/Hold", b"x", (b"grpc-timeout", b"7u"), (b"x-desk", b"a"), (b"k-bin", b"AP8=")))
    peer.send(peer.requests.call("/t/Hold", b"y"))
    (first, _), (second, _) = served.held
    assert (first.began_ns, first.deadline_ns) == (1000, 8000)
    assert first.metadata() == (("x-desk", "a"), ("k-bin", "AP8"))
    assert second.deadline_ns == NO_DEADLINE_NS


def test_heads_that_differ_in_what_is_a_calls_own_are_not_taken_for_each_other(peer: InMemory, served: Served) -> None:
    traces = [b"00-%032x-%016x-01" % (number, number) for number in range(1, 40)]
    for number, trace in enumerate(traces, 1):
        timeout = () if number % 3 == 0 else ((b"grpc-timeout", b"%dm" % number),)
        peer.send(peer.requests.call("/t/Hold", b"x", *timeout, (b"traceparent", trace)))
    for number, (call, _) in enumerate(served.held, 1):
        expected = NO_DEADLINE_NS if number % 3 == 0 else call.began_ns + number * 1_000_000
        assert (call.deadline_ns, call.metadata()) == (expected, (("traceparent", traces[number - 1].decode()),))
    assert len(served.held) == len(traces)


@pytest.mark.parametrize(("bytes_more", "kept"), [(100, True), (4_000, False)])
def test_the_meaning_of_a_big_head_is_not_kept(served: Served, bytes_more: int, kept: bool) -> None:
    openings = Openings(served.methods)
    fields = wire.Requests().fields("/t/Echo", (b"x-desk", b"a" * bytes_more))
    first, second = (openings.of(Head((*fields, (b"traceparent", b"%d" % number)))) for number in range(2))
    assert (first.opening is second.opening) is kept


def test_a_malformed_timeout_is_refused_whatever_came_before_or_stands_beside_it(peer: InMemory) -> None:
    good, bad = (b"grpc-timeout", b"9S"), (b"grpc-timeout", b"soon")
    told = [peer.call("/t/Echo", b"x", *fields).status for fields in ((good,), (bad,), (bad, good), (good, good))]
    assert told == [Code.OK, Code.INVALID_ARGUMENT, Code.INVALID_ARGUMENT, Code.OK]


@pytest.mark.parametrize(
    ("method", "path", "kind", "status", "allow"),
    [
        (b"GET", b"/", b"", 404, b""),
        (b"POST", b"/t/None", b"application/json", 404, b""),
        (b"GET", b"/t/Echo", b"", 405, b"POST"),
        (b"OPTIONS", b"*", b"", 404, b""),
        (b"POST", b"/t/Echo", b"application/json", 415, b""),
        (b"POST", b"/t/Echo", b"application/grpc-web", 415, b""),
        (b"POST", b"/t/Echo", b"", 415, b""),
    ],
)
def test_what_is_no_grpc_gets_an_http_answer_in_words(
    peer: InMemory, method: bytes, path: bytes, kind: bytes, status: int, allow: bytes
) -> None:
    fields = ((b":method", method), (b":scheme", b"http"), (b":path", path), (b":authority", b"a"))
    more = ((b"content-type", kind),) if kind else ()
    peer.send(wire.head(1, peer.requests.block((*fields, *more)), end=True))
    answer = peer.reading.answers[1]
    head = dict(answer.head)
    assert (answer.http_status, answer.ended) == (status, True)
    assert head.get(b"allow", b"") == allow
    assert answer.content.startswith(b"%d: " % status)
    assert int(head[b"content-length"]) == len(answer.content)


@pytest.mark.parametrize("end", ["whole", "much", "late"])
def test_what_is_no_grpc_is_answered_once_it_has_come(connect: Callable[..., InMemory], end: str) -> None:
    """RFC 9113, section 8.1, allows an answer before that; curl drops one with what it still sends."""
    peer = connect(request_seconds=30.0)
    fields = (*peer.requests.fields("/t/Echo")[:-1], (b"content-type", b"application/json"))
    peer.send(wire.head(1, peer.requests.block(fields)) + wire.data(1, b"{}"))
    assert 1 not in peer.reading.answers
    assert peer.unfinished.used > 0
    if end == "whole":
        peer.send(wire.data(1, b"{}", end=True))
    elif end == "much":
        peer.send(wire.data(1, bytes(16_000)) * 5)
    else:
        peer.calls.expire(31 * 10**9)
        peer.flush()
    answer = peer.reading.answers[1]
    assert (answer.http_status, answer.ended) == (415, True)
    assert answer.reset == (None if end == "whole" else ErrorCode.NO_ERROR)
    assert peer.unfinished.used == 0
    assert not peer.connection.streams
    peer.requests.next_stream = 3
    assert peer.call("/t/Echo", b"next").messages == [b"next"]


def test_an_http_answer_keeps_its_word_about_its_content(connect: Callable[..., InMemory]) -> None:
    """RFC 9113, section 8.1.1; RFC 9110, section 9.3.2: HEAD's answer has no content, whatever length it states."""
    for window, method, has_content in [(65_535, b"GET", True), (0, b"GET", False), (65_535, b"HEAD", False)]:
        peer = connect(first=wire.frames.PREFACE + wire.settings({frames.Setting.INITIAL_WINDOW_SIZE: window}))
        fields = ((b":method", method), (b":scheme", b"http"), (b":path", b"/"))
        peer.send(wire.head(1, peer.requests.block(fields), end=True))
        answer = peer.reading.answers[1]
        assert (answer.http_status, answer.ended, bool(answer.content)) == (404, True, has_content)
        assert method == b"HEAD" or int(dict(answer.head)[b"content-length"]) == len(answer.content)
        assert peer.unread.used == 0


@pytest.mark.parametrize("kind", [b"application/grpc", b"application/grpc+proto", b"application/grpc;charset=utf-8"])
def test_grpc_content_types(peer: InMemory, kind: bytes) -> None:
    fields = (*peer.requests.fields("/t/Echo")[:-1], (b"content-type", kind))
    peer.send(wire.head(1, peer.requests.block(fields)) + wire.data(1, wire.grpc(b"x"), end=True))
    assert peer.reading.answers[1].messages == [b"x"]


def test_an_unknown_method_is_unimplemented_and_named(peer: InMemory) -> None:
    answer = peer.call("/t/None", b"x")
    assert answer.status == Code.UNIMPLEMENTED
    assert "/t/None" in answer.message


# Calls under way.


def test_a_call_that_is_given_up_is_cancelled_and_says_nothing_more(peer: InMemory, served: Served) -> None:
    peer.send(peer.requests.call("/t/Hold", b"x"))
    peer.send(frames.rst_stream(1, ErrorCode.CANCEL))
    (call, _) = served.held[0]
    assert call.cancelled
    call.answer(b"late")
    call.refuse(WrongValue("late"))
    assert peer.flush() == b""
    assert not peer.connection.streams


def test_calls_are_answered_in_whatever_order_they_are_done(peer: InMemory, served: Served) -> None:
    peer.send(b"".join(peer.requests.call("/t/Hold", b"%d" % at) for at in range(5)))
    for call, body in reversed(served.held):
        call.answer(body)
    peer.flush()
    assert [answer.messages for answer in peer.reading.answers.values()] == [[b"%d" % at] for at in (4, 3, 2, 1, 0)]


def test_a_reply_larger_than_a_frame_or_a_window(peer: InMemory) -> None:
    peer.send(frames.window_update(0, 10**6))
    answer = peer.call("/t/Bytes", b"300000")
    assert len(answer.content) == frames.FIRST_WINDOW
    assert peer.unread.used == 300_005 - frames.FIRST_WINDOW
    peer.send(frames.window_update(1, 10**6))
    assert answer.messages == [bytes(300_000)]
    assert (answer.ended, answer.status, peer.unread.used) == (True, Code.OK, 0)
    assert not peer.connection.streams


def test_a_reply_that_the_peer_leaves_unread_ends_its_own_call(connect: Callable[..., InMemory]) -> None:
    peer = connect(unsent_bytes=100_000)
    first = peer.call("/t/Bytes", b"150000")  # alone it may be larger than the limit
    assert not first.ended
    second = peer.call("/t/Bytes", b"70000")
    assert (second.ended, second.status) == (True, Code.RESOURCE_EXHAUSTED)
    peer.send(frames.window_update(0, 10**6) + frames.window_update(1, 10**6))
    assert first.messages == [bytes(150_000)]
    assert len(peer.call("/t/Bytes", b"60000").messages[0]) == 60_000


async def test_streaming(peer: InMemory) -> None:
    peer.send(peer.requests.call("/t/Count", b"2"))
    ((call, method, body),) = peer.started
    call.wake = lambda: None
    async for message in method.stream(body):
        peer.calls.send(call, message)
    peer.calls.finish(call)
    peer.flush()
    answer = peer.reading.answers[1]
    assert (answer.messages, answer.status, answer.ended) == ([b"0", b"1"], Code.OK, True)
    assert not peer.connection.streams


async def test_a_stream_that_fails_ends_with_its_status_in_trailers(peer: InMemory) -> None:
    peer.send(peer.requests.call("/t/Count", b"2"))
    ((call, _, _),) = peer.started
    call.wake = lambda: None
    peer.calls.send(call, b"0")
    call.refuse(WrongValue("no more"))
    peer.flush()
    answer = peer.reading.answers[1]
    assert (answer.messages, answer.status, answer.message) == ([b"0"], Code.INVALID_ARGUMENT, "no more")
    assert b"grpc-status" in dict(answer.trailers)


# What has not come in whole.


def test_tiny_frames_hold_no_more_than_what_is_counted(connect: Callable[..., InMemory]) -> None:
    """Two bytes a frame once cost 56 bytes of memory each."""
    peer = connect()
    peer.send(wire.head(1, peer.requests.block(peer.requests.fields("/t/Echo"))) + wire.data(1, b"\0\0\x0f\xff\xff"))
    train = wire.data(1, b"ab") * 2000
    tracemalloc.start()
    for _ in range(10):
        peer.send(train)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert 40_000 <= peer.unfinished.used < 50_000
    assert held < 2 * peer.unfinished.used + 10_000


def test_the_oldest_of_too_many_unfinished_requests_goes(connect: Callable[..., InMemory]) -> None:
    peer = connect(unfinished_bytes=50_000)
    for stream_id in (1, 3, 5):
        peer.send(wire.head(stream_id, peer.requests.block(peer.requests.fields("/t/Echo"))))
        peer.send(wire.data(stream_id, b"\0\0\0\x4e\x20" + bytes(15_000)))
    peer.requests.next_stream = 7
    assert peer.reading.answers == {}
    peer.send(wire.data(5, bytes(5000)))
    assert peer.reading.answers[1].status == Code.RESOURCE_EXHAUSTED
    assert peer.call("/t/Echo", bytes(16_000)).messages == [bytes(16_000)], "one that comes in one piece is not held up"
    for stream_id, more in ((3, 5000), (5, 0)):
        peer.send(wire.data(stream_id, bytes(more), end=True))
        assert peer.reading.answers[stream_id].messages == [bytes(20_000)]
    assert peer.unfinished.used == 0


@pytest.mark.parametrize("end", ["reset", "close", "fault", "refused", "malformed"])
def test_what_is_counted_as_unfinished_is_given_back(connect: Callable[..., InMemory], end: str) -> None:
    peer = connect()
    fields = peer.requests.fields("/t/Echo", (b"content-length", b"100"))
    peer.send(wire.head(1, peer.requests.block(fields)) + wire.data(1, b"\0\0\0\0\x5fabc"))
    assert peer.unfinished.used > 8
    if end == "reset":
        peer.send(frames.rst_stream(1, ErrorCode.CANCEL))
    elif end == "close":
        peer.calls.close()
    elif end == "fault":
        peer.send(frames.window_update(1, 0))
    elif end == "refused":
        peer.calls.refuse(1, WrongValue("no"))
    else:
        peer.send(wire.data(1, b"", end=True))
    assert peer.unfinished.used == 0


def test_requests_that_stay_unfinished_expire(connect: Callable[..., InMemory]) -> None:
    peer = connect(request_seconds=30.0)
    peer.call("/t/Echo", b"x")
    peer.call("/t/Echo", b"x")
    peer.call("/t/Echo", b"x")
    for at_seconds in (0, 20):  # the heads are known: nothing of the streams is, until somebody looks
        peer.connection.now_ns = at_seconds * 10**9
        stream_id = peer.requests.stream()
        peer.send(wire.head(stream_id, peer.requests.block(peer.requests.fields("/t/Echo"))))
        peer.calls.expire(peer.connection.now_ns)
    assert peer.unfinished.used > 0
    peer.calls.expire(31 * 10**9)
    peer.flush()
    assert peer.reading.answers[7].status == Code.DEADLINE_EXCEEDED
    assert 9 not in peer.reading.answers
    peer.send(wire.data(9, wire.grpc(b"in time"), end=True))
    assert peer.reading.answers[9].messages == [b"in time"]
