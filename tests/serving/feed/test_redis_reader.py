"""The reader against a real Redis that is killed, stopped, trimmed, flushed and lied to: no gap, and nothing older."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from features.errors import FeedDeniedError
from features.redis_connection import redis_connection
from features.redis_feed import latest_key, stream_key
from features.redis_server import RedisServer
from loadtests.harness.redis_process import RedisProcess
from serving.feed.redis_reader import Timing

if TYPE_CHECKING:
    from tests.serving.feed.conftest import Encoded, Open, Push, Root, Wire

SET_ID = bytes.fromhex("ab" * 32)
OTHER_ID = bytes.fromhex("cd" * 32)
READER, WRITER = "signalbox-reader", "signalbox-writer"
PASSWORDS = {READER: "READER-PASSWORD", WRITER: "WRITER-PASSWORD"}
HASTY = Timing(
    connect_seconds=0.2, answer_seconds=0.2, block_seconds=0.05, first_pause_seconds=0.01, longest_pause_seconds=0.05
)
STREAM, LATEST = stream_key(SET_ID), latest_key(SET_ID)


async def test_the_hash_is_loaded_first_then_the_stream_is_followed(
    redis: RedisProcess, push: Push, encoded: Encoded, feeding: Open
) -> None:
    await push([encoded("AAA", 1), encoded("AAA", 2), encoded("BBB", 1)])
    async with feeding(redis.url) as here:
        assert here.sequences("AAA", "BBB") == [2, 1], "`follow` returns when they are there"
        loaded = here.feed.statistics()
        assert (loaded.followed, loaded.connected, loaded.rows, loaded.repeated) == (1, 1, 2, 0)
        changes = len(here.changes)
        await push([encoded("AAA", 3)])
        now = await here.until_sequence(3)
        assert (now.rows, now.repeated, now.refused, now.failures) == (3, 0, {}, {})
        assert (now.reloads, now.reconnects) == (0, 0)
        assert len(here.changes) == changes + 1
        assert 0 <= now.lag_ns < 5e9


async def test_a_stream_that_begins_later_is_followed_from_its_first_row(
    redis: RedisProcess, push: Push, encoded: Encoded, feeding: Open
) -> None:
    async with feeding(redis.url) as here:
        assert here.sequences() == [-1]
        await push([encoded("AAA", 1)])
        await here.until_sequence(1)
        await push([encoded("AAA", 2)])
        await here.until_sequence(2)
        settled = await here.until(lambda said: said.reloads == 1)  # nothing could prove that these were the first
        assert settled.refused == {}


async def test_rows_written_during_the_load_are_not_taken_for_older_ones(
    wire: Wire, push: Push, encoded: Encoded, feeding: Open
) -> None:
    await push([encoded("ZZZ", 1)])
    wire.hold_at = b"HSCAN"  # the last id is noted, the hash is not read yet
    async with feeding(wire.url, follow=False) as here, asyncio.TaskGroup() as tasks:
        tasks.create_task(here.feed.follow([SET_ID]))
        await wire.held.wait()
        await push([encoded("AAA", 1), encoded("AAA", 2)])  # the hash has the second, the stream will give both
        wire.let_go()
        said = await here.until(lambda said: said.repeated == 2)
        assert (here.sequences(), said.refused, said.reloads) == ([2], {}, 0)
        await push([encoded("AAA", 3)])
        await here.until_sequence(3)


async def test_many_rows_come_in_slices_and_none_is_missed(
    redis: RedisProcess, push: Push, encoded: Encoded, feeding: Open
) -> None:
    names = [f"I{each:04}" for each in range(1000)]
    await push([encoded(name, 1) for name in names])
    async with feeding(redis.url) as here:
        assert here.sequences(*names) == [1] * len(names)
        await push([encoded(name, 2) for name in names])
        await here.until(lambda said: said.rows == 2 * len(names))
        assert here.sequences(*names) == [2] * len(names)


async def test_after_a_cut_it_goes_on_where_it_was(
    redis: RedisProcess, wire: Wire, push: Push, encoded: Encoded, feeding: Open
) -> None:
    await push([encoded("AAA", 1)])
    async with feeding(wire.url) as here:
        wire.cut()
        await push([encoded("AAA", sequence) for sequence in range(2, 50)])
        lost = await here.until(lambda said: sum(said.failures.values()) > 3)
        assert (set(lost.failures), lost.connected) == ({"FeedUnreachableError"}, 0)
        assert here.sequences() == [1], "what was known is served on"
        await wire.mend()
        back = await here.until_sequence(49)
        assert (back.rows, back.repeated, back.reconnects, back.reloads) == (49, 0, 1, 0), "each row once, no reload"


async def test_a_stream_trimmed_during_an_outage_is_made_good_by_the_hash(
    wire: Wire, push: Push, root: Root, encoded: Encoded, feeding: Open
) -> None:
    await push([encoded(name, 1) for name in ("AAA", "BBB")])
    async with feeding(wire.url) as here:
        wire.cut()
        await push([encoded("AAA", 2)])
        await push([encoded("BBB", sequence) for sequence in range(2, 500)], stream_rows=10)
        left = [fields[1][36:39] for _, fields in await root("XRANGE", STREAM, "-", "+")]
        assert set(left) == {b"BBB"}, "the row of AAA is gone from the stream"
        await wire.mend()
        back = await here.until(lambda said: said.reloads == 1)
        assert here.sequences("AAA", "BBB") == [2, 499]
        assert back.refused == {}


async def test_a_gap_is_made_good_although_the_connection_is_lost_before_it_is_proven(
    wire: Wire, push: Push, encoded: Encoded, feeding: Open
) -> None:
    await push([encoded(name, 1) for name in ("AAA", "BBB")])
    async with feeding(wire.url) as here:
        wire.cut()
        await push([encoded("AAA", 2)])
        await push([encoded("BBB", sequence) for sequence in range(2, 500)], stream_rows=10)
        wire.hold_at = b"XRANGE"  # the read behind the gap has come, its proof has not
        await wire.mend()
        await wire.held.wait()
        wire.cut()
        assert here.sequences("AAA") == [1]
        wire.hold_at = b""
        await wire.mend()
        back = await here.until(lambda said: said.reloads == 1)
        assert here.sequences("AAA", "BBB") == [2, 499]
        assert back.refused == {}, "what the second read repeats is no row that went back"


async def test_a_stream_trimmed_under_a_slow_reader_is_made_good_by_the_hash(
    wire: Wire, push: Push, root: Root, encoded: Encoded, feeding: Open
) -> None:
    """The connection holds all the while: the read itself skips what was trimmed, and says nothing of it."""
    patient = Timing(answer_seconds=120.0, block_seconds=60.0)  # no proof is due for a minute but after a full read
    await push([encoded("ZZZ", 0)])
    async with feeding(wire.url, timing=patient) as here:
        wire.hold()
        await push([encoded("BBB", 1)])  # answers the waiting read; the wire keeps the answer
        await push([encoded("AAA", 1)])
        await push([encoded("BBB", sequence) for sequence in range(2, 500)], stream_rows=10)
        assert b"AAA" not in [fields[1][36:39] for _, fields in await root("XRANGE", STREAM, "-", "+")]
        wire.let_go()
        await here.until(lambda said: said.reloads == 1)
        assert here.sequences("AAA", "BBB") == [1, 499]
        assert here.feed.statistics().failures == {}


async def test_a_killed_redis_that_kept_its_data_is_read_on(
    redis: RedisProcess, push: Push, encoded: Encoded, feeding: Open
) -> None:
    await push([encoded("AAA", 1)])
    async with feeding(redis.tcp_url) as here:
        redis.kill()
        await here.until(lambda said: said.failures.get("FeedUnreachableError", 0) > 1)
        assert here.sequences() == [1]
        redis.start()
        await push([encoded("AAA", 2)])
        back = await here.until_sequence(2)
        assert (back.rows, back.repeated, back.reloads, back.reconnects) == (2, 0, 0, 1)


async def test_a_killed_redis_that_lost_its_data_takes_nothing_from_the_table(
    redis: RedisProcess, push: Push, encoded: Encoded, feeding: Open
) -> None:
    await push([encoded("AAA", 5), encoded("BBB", 5)])
    async with feeding(redis.tcp_url) as here:
        redis.kill()
        redis.forget()
        redis.start()
        await here.until(lambda said: (said.reloads, said.connected) == (1, 1))
        assert here.sequences("AAA", "BBB") == [5, 5]
        await push([encoded("AAA", 4), encoded("BBB", 6)])  # an empty Redis takes any row; the table does not
        await here.until_sequence(6, "BBB")
        back = await here.until(lambda said: said.reloads == 2)
        assert here.sequences("AAA") == [5]
        assert set(back.refused) == {"RowWentBack"}
        until_ns = int(here.rows("AAA").valid_until_ns[0])
        assert here.rows("AAA").fresh(until_ns).tolist() == [True]
        assert here.rows("AAA").fresh(until_ns + 1).tolist() == [False], "it runs out, as it would have without Redis"


async def test_flushall_under_a_connected_reader(
    redis: RedisProcess, push: Push, root: Root, encoded: Encoded, feeding: Open
) -> None:
    await push([encoded("AAA", 5), encoded("BBB", 5)])
    async with feeding(redis.tcp_url) as here:
        await root("FLUSHALL")
        await here.until(lambda said: said.reloads == 1)  # noticed although nobody wrote since
        assert here.sequences("AAA", "BBB") == [5, 5]
        await push([encoded("AAA", 3), encoded("BBB", 5), encoded("BBB", 6)])
        await here.until_sequence(6, "BBB")
        said = await here.until(lambda said: said.reloads == 2)
        assert here.sequences("AAA") == [5]
        assert (set(said.refused), said.repeated > 0, said.failures) == ({"RowWentBack"}, True, {})


async def test_after_a_failover_that_lost_writes_nothing_older_is_served(
    redis: RedisProcess, elsewhere: RedisProcess, push: Push, root: Root, encoded: Encoded, feeding: Open
) -> None:
    replica = elsewhere.tcp_url
    await push([encoded("AAA", 1), encoded("BBB", 1)])
    async with feeding(redis.tcp_url) as here:
        await root("CONFIG", "SET", "masteruser", "root", "masterauth", "root", url=replica)
        await root("REPLICAOF", "127.0.0.1", redis.port, url=replica)
        async with asyncio.timeout(20):
            while await root("HLEN", LATEST, url=replica) != 2:
                pass
        await root("REPLICAOF", "NO", "ONE", url=replica)
        await push([encoded("AAA", 2), encoded("BBB", 2)])  # acknowledged, and nowhere else
        await here.until_sequence(2, "BBB")
        redis.kill()
        await root("CONFIG", "SET", "port", redis.port, url=elsewhere.url)  # the replica takes the address over
        await here.until(lambda said: said.reconnects == 1)
        assert here.sequences("AAA", "BBB") == [2, 2]
        await push([encoded("BBB", 2), encoded("AAA", 3)], url=redis.tcp_url)  # what was lost may be sent again
        back = await here.until_sequence(3)
        assert here.sequences("BBB") == [2]
        assert set(back.refused) <= {"RowWentBack"}


async def test_a_stopped_redis_is_given_up_and_found_again(
    redis: RedisProcess, push: Push, encoded: Encoded, feeding: Open
) -> None:
    await push([encoded("AAA", 1)])
    async with feeding(redis.tcp_url, timing=HASTY) as here:
        await here.until_sequence(1)
        redis.stop()
        silent = await here.until(lambda said: said.failures.get("FeedUnreachableError", 0) > 1)
        assert (silent.connected, here.sequences()) == (0, [1])
        redis.go_on()
        await push([encoded("AAA", 2)])
        back = await here.until_sequence(2)
        assert (back.refused, back.repeated) == ({}, 0)


async def test_without_a_redis_a_worker_starts_all_the_same(
    redis: RedisProcess, push: Push, encoded: Encoded, feeding: Open
) -> None:
    await push([encoded("AAA", 1)])
    redis.kill()
    async with feeding(redis.tcp_url) as here:  # `follow` has returned
        assert here.sequences() == [-1]
        redis.start()
        await here.until_sequence(1)
    redis.stop()
    async with feeding(redis.tcp_url, timing=HASTY) as here:
        assert set(here.feed.statistics().failures) == {"FeedUnreachableError"}


async def test_bad_rows_are_refused_by_name_and_counted(
    redis: RedisProcess, root: Root, encoded: Encoded, feeding: Open
) -> None:
    good, forged = encoded("AAA", 1), encoded("AAA", 9, key=b"x" * 32)
    bad = {
        "RowForgedError": [forged, encoded("AAA", 9)[:-1] + b"\0"],
        "RowTruncatedError": [encoded("AAA", 9)[:-40], b"", b"\1"],
        "RowTrailingError": [encoded("AAA", 9) + b"x"],
        "RowVersionError": [b"\2" + encoded("AAA", 9)[1:]],
        "RowKeyError": [b"\1\7" + encoded("AAA", 9)[2:]],
        "RowOfAnotherSet": [encoded("AAA", 9, feature_set_id=OTHER_ID)],
        "RowValueError": [encoded("AAA", 9, values=np.ones(2, np.float32))],
    }
    rows = [row for several in bad.values() for row in several]
    for at, row in enumerate(rows):
        await root("HSET", LATEST, f"I{at}", row)
    await root("HSET", LATEST, "AAA", good)
    await root("XADD", STREAM, "*", "row", good)
    async with feeding(redis.url) as here:
        assert here.sequences() == [1]
        expected = {name: len(several) for name, several in bad.items()}
        assert here.feed.statistics().refused == expected, "of the hash"
        for row in rows:
            await root("XADD", STREAM, "*", "row", row)
        await root("XADD", STREAM, "*", "no", "row", "in", "it")
        await root("XADD", STREAM, "*", "row", encoded("AAA", 2))
        said = await here.until_sequence(2)
        expected = {name: 2 * count for name, count in expected.items()}
        expected["RowTruncatedError"] += 1
        assert said.refused == expected, "of the stream"
        assert (said.rows, said.failures, said.reloads) == (2, {}, 0)


@pytest.mark.parametrize("key", [STREAM, LATEST])
async def test_a_key_of_another_type_is_counted_until_it_is_gone(
    redis: RedisProcess, push: Push, root: Root, encoded: Encoded, feeding: Open, key: bytes
) -> None:
    await root("SET", key, "something else")
    async with feeding(redis.url) as here:
        said = await here.until(lambda said: said.failures.get("FeedKeyError", 0) > 2)
        assert said.connected == 0
        await root("DEL", key)
        await push([encoded("AAA", 1)])
        await here.until_sequence(1)


async def test_one_bad_key_stops_no_other_feature_set(
    redis: RedisProcess, push: Push, root: Root, encoded: Encoded, feeding: Open
) -> None:
    await root("SET", stream_key(OTHER_ID), "something else")
    async with feeding(redis.url) as here:
        await here.feed.follow([SET_ID, OTHER_ID])
        await push([encoded("AAA", 1)])
        said = await here.until_sequence(1)
        assert (said.followed, said.connected) == (2, 1)
        await here.feed.follow([SET_ID])
        assert here.feed.statistics().followed == 1


async def test_only_declared_feature_sets_are_read(
    redis: RedisProcess, push: Push, encoded: Encoded, feeding: Open
) -> None:
    other = encoded("AAA", 1, feature_set_id=OTHER_ID)
    await push([encoded("AAA", 1), other])
    async with feeding(redis.url) as here:
        table = here.tables.table(OTHER_ID, 3)
        assert table.rows(table.slots(["AAA"])).sequences.tolist() == [-1]
        await here.feed.follow([OTHER_ID])
        assert table.rows(table.slots(["AAA"])).sequences.tolist() == [1]
        await push([encoded("AAA", 2), encoded("AAA", 2, feature_set_id=OTHER_ID)])
        await here.until(lambda _: table.rows(table.slots(["AAA"])).sequences.tolist() == [2])
        assert here.sequences() == [1], "what is followed no more is read no more"


async def test_a_reader_that_is_cut_and_cancelled_again_and_again_mixes_nothing_up(
    wire: Wire, push: Push, encoded: Encoded, feeding: Open
) -> None:
    """redis-py #2665: the answer to a cancelled question must never be taken for that to the next."""
    names = [f"I{each}" for each in range(20)]
    async with feeding(wire.url) as here:
        for sequence in range(1, 40):
            wire.hold()
            await push([encoded(name, sequence) for name in names])
            if sequence % 3:
                await here.feed.follow([])  # cancels the reader, a question on its way
            wire.let_go()
            await here.feed.follow([SET_ID])
        await here.until_sequence(39, names[-1])
        assert here.sequences(*names) == [39] * len(names)
        assert here.rows(*names).values.tolist() == [[39.0] * 3] * len(names)
        said = here.feed.statistics()
        assert (said.refused, set(said.failures) <= {"FeedUnreachableError"}) == ({}, True)


