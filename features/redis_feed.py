"""Feature rows through Redis: where they lie, the one script that writes them, and the senders that run it.

    stream sb:FEATURE_SET           every row that was newer than the one before it, field `row`; the oldest are trimmed
    hash   sb:FEATURE_SET:latest    instrument → its newest row

FEATURE_SET is the feature set's id in hex. Script and readers see the same bytes as Push (features/row.py). The script
alone writes: it takes a row into both keys or into none, and refuses one that is not newer than what the hash holds,
so that two writers, a writer that starts again, or one that repeats itself take nothing back.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Any, Self

from features.errors import FeedAnswerError, FeedError
from features.redis_connection import RedisConnection, redis_connection
from features.redis_server import RedisServer
from features.row import SET_ID

ROW_FIELD = b"row"
STREAM_ROWS = 65_536  # what a stream keeps, about: a reader that was away for longer loads the hash
AHEAD_NS = 1_000_000_000  # how far a publisher's clock may be ahead of Redis'
_SCRIPT_ROWS = 128  # rows a run of the script: it holds up Redis' other clients for about 2 ms
_TAKEN, _OLDER, _REPEATED, _WENT_BACK, _AHEAD, _UNREADABLE = range(6)
_PAIR = struct.Struct(">qq")  # knowledge time, sequence

# Numbers are doubles here, and two int64 nanoseconds up to 256 apart may be the same double: so each is compared as two
# halves of 32 bits. The high half is signed, as the row's integers are. XADD comes before HSET, and both after HGET:
# a key of another type stops the script before anything is written.
SCRIPT = """
local keep, ahead = ARGV[1], tonumber(ARGV[2])

local function head(row)
  if #row < 36 then return nil end
  local instrument_ends = 36 + struct.unpack('>I2', row, 35)
  if #row < instrument_ends + 36 then return nil end
  return string.sub(row, 37, instrument_ends), string.sub(row, instrument_ends + 9, instrument_ends + 24)
end

local function halves(pair)
  return {struct.unpack('>i4I4i4I4', pair)}
end

local function above(one, other, from)
  for at = from, 4 do
    if one[at] ~= other[at] then return one[at] > other[at] end
  end
  return false
end

local clock = redis.call('TIME')
local now = clock[1] * 1e9 + clock[2] * 1e3

local function take(row)
  local instrument, pair = head(row)
  if not pair then return 5 end
  local found = halves(pair)
  if found[1] * 4294967296 + found[2] - now > ahead then return 4 end
  local latest = redis.call('HGET', KEYS[2], instrument)
  local _, held_pair = head(latest or '')
  if held_pair then
    local held = halves(held_pair)
    if held_pair == pair then return 2, held_pair end
    if above(held, found, 1) then return 1, held_pair end
    if not above(found, held, 3) then return 3, held_pair end
  end
  redis.call('XADD', KEYS[1], 'MAXLEN', '~', keep, '*', 'row', row)
  redis.call('HSET', KEYS[2], instrument, row)
  return 0
end

local answers = {}
for at = 3, #ARGV do
  local outcome, held_pair = take(ARGV[at])
  answers[at - 2] = {outcome, held_pair or ''}
