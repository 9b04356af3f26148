"""The durable record: what a signal decided, written before any outcome is known, and what the market then did.

One SQLite file (rollback journal, `synchronous=FULL`). Everything that belongs to one session of one signal is one
transaction: a monitor that is killed has recorded a session whole or not at all. Every row's key makes it exactly once
by construction: a decision per (signal, release, session), an outcome per (signal, session), a result per (signal,
release, session), an action per key.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from features.canonical import identity
from monitoring.errors import (
    BackwardSession,
    DoubledSession,
    LateDecision,
    OtherUniverse,
    RestatedOutcome,
    StoreUnreadable,
)
from monitoring.policy import Action, Memory
from monitoring.verdict import FAULTS, Fault, Rule, Verdict
from promotion.evidence.nulls import CELLS

_VERSION = 1
_SCHEMA = """
CREATE TABLE signals (signal TEXT PRIMARY KEY, instruments TEXT NOT NULL, history BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE decisions (
  signal TEXT, release TEXT, session_ns INTEGER, decided_at_ns INTEGER NOT NULL, generation INTEGER NOT NULL,
  weight REAL NOT NULL, posture TEXT NOT NULL, status BLOB NOT NULL, scores BLOB NOT NULL,
  PRIMARY KEY (signal, release, session_ns)) WITHOUT ROWID;
CREATE TABLE outcomes (
  signal TEXT, session_ns INTEGER, returns BLOB NOT NULL, PRIMARY KEY (signal, session_ns)) WITHOUT ROWID;
CREATE TABLE results (
  signal TEXT, release TEXT, session_ns INTEGER, net REAL,
  PRIMARY KEY (signal, release, session_ns)) WITHOUT ROWID;
CREATE TABLE cells (
  signal TEXT, release TEXT, session_ns INTEGER, rows INTEGER NOT NULL, counts BLOB NOT NULL,
  PRIMARY KEY (signal, release, session_ns)) WITHOUT ROWID;
CREATE TABLE watched (
  signal TEXT, session_ns INTEGER, asked TEXT NOT NULL, rearmed TEXT NOT NULL, present TEXT NOT NULL,
  verdicts BLOB NOT NULL,
  PRIMARY KEY (signal, session_ns)) WITHOUT ROWID;
CREATE TABLE memories (signal TEXT, rule TEXT, memory BLOB NOT NULL, PRIMARY KEY (signal, rule)) WITHOUT ROWID;
CREATE TABLE actions (
  key TEXT PRIMARY KEY, signal TEXT NOT NULL, session_ns INTEGER NOT NULL, generation INTEGER NOT NULL,
  action BLOB NOT NULL, done TEXT) WITHOUT ROWID;
"""


@dataclass(frozen=True, eq=False)
class Decision:
    """The scores that one release gave for one session, as a client of the scorer saw them.

    session_ns: the session's close, UTC. decided_at_ns: the decision clock when the reply came. deadline_ns: the first
    close after the session, when the decision is executed and its outcome begins; a decision recorded then or later
    is refused. scores: float32 [instrument] in the signal's order, NaN where status is not 0 (OK). status: uint8.
    """

    signal: str
    release: str
    session_ns: int
    decided_at_ns: int
    deadline_ns: int
    generation: int
    weight: float
    posture: str
    scores: npt.NDArray[np.float32]
    status: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Planned:
    """An action that was decided and recorded; it is done when `done` says how it ended.

    key: its idempotency key in the ledger: however often it is tried, it happens once. generation: the signal's, which
    the action was decided on: it is void if someone else has moved the signal.
    """

    key: str
    signal: str
    session_ns: int
    generation: int
    action: Action
    done: str | None = None


@dataclass(frozen=True, eq=False)
class Past:
    """One session as recorded, for rebuilding what is derived from it.

    scores: float32 [instrument] or None when the release decided nothing. returns: float64 [instrument] or None when
    no outcome came. counts: the session's cells, or None. net: the paper result recorded then, NaN when none.
    rearmed: what a person had re-armed of this release, when it was live.
    """

    session_ns: int
    scores: npt.NDArray[np.float32] | None
    returns: npt.NDArray[np.float64] | None
    counts: npt.NDArray[np.int64] | None
    net: float
    rearmed: frozenset[Fault]


class DecisionStore:
    """The record of every signal of a home; one writer. A context manager that owns the file.

    StoreUnreadable when the file is something else, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> DecisionStore:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            raise StoreUnreadable(f"{self.path}: expected a record of decisions, found {error}; look at it") from error
        except StoreUnreadable:
            self._connection.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _open(self) -> None:
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA journal_mode = PERSIST")  # a rollback journal whose file is kept for reuse
        with self._transaction():
            version = self._one("PRAGMA user_version")[0]
            if version == 0 and not self._one("SELECT count(*) FROM sqlite_master")[0]:
                for statement in _SCHEMA.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise StoreUnreadable(
                    f"{self.path}: expected version {_VERSION}, found {version}; use the build it is of"
                )

    # What a session writes.

    def register(self, signal: str, instruments: tuple[str, ...], history: npt.NDArray[np.float64]) -> None:
        """Begins the record of `signal`; once it is begun, only checks that its instruments are still the same.

        history: float64 [session, instrument], the returns before the first session, oldest first. OtherUniverse when
        the signal is recorded with other instruments, or the history is not of these.
        """
        if history.ndim != 2 or history.shape[1] != len(instruments):
            raise OtherUniverse(
                f"{signal}: expected a history of its {len(instruments)} instruments, found shape {history.shape}; "
                "give one column an instrument"
            )
        with self._transaction():
            form = msgspec.json.encode(instruments).decode()
            row = (signal, form, history.astype("<f8").tobytes())
            self._connection.execute("INSERT INTO signals VALUES (?, ?, ?) ON CONFLICT DO NOTHING", row)
        known = self._instruments(signal)
        if known != instruments:
            raise OtherUniverse(
                f"{signal}: expected the {len(known)} instruments it was recorded with, in that order, found "
                f"{len(instruments)} others; watch a changed universe as a new signal"
            )

    @contextmanager
    def session(self, signal: str, session_ns: int) -> Iterator[SessionWriter]:
        """Everything of one session, committed together when the block ends, nothing of it when it raises.

        DoubledSession when it is recorded already, BackwardSession when a later one is, OtherUniverse before the signal
        is registered.
        """
        with self._transaction():
            width = len(self._instruments(signal))
            last = self.last_session_ns(signal)
            if last is not None and session_ns == last:
                raise DoubledSession(
                    f"{signal}: expected a session after {last}, found that one again; it is recorded: go on"
                )
            if last is not None and session_ns < last:
                raise BackwardSession(
                    f"{signal}: expected a session after {last}, found {session_ns}; the clock went back: set it"
                )
            yield SessionWriter(self._connection, signal, session_ns, width)

    def finish(self, planned: Planned, done: str, memory: Memory, rule: Rule) -> None:
        """Marks a planned action as ended, together with what the policy remembers from now on."""
        with self._transaction():
            self._connection.execute("UPDATE actions SET done = ? WHERE key = ?", (done, planned.key))
            _write_memory(self._connection, planned.signal, rule, memory)

    def refuse_restated(self, signal: str, session_ns: int, returns: npt.NDArray[np.float64] | None) -> None:
        """RestatedOutcome when `session_ns` is recorded with other returns than these: what was joined stands."""
        row = self._one("SELECT returns FROM outcomes WHERE signal = ? AND session_ns = ?", signal, session_ns)
        if row and returns is not None and row[0] != returns.astype("<f8").tobytes():
            raise RestatedOutcome(
                f"{signal}: expected the outcome of session {session_ns} as joined, found other returns; "
                "the joined one stands: ask who restated it"
            )

    # What is read.

    def last_session_ns(self, signal: str) -> int | None:
        """The close of the last session recorded whole, or None."""
        found: int | None = self._one("SELECT max(session_ns) FROM watched WHERE signal = ?", signal)[0]
        return found

    def memory(self, signal: str, rule: Rule) -> Memory:
        """What the policy remembered last; a fresh memory before the first session."""
        row = self._one("SELECT memory FROM memories WHERE signal = ? AND rule = ?", signal, rule)
        return msgspec.json.decode(row[0], type=Memory) if row else Memory()

    def pending(self, signal: str) -> list[Planned]:
        """Actions recorded but not known to be done, in the order they were decided."""
        return [planned for planned in self.actions(signal) if planned.done is None]

    def actions(self, signal: str) -> list[Planned]:
        """Every action decided for `signal`, in order."""
        rows = self._connection.execute(
            "SELECT key, session_ns, generation, action, done FROM actions WHERE signal = ? ORDER BY 2, 3", (signal,)
        )
        return [
            Planned(key, signal, session_ns, generation, msgspec.json.decode(action, type=Action), done)
            for key, session_ns, generation, action, done in rows
        ]

    def verdicts(self, signal: str, session_ns: int) -> tuple[Verdict, ...]:
        """The verdicts of a recorded session, of every rule; () when it is not recorded."""
        row = self._one("SELECT verdicts FROM watched WHERE signal = ? AND session_ns = ?", signal, session_ns)
        return msgspec.json.decode(row[0], type=tuple[Verdict, ...]) if row else ()

    def presence(self, signal: str) -> list[tuple[int, frozenset[str]]]:
        """(session, what was there) of every recorded session, in order."""
        rows = self._connection.execute(
            "SELECT session_ns, present FROM watched WHERE signal = ? ORDER BY session_ns", (signal,)
        )
        return [(session_ns, frozenset(present.split())) for session_ns, present in rows]

    def returns_before(self, signal: str, session_ns: int) -> npt.NDArray[np.float64]:
        """Every known return before `session_ns`, float64 [session, instrument]: the history, then the outcomes."""
        (history,) = self._one("SELECT history FROM signals WHERE signal = ?", signal)
        rows = self._connection.execute(
            "SELECT returns FROM outcomes WHERE signal = ? AND session_ns < ? ORDER BY session_ns", (signal, session_ns)
        )
        joined = history + b"".join(returns for (returns,) in rows)
        return np.frombuffer(joined, dtype="<f8").reshape(-1, len(self._instruments(signal)))

    def run_start_ns(self, signal: str, release: str) -> int | None:
        """The first of the sessions, unbroken up to the last recorded one, that `release` was asked in; None for none.

        A session it was asked in and did not answer breaks nothing.
        """
        row = self._one(_RUN_START, {"signal": signal, "release": release})
        start: int | None = row[0]
        return start

    def past(self, signal: str, release: str, since_ns: int) -> Iterator[Past]:
        """Every recorded session of `signal` from `since_ns` on, as `release` saw it, in order."""
        query = {"signal": signal, "release": release, "since": since_ns}
        for session_ns, asked, rearmed, scores, returns, counts, net in self._connection.execute(_PAST, query):
            yield Past(
                session_ns,
                _array(scores, np.float32),
                _array(returns, np.float64),
                None if counts is None else _counts(counts),
                float("nan") if net is None else net,
                _faults(rearmed) if asked.startswith(release) else frozenset(),
            )

    def _instruments(self, signal: str) -> tuple[str, ...]:
        row = self._one("SELECT instruments FROM signals WHERE signal = ?", signal)
        if row is None:
            raise OtherUniverse(f"{signal}: expected a registered signal, found none of that name; register it first")
        return msgspec.json.decode(row[0], type=tuple[str, ...])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _one(self, query: str, *values: Any) -> Any:
        named = values[0] if values and isinstance(values[0], dict) else values
        return self._connection.execute(query, named).fetchone()


class SessionWriter:
    """Writes one session of one signal inside its transaction."""

    def __init__(self, connection: sqlite3.Connection, signal: str, session_ns: int, width: int) -> None:
        self._connection = connection
        self._key = (signal, session_ns)
        self._width = width

    @property
    def session_ns(self) -> int:
        """The session's close, UTC."""
        return self._key[1]

    def decision(self, decision: Decision) -> None:
        """Records what a release decided. LateDecision, OtherUniverse or DoubledSession when it may not count."""
        self._check_shape("scores", decision.scores)
        signal, session_ns = self._key
        if decision.decided_at_ns >= decision.deadline_ns:
            raise LateDecision(
                f"{signal}: expected the decision of session {session_ns} before {decision.deadline_ns}, when it is "
                f"executed, found {decision.decided_at_ns}; it cannot count: ask earlier"
            )
        self._insert(
            "INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            signal,
            decision.release,
            session_ns,
            decision.decided_at_ns,
            decision.generation,
            decision.weight,
            decision.posture,
            decision.status.tobytes(),
            decision.scores.astype("<f4").tobytes(),
        )

    def outcome(self, returns: npt.NDArray[np.float64]) -> None:
        """Joins the instruments' returns over the session that closed at `session_ns`: float64 [instrument], NaN
        where unknown.
        """
        self._check_shape("returns", returns)
        signal, session_ns = self._key
        self._insert("INSERT INTO outcomes VALUES (?, ?, ?)", signal, session_ns, returns.astype("<f8").tobytes())

    def result(self, release: str, net: float) -> None:
        """Records the session's paper result of one release: net return as a share of capital, unweighted."""
        signal, session_ns = self._key
        self._insert("INSERT INTO results VALUES (?, ?, ?, ?)", signal, release, session_ns, net)

    def cells(self, release: str, rows: int, counts: npt.NDArray[np.int64]) -> None:
        """Records how the session's rows fell into the reference's cells: int64 [feature, cell]."""
        signal, session_ns = self._key
        data = zlib.compress(counts.astype("<i4").tobytes(), level=1)  # most cells of one session are empty
        self._insert("INSERT INTO cells VALUES (?, ?, ?, ?, ?)", signal, release, session_ns, rows, data)

    def watched(
        self,
        asked: Sequence[str],
        verdicts: tuple[Verdict, ...],
        *,
        rearmed: frozenset[Fault],
        present: frozenset[str],
    ) -> None:
        """Records the session as watched: whom it asked (the live release first), the verdicts, what a person had
        re-armed of the live release, and what was there.
        """
        self._insert(
            "INSERT INTO watched VALUES (?, ?, ?, ?, ?, ?)",
            *self._key,
            " ".join(asked),
            " ".join(sorted(rearmed)),
            " ".join(sorted(present)),
            msgspec.json.encode(verdicts),
        )

    def memory(self, rule: Rule, memory: Memory) -> None:
        """Records what the policy remembers under one rule."""
        _write_memory(self._connection, self._key[0], rule, memory)

    def plan(self, release: str, generation: int, action: Action) -> Planned:
        """Records an action before it is done. Its key names the signal, session, live release and kind."""
        signal, session_ns = self._key
        key = identity([signal, session_ns, release, action.kind])
        data = msgspec.json.encode(action)
        self._insert("INSERT INTO actions VALUES (?, ?, ?, ?, ?, NULL)", key, signal, session_ns, generation, data)
        return Planned(key, signal, session_ns, generation, action)

    def _insert(self, statement: str, *values: Any) -> None:
        try:
            self._connection.execute(statement, values)
        except sqlite3.IntegrityError as error:
            signal, session_ns = self._key
            raise DoubledSession(
                f"{signal}: expected each thing of session {session_ns} once, found one doubled ({error}); nothing of "
                "the session was recorded"
            ) from error

    def _check_shape(self, what: str, values: npt.NDArray[Any]) -> None:
        if values.shape != (self._width,):
            raise OtherUniverse(
                f"{self._key[0]}: expected {what} of its {self._width} instruments, found shape {values.shape}; "
                "send one value an instrument, in the signal's order"
            )


# Sessions: a release's decision, the outcome, its cells and its recorded result, where there are.
_PAST = """
SELECT w.session_ns, w.asked, w.rearmed, d.scores, o.returns, c.counts, r.net
FROM watched AS w
LEFT JOIN decisions AS d ON d.signal = w.signal AND d.session_ns = w.session_ns AND d.release = :release
LEFT JOIN outcomes AS o ON o.signal = w.signal AND o.session_ns = w.session_ns
LEFT JOIN cells AS c ON c.signal = w.signal AND c.session_ns = w.session_ns AND c.release = :release
LEFT JOIN results AS r ON r.signal = w.signal AND r.session_ns = w.session_ns AND r.release = :release
WHERE w.signal = :signal AND w.session_ns >= :since
ORDER BY w.session_ns
"""
_RUN_START = """
SELECT min(session_ns) FROM watched
WHERE signal = :signal AND session_ns > (
  SELECT coalesce(max(session_ns), -1) FROM watched WHERE signal = :signal AND instr(asked, :release) = 0)
"""


def _write_memory(connection: sqlite3.Connection, signal: str, rule: Rule, memory: Memory) -> None:
    connection.execute(
        "INSERT INTO memories VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET memory = excluded.memory",
        (signal, rule, msgspec.json.encode(memory)),
    )


def _array(data: bytes | None, dtype: type[np.generic]) -> Any:
    return None if data is None else np.frombuffer(data, dtype=dtype)


def _counts(data: bytes) -> npt.NDArray[np.int64]:
    return np.frombuffer(zlib.decompress(data), dtype="<i4").reshape(-1, CELLS + 1).astype(np.int64)


def _faults(rearmed: str) -> frozenset[Fault]:
    return frozenset(fault for fault in FAULTS if fault in rearmed.split())