async def test_a_wrong_password_is_told_by_its_name_and_shows_nowhere(
    redis: RedisProcess, caplog: pytest.LogCaptureFixture, feeding: Open
) -> None:
    async with feeding(redis.tcp_url, password="wr0ng-s3cret") as here:
        said = here.feed.statistics()
        assert (said.failures, said.connected) == ({"FeedDeniedError": 1}, 0)
    assert "signalbox-reader" in caplog.text
    assert "s3cret" not in caplog.text


async def test_the_users_of_the_docs_can_do_their_work_and_nothing_else(redis: RedisProcess, push: Push) -> None:
    server = {name: RedisServer(redis.url, user=name, password=PASSWORDS[name]) for name in PASSWORDS}
    row = b"a row"
    denied = {
        READER: [("XADD", STREAM, "*", "row", row), ("HSET", LATEST, "AAA", row), ("DEL", STREAM), ("KEYS", "*"),
                 ("EVAL", "return 1", 0), ("FLUSHALL",), ("GET", "x"), ("XRANGE", "x", "-", "+"), ("ACL", "LIST")],
        WRITER: [("FLUSHALL",), ("DEL", STREAM), ("XTRIM", STREAM, "MAXLEN", 0), ("XADD", "other", "*", "row", row),
                 ("EVAL", "return redis.call('DEL', KEYS[1])", 1, STREAM), ("SCRIPT", "FLUSH"), ("ACL", "LIST"),
                 ("EVAL", "return redis.call('HGET', 'other', 'x')", 0), ("SHUTDOWN",)],
    }  # fmt: skip
    for name, commands in denied.items():
        for command in commands:
            async with redis_connection(server[name]) as connection:
                with pytest.raises(FeedDeniedError, match=r"docs/redis\.md"):
                    await connection.ask(*command)
    with pytest.raises(FeedDeniedError, match="user 'default'"):
        async with redis_connection(RedisServer(redis.url)):
            pass


def test_pauses_grow_to_a_bound_and_stay_there() -> None:
    timing = Timing(first_pause_seconds=0.05, longest_pause_seconds=2.0)
    assert 0.025 <= timing.pause_seconds(1) <= 0.05
    for failures in (7, 100, 10**6):
        assert 1.0 <= timing.pause_seconds(failures) <= 2.0