end
return answers
"""


@dataclass(frozen=True)
class Written:
    """What became of the rows that were pushed. refused: (index among the rows pushed, why)."""

    accepted: int
    refused: tuple[tuple[int, str], ...]


class AsyncRedisSender:
    """Writes encoded feature rows to a Redis. Owned by an `async with`.

    stream_rows: about how many rows a stream keeps. A connection is made by the first push that needs one.
    """

    def __init__(self, server: RedisServer, *, stream_rows: int = STREAM_ROWS) -> None:
        self._server = server
        self._stream_rows = stream_rows
        self._owned = AsyncExitStack()
        self._connection: RedisConnection | None = None
        self._pushing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._hang_up()

    async def push(self, rows: Iterable[bytes]) -> Written:
        """Writes `rows` in their order; returns once Redis has them all. A refused row does not stop others.

        Any FeedError: some rows may have been written. The same call may be repeated: what is there already is refused
        as such, and nothing is written twice.
        """
        numbered = list(enumerate(rows))
        refused: list[tuple[int, str]] = []
        async with self._pushing:
            try:
                for batch in _batches(numbered):
                    refused += await self._write(batch)
            except BaseException:
                await self._hang_up()
                raise
        return Written(len(numbered) - len(refused), tuple(sorted(refused)))

    async def _write(self, batch: Sequence[tuple[int, bytes]]) -> list[tuple[int, str]]:
        """Runs the script on rows of one feature set; the refused ones."""
        if self._connection is None:
            self._connection = await self._owned.enter_async_context(redis_connection(self._server))
        rows = [row for _, row in batch]
        keys = (stream_key(rows[0][SET_ID]), latest_key(rows[0][SET_ID]))
        answers = await self._connection.ask("EVAL", SCRIPT, 2, *keys, self._stream_rows, AHEAD_NS, *rows)
        reasons = _reasons(rows, answers)
        return [(index, reason) for (index, _), reason in zip(batch, reasons, strict=True) if reason]

    async def _hang_up(self) -> None:
        self._connection = None
        await self._owned.aclose()


class RedisSender:
    """The blocking twin of AsyncRedisSender. Owned by a `with`."""

    def __init__(self, server: RedisServer, *, stream_rows: int = STREAM_ROWS) -> None:
        self._sender = AsyncRedisSender(server, stream_rows=stream_rows)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._runner:
            self._runner.run(self._sender.__aexit__(kind, error, trace))

    def push(self, rows: Iterable[bytes]) -> Written:
        """See AsyncRedisSender.push."""
        return self._runner.run(self._sender.push(rows))


def stream_key(feature_set_id: bytes) -> bytes:
    """The stream of a feature set. feature_set_id: 32 bytes."""
    return b"sb:" + feature_set_id.hex().encode()


def latest_key(feature_set_id: bytes) -> bytes:
    """The hash of a feature set's newest rows. feature_set_id: 32 bytes."""
    return stream_key(feature_set_id) + b":latest"


def _batches(numbered: Sequence[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    """Rows of one feature set each, at most _SCRIPT_ROWS, in their order."""
    by_set: dict[bytes, list[tuple[int, bytes]]] = {}
    for index, row in numbered:
        by_set.setdefault(row[SET_ID], []).append((index, row))
    for rows in by_set.values():
        left = iter(rows)
        while batch := list(islice(left, _SCRIPT_ROWS)):
            yield batch


def _reasons(rows: Sequence[bytes], answers: Any) -> list[str]:
    """Why each row was refused, "" for one that was taken."""
    try:
        return [_reason(row, outcome, held) for row, (outcome, held) in zip(rows, answers, strict=True)]
    except FeedError:
        raise
    except (TypeError, ValueError, struct.error) as error:
        raise FeedAnswerError(
            f"redis: expected an outcome for each of {len(rows)} rows, found {type(answers).__name__}; what listens "
            "there?"
        ) from error


def _reason(row: bytes, outcome: int, held: bytes) -> str:
    if outcome == _TAKEN:
        return ""
    if outcome == _UNREADABLE:
        return f"row: expected at least the head of a row, found {len(row)} bytes; the row was cut off: send it again"
    name, known_ns, sequence = _named(row)
    if outcome == _AHEAD:
        return (
            f"row of {name}: expected a knowledge time of Redis' now or before, found {known_ns}, more than "
            f"{AHEAD_NS} ns ahead; set the publisher's clock"
        )
    held_ns, held_sequence = _PAIR.unpack(held)
    if outcome == _REPEATED:
        return (
            f"row of {name}: expected a newer row than the one held, found one of the same knowledge time and sequence "
            f"{sequence}; it is there already"
        )
    if outcome == _OLDER:
        return (
            f"row of {name}: expected one known after {held_ns} (sequence {held_sequence}), found one known at "
            f"{known_ns} (sequence {sequence}); a newer row is held"
        )
    if outcome == _WENT_BACK:
        return f"row of {name}: expected a sequence above {held_sequence}, found {sequence}; a sequence only rises"
    raise FeedAnswerError(f"redis: expected an outcome of 0 to {_UNREADABLE}, found {outcome!r}; what listens there?")


def _named(row: bytes) -> tuple[str, int, int]:
    """Instrument as shown in messages, knowledge time and sequence of a row whose head the script could read."""
    ends = 36 + int.from_bytes(row[34:36], "big")
    known_ns, sequence = _PAIR.unpack(row[ends + 8 : ends + 24])
    return repr(row[36:ends].decode(errors="replace")[:40]), known_ns, sequence
