"""`signalbox publish`: features of a snapshot's past, computed online and pushed session by session."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from time import monotonic, sleep
from typing import Protocol

import numpy as np

from features.calendars import open_calendar
from features.errors import FeedUnreachableError
from features.panel import Panel
from features.publisher import replay
from features.registry import load_features
from features.row import FeatureRow, encode_row
from promotion.config import ConfigError
from promotion.errors import ScorerUnreachable
from promotion.home import Home
from protos.client import ControlClient
from protos.errors import CallError
from serving.feed.row_keys import read_row_keys
from signalbox.desk import Desk, end_of_day_ns
from signalbox.scorers import control_addresses
from training.samples import restrict

DEFAULT_SESSIONS = 63


@dataclass(frozen=True)
class Sent:
    """What a publisher has sent."""

    sessions: int
    rows: int
    refused: int
    first: str
    last: str

    def to_json(self) -> str:
        """As one JSON document."""
        return json.dumps(asdict(self), indent=2, sort_keys=True)

    def __str__(self) -> str:
        return (
            f"{self.rows} rows of {self.sessions} sessions, {self.first} to {self.last}; {self.refused} refused "
            "(a scorer takes no row older than the one it has)"
        )


class Taken(Protocol):
    """What became of a session's rows."""

    @property
    def accepted(self) -> int:
        """How many were taken."""
        ...

    @property
    def refused(self) -> Sequence[tuple[int, str]]:
        """Which were not, and why."""
        ...


class Sender(Protocol):
    """Whatever carries rows: a scorer's control socket, or Redis."""

    def push(self, rows: Iterable[bytes]) -> Taken:
        """Sends encoded rows; returns when they have arrived."""
        ...


@dataclass(frozen=True)
class Encoder:
    """Signs feature rows with the newest of a home's row keys."""

    key_id: int
    key: bytes

    @classmethod
    def of(cls, home: Home) -> Encoder:
        """ConfigError when the home has no row key."""
        keys = read_row_keys(home)
        if not keys:
            raise ConfigError(f"{home.keys}: expected a key for feature rows, found none; restore keys/rows")
        return cls(max(keys), keys[max(keys)])

    def encode(self, rows: Iterable[FeatureRow]) -> list[bytes]:
        """The rows' bytes (docs/contracts.md, "Feature row")."""
        return [encode_row(row, key_id=self.key_id, key=self.key) for row in rows]


def closes_of(desk: Desk, name: str, snapshot_id: str | None, *, known_at_ns: int) -> Panel:
    """The closes of the signal's universe in a snapshot, as known at `known_at_ns`."""
    snapshot = desk.snapshot(snapshot_id)
    panel = snapshot.panel(snapshot.source.close_is, known_at_ns=known_at_ns)
    return restrict(panel, desk.config.signals[name].universe)


def session_rows(desk: Desk, name: str, closes: Panel, *, start_ns: int, end_ns: int) -> Iterator[Sequence[FeatureRow]]:
    """The rows of every session that closed in [start_ns, end_ns], as they would have been sent."""
    signal = desk.config.signals[name]
    return replay(
        load_features(signal.features),
        closes,
        calendar=open_calendar(signal.calendar),
        time_to_live_sessions=signal.time_to_live_sessions,
        start_ns=start_ns,
        end_ns=end_ns,
    )


def publish_replay(
    desk: Desk,
    signal_name: str | None,
    snapshot_id: str | None,
    *,
    first: dt.date | None,
    last: dt.date | None,
    sessions_per_second: float,
    through_redis: bool,
    tell: Callable[[str], None],
) -> Sent:
    """Pushes a stretch of the past to this home's scorer, or to the Redis of its configuration; returns what was sent.

    ScorerUnreachable when no scorer (no Redis) runs, or it stops in between: rows that were acknowledged have arrived,
    and the same call goes on from there (rows that are there already are refused as not newer).
    """
    name, _ = desk.signal(signal_name)
    end_ns = 2**62 if last is None else end_of_day_ns(last)
    closes = closes_of(desk, name, snapshot_id, known_at_ns=2**62)
    times = closes.event_times_ns[closes.event_times_ns <= end_ns]
    start_ns = int(times[-DEFAULT_SESSIONS:][0]) if first is None else end_of_day_ns(first - dt.timedelta(days=1))
    encoder = Encoder.of(desk.home)
    tally = [0, 0, 0]
    pace = _Pace(sessions_per_second)
    seen: list[int] = []
    try:
        with _redis_sender(desk) if through_redis else _control_sender(desk) as sender:
            for rows in session_rows(desk, name, closes, start_ns=start_ns, end_ns=end_ns):
                pace.wait()
                pushed = sender.push(encoder.encode(rows))
                tally = [tally[0] + 1, tally[1] + pushed.accepted, tally[2] + len(pushed.refused)]
                seen.append(rows[0].event_time_ns)
                if tally[0] % 21 == 0:
                    tell(f"{_day(seen[-1])}: {tally[0]} sessions, {tally[1]} rows")
    except (CallError, FeedUnreachableError) as error:
        raise ScorerUnreachable(f"{error}; {tally[1]} rows were acknowledged before") from error
    if not seen:
        raise ConfigError("expected at least one session between --from and --to, found none; widen the range")
    return Sent(tally[0], tally[1], tally[2], _day(seen[0]), _day(seen[-1]))


@contextmanager
def _control_sender(desk: Desk) -> Iterator[Sender]:
    addresses = control_addresses(desk.home, desk.config)
    if not addresses:
        raise ScorerUnreachable(f"{desk.home.root}: expected a running scorer, found none; run: signalbox serve")
    with ControlClient(addresses[0]) as control:
        yield control


@contextmanager
def _redis_sender(desk: Desk) -> Iterator[Sender]:
    from features.redis_feed import RedisSender  # needs the redis library, which nothing else here does

    if desk.config.redis is None:
        raise ConfigError(f"{desk.home.config}: expected a [redis] table, found none; see docs/redis.md")
    with RedisSender(desk.config.redis.writer(desk.home.root)) as sender:
        yield sender


class _Pace:
    """Keeps to so many turns a second by the monotonic clock; 0 is as fast as it goes."""

    def __init__(self, per_second: float) -> None:
        self._every = 1 / per_second if per_second else 0.0
        self._due = monotonic()

    def wait(self) -> None:
        if self._every:
            sleep(max(0.0, self._due - monotonic()))
            self._due += self._every


def _day(event_time_ns: int) -> str:
    return str(np.datetime64(event_time_ns, "ns").astype("datetime64[D]"))
