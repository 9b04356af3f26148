"""The one script that writes rows, run by a real Redis: what is newer is taken, what is not is refused by name."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.errors import FeedAnswerError, FeedDeniedError, FeedKeyError, FeedUnreachableError
from features.redis_connection import redis_connection
from features.redis_feed import AHEAD_NS, AsyncRedisSender, RedisSender, latest_key, stream_key
from features.redis_server import RedisServer
from features.row import FeatureRow, encode_row
from loadtests.harness.redis_process import RedisProcess, free_port, redis_process

KEY = b"k" * 32
NOW_NS = time.time_ns()
Make = Callable[..., bytes]
Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisProcess]:
    with tempfile.TemporaryDirectory() as folder, redis_process(Path(folder)) as redis:
        yield redis


@pytest.fixture(scope="module")
def sender(redis: RedisProcess) -> Iterator[RedisSender]:
    with RedisSender(RedisServer(redis.url)) as sender:
        yield sender


@pytest.fixture
def set_id() -> bytes:
    """A feature set that no other test has written to."""
    return os.urandom(32)


@pytest.fixture
def row(set_id: bytes) -> Make:
    def make(instrument: str = "AAA", known_ns: int = NOW_NS, sequence: int = 1, **changes: Any) -> bytes:
        facts: dict[str, Any] = {"valid_until_ns": NOW_NS, "values": np.ones(3, np.float32)} | changes
        facts = {"feature_set_id": set_id, "event_time_ns": 0} | facts
        made = FeatureRow(instrument=instrument, knowledge_time_ns=known_ns, sequence=sequence, **facts)
        return encode_row(made, key_id=1, key=KEY)

    return make


@pytest.fixture
def ask(redis: RedisProcess) -> Ask:
    def ask(*command: bytes | str | int) -> Any:
        async def answer() -> Any:
            async with redis_connection(RedisServer(redis.url)) as connection:
                return await connection.ask(*command)

        return asyncio.run(answer())

    return ask


def test_a_row_goes_into_the_stream_and_the_hash(sender: RedisSender, row: Make, ask: Ask, set_id: bytes) -> None:
    first, second, other = row(sequence=1), row(sequence=2), row("ÄÖ")
    assert sender.push([first, second, other]).accepted == 3
    assert ask("HGETALL", latest_key(set_id)) == {b"AAA": second, "ÄÖ".encode(): other}
    entries = ask("XRANGE", stream_key(set_id), "-", "+")
    assert [fields for _, fields in entries] == [[b"row", each] for each in (first, second, other)]


def test_what_is_not_newer_is_refused_by_name_and_changes_nothing(
    sender: RedisSender, row: Make, ask: Ask, set_id: bytes
) -> None:
    held = row(known_ns=NOW_NS, sequence=5)
    sender.push([held])
    refused = sender.push(
        [
            held,
            row(known_ns=NOW_NS - 1, sequence=9),
            row(known_ns=NOW_NS, sequence=4),
            row(known_ns=NOW_NS + 1, sequence=5),
            row("BBB"),
            held[:50],
            b"",
            row("CCC", known_ns=time.time_ns() + 60 * AHEAD_NS),
        ]
    )
    assert refused.accepted == 1
    reasons = dict(refused.refused)
    assert list(reasons) == [0, 1, 2, 3, 5, 6, 7]
    assert "same knowledge time and sequence 5" in reasons[0]
    assert f"known after {NOW_NS} (sequence 5), found one known at {NOW_NS - 1} (sequence 9)" in reasons[1]
    assert "newer row is held" in reasons[2]
    assert "sequence above 5, found 5" in reasons[3]
    assert all("cut off" in reasons[at] for at in (5, 6))
    assert "set the publisher's clock" in reasons[7]
    assert all("'AAA'" in reasons[at] for at in range(4))
    assert ask("HGET", latest_key(set_id), "AAA") == held
    assert ask("XLEN", stream_key(set_id)) == 2


INT64 = st.integers(-(2**63), 2**63 - 1)
PAST = st.integers(-(2**63), NOW_NS) | st.integers(0, 2**32) | st.integers(NOW_NS - 300, NOW_NS)
PAIRS = st.tuples(PAST, INT64 | st.integers(0, 9) | st.integers(2**32 - 2, 2**32 + 2))


@given(PAIRS, PAIRS)
@example((NOW_NS - 99, 1), (NOW_NS, 2))  # as doubles these times are one
@example((NOW_NS, 1), (NOW_NS - 99, 2))
@example((NOW_NS, 2**53), (NOW_NS, 2**53 + 1))
@example((-1, 1), (0, 2))
def test_rows_are_ordered_as_integers_are(sender: RedisSender, first: tuple[int, int], second: tuple[int, int]) -> None:
    """In any order of arrival, whatever the numbers: the second is taken if it is above in both orders that count."""
    set_id = os.urandom(32)

    def push(pair: tuple[int, int]) -> bool:
        made = FeatureRow(set_id, "AAA", 0, pair[0], pair[1], 0, np.ones(1, np.float32))
        return sender.push([encode_row(made, key_id=1, key=KEY)]).accepted == 1

    assert push(first)
    assert push(second) == (second > first and second[1] > first[1])


def test_the_stream_is_trimmed_and_the_hash_is_not(redis: RedisProcess, row: Make, ask: Ask, set_id: bytes) -> None:
    with RedisSender(RedisServer(redis.url), stream_rows=100) as sender:
        for sequence in range(20):
            assert sender.push([row(f"I{each}", sequence=sequence) for each in range(100)]).accepted == 100
    assert 100 <= ask("XLEN", stream_key(set_id)) < 400
    assert ask("HLEN", latest_key(set_id)) == 100


async def test_of_two_writers_at_once_the_newest_rows_stand_and_nothing_goes_back(
    redis: RedisProcess, row: Make, set_id: bytes
) -> None:
    async def write(seed: int) -> int:
        numbers = list(range(1, 200))
        order = random.Random(seed)
        accepted = 0
        async with AsyncRedisSender(RedisServer(redis.url)) as sender:
            for sequence in numbers:
                name = f"I{order.randrange(4)}"
                accepted += (await sender.push([row(name, NOW_NS + sequence, sequence)])).accepted
        return accepted

    accepted = await asyncio.gather(*(write(seed) for seed in range(2)))
    async with redis_connection(RedisServer(redis.url)) as connection:
        entries = await connection.ask("XRANGE", stream_key(set_id), "-", "+")
        latest = await connection.ask("HGETALL", latest_key(set_id))
    assert len(entries) == sum(accepted)
    in_stream: dict[bytes, list[int]] = {}
    for _, (_, data) in entries:
        in_stream.setdefault(data[36:38], []).append(int.from_bytes(data[54:62], "big"))
    assert all(numbers == sorted(set(numbers)) for numbers in in_stream.values())
    assert {name: int.from_bytes(data[54:62], "big") for name, data in latest.items()} == {
        name: numbers[-1] for name, numbers in in_stream.items()
    }


@pytest.mark.parametrize("key", ["stream", "hash"])
def test_a_key_of_another_type_stops_the_script_before_it_writes(
    sender: RedisSender, row: Make, ask: Ask, set_id: bytes, key: str
) -> None:
    bad, good = (
        (stream_key(set_id), latest_key(set_id)) if key == "stream" else (latest_key(set_id), stream_key(set_id))
    )
    ask("SET", bad, "something else")
    with pytest.raises(FeedKeyError, match="delete that key"):
        sender.push([row()])
    assert ask("EXISTS", good) == 0
    ask("DEL", bad)
    assert sender.push([row()]).accepted == 1, "the same sender goes on"


def test_what_is_held_but_no_row_keeps_nothing_out(sender: RedisSender, row: Make, ask: Ask, set_id: bytes) -> None:
    ask("HSET", latest_key(set_id), "AAA", "garbage")
    assert sender.push([row()]).accepted == 1
    assert ask("HGET", latest_key(set_id), "AAA") == row()


def test_rows_of_several_feature_sets_in_one_push(sender: RedisSender, row: Make, ask: Ask) -> None:
    one, other = os.urandom(32), os.urandom(32)
    rows = [row("AAA", feature_set_id=one), row("AAA", feature_set_id=other), row("AAA", feature_set_id=one)]
    written = sender.push(rows)
    assert (written.accepted, [index for index, _ in written.refused]) == (2, [2])
    assert ask("HGET", latest_key(other), "AAA") == rows[1]


def test_nothing_that_answers() -> None:
    for url in (f"redis://127.0.0.1:{free_port()}", "unix:///nowhere/redis.sock"):
        with RedisSender(RedisServer(url)) as sender, pytest.raises(FeedUnreachableError, match=r"is it running\?"):
            sender.push([b"x"])


def test_a_sender_goes_on_once_its_redis_is_back(row: Make) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        redis_process(Path(folder)) as redis,
        RedisSender(RedisServer(redis.tcp_url)) as sender,
    ):
        assert sender.push([row(sequence=1)]).accepted == 1
        redis.kill()
        with pytest.raises(FeedUnreachableError):
            sender.push([row(sequence=2)])
        redis.start()
        assert sender.push([row(sequence=2)]).accepted == 1


@pytest.mark.parametrize("url", ["url", "tcp_url"])
def test_a_wrong_password_is_told_from_an_absent_redis_and_does_not_show(url: str) -> None:
    rules = ["user default off", "user writer on >s3cret ~sb:* -@all"]
    with tempfile.TemporaryDirectory() as folder, redis_process(Path(folder), rules) as redis:
        for password, expected in (("wr0ng", "password"), ("s3cret", "permission"), ("", "password|[Aa]uth")):
            server = RedisServer(getattr(redis, url), user="writer" if password else "", password=password)
            with RedisSender(server) as sender, pytest.raises(FeedDeniedError, match=expected) as denied:
                sender.push([b"x"])
            assert "s3cret" not in str(denied.value)
            assert "wr0ng" not in str(denied.value)


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n" * 9, b"*1000000\r\n", b"\x00" * 99])
async def test_what_is_no_redis_is_an_error_of_ours(said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1") as server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncRedisSender(RedisServer(f"redis://127.0.0.1:{port}")) as sender:
            with pytest.raises((FeedAnswerError, FeedUnreachableError)):
                await sender.push([b"x"])
