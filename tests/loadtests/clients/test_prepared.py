"""Prepared requests, read by another's HPACK decoder and by a server of ours."""

from __future__ import annotations

from itertools import pairwise

import hpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients.prepared import LEAST_TIMEOUT_US, MOST_TIMEOUT_US, Blocks, Headers, Prepared, prepare
from loadtests.clients.wire import Frame, read_frames
from loadtests.harness.questions import framed
from serving.transport.http2 import frames

PATH = "/t/Echo"
UNIT_US = {b"u": 1, b"m": 1000}
MANY = 300


def heads(headers: Headers, times: int = 1) -> list[dict[bytes, bytes]]:
    """What a server reads of a cycle that is sent `times` times over."""
    made = Blocks(PATH, headers)
    blocks = [made.next() for _ in range(MANY)]
    decoder = hpack.Decoder()
    return [dict(decoder.decode(block, raw=True)) for _ in range(times) for block in blocks]


def sent(prepared: Prepared) -> list[Frame]:
    found, rest = read_frames(prepared.made.tobytes())
    assert not rest
    return found


@pytest.mark.parametrize("headers", Headers)
def test_a_cycle_stays_true_when_it_is_sent_again(headers: Headers) -> None:
    once, twice = heads(headers), heads(headers, times=2)

    assert twice == once + once
    assert {head[b":path"] for head in once} == {PATH.encode()}
    assert {head[b"te"] for head in once} == {b"trailers"}


def test_without_varying_headers_a_block_is_indices_alone_after_the_first() -> None:
    made = Blocks(PATH, Headers.SAME)
    made.next()

    assert all(byte >= 0x80 for byte in made.next())


@pytest.mark.parametrize("headers", [Headers.LITERAL, Headers.INDEXED])
def test_every_call_has_a_timeout_and_a_trace_of_its_own(headers: Headers) -> None:
    found = heads(headers)

    assert len({head[b"traceparent"] for head in found}) == MANY
    assert len({head[b"grpc-timeout"] for head in found}) > 0.99 * MANY  # drawn: two may be alike
    for head in found:
        assert LEAST_TIMEOUT_US <= timeout_us(head) < MOST_TIMEOUT_US
        assert len(head[b"traceparent"]) == len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


def test_literals_leave_the_servers_table_as_it_is() -> None:
    assert sizes_of_table(Headers.LITERAL)[1:] == sizes_of_table(Headers.SAME)[1:]
    assert sizes_of_table(Headers.INDEXED)[1] > sizes_of_table(Headers.SAME)[1]


def test_rounded_timeouts_repeat_and_are_never_shorter_than_the_calls_own() -> None:
    exact = [timeout_us(head) for head in heads(Headers.LITERAL)]
    rounded = [timeout_us(head) for head in heads(Headers.ROUNDED)]

    assert len(set(rounded)) < MANY / 10
    assert all(mine <= sent < 1.04 * mine for mine, sent in zip(exact, rounded, strict=True))  # 3 %, and 10 ms
    assert len({head[b"traceparent"] for head in heads(Headers.ROUNDED)}) == MANY


def test_a_new_rounded_timeout_moves_the_table_now_and_then() -> None:
    entries = sizes_of_table(Headers.ROUNDED)

    grown = sum(after > before for before, after in pairwise(entries))
    assert 5 < grown < MANY / 2


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=20), st.sampled_from(Headers), st.data())
def test_frames_have_the_numbers_that_were_filled_in(messages, headers, data) -> None:
    prepared = prepare(PATH, messages, headers=headers)
    first = data.draw(st.integers(0, len(messages) - 1))
    count = data.draw(st.integers(1, len(messages) - first))
    stream = 2 * data.draw(st.integers(0, 2**30 - len(messages))) + 1

    prepared.number(first, count, stream)

    numbers = [each.stream_id for each in sent(prepared)]
    expected = np.zeros(len(messages), np.int64)
    expected[first : first + count] = stream + 2 * np.arange(count)
    assert numbers == np.repeat(expected, 2).tolist()


def test_frames_carry_the_messages_and_know_their_sizes() -> None:
    messages = [b"", b"a", b"bc" * 500]
    prepared = prepare(PATH, messages)

    found = sent(prepared)

    assert [each.kind for each in found] == [frames.HEADERS, frames.DATA] * 3
    assert [each.flags for each in found] == [frames.END_HEADERS, frames.END_STREAM] * 3
    assert [each.payload for each in found[1::2]] == list(map(framed, messages))
    assert prepared.contents.tolist() == [0, 5, 11, 1016]
    assert prepared.largest == 1005
    assert [prepared.starts[0], prepared.starts[-1]] == [0, len(prepared.made)]


def test_a_message_that_needs_two_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="fit one frame"):
        prepare(PATH, [bytes(frames.LEAST_MAX_FRAME_BYTES)])


def timeout_us(head: dict[bytes, bytes]) -> int:
    text = head[b"grpc-timeout"]
    return int(text[:-1]) * UNIT_US[text[-1:]]


def sizes_of_table(headers: Headers) -> list[int]:
    """How many entries the server's dynamic table has after each block."""
    made, decoder, entries = Blocks(PATH, headers), hpack.Decoder(), []
    for _ in range(MANY):
        decoder.decode(made.next(), raw=True)
        entries.append(len(decoder.header_table.dynamic_entries))
    return entries
