"""The durable record: what a signal decided, written before any outcome is known, and what the market then did.

One SQLite file, `synchronous=FULL`, with a write-ahead log: one flush to the disk a session instead of four. The defect
of older SQLites in resetting that log needs two connections that write; a lock lets one in.

Everything that belongs to one session of one signal is one transaction: a monitor that is killed has recorded a
session whole or not at all. Every row's key makes it exactly once by construction: a decision per (signal, release,
session), an outcome per (signal, session), a result per (signal, release, session), an action per key.
"""

from __future__ import annotations

import fcntl
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec
import numpy as np
import numpy.typing as npt

from monitoring.decision import Past, Planned
from monitoring.decision_tables import PAST, RUN_START, SCHEMA, VERSION
from monitoring.errors import (
    BackwardSession,
    DoubledSession,
    OtherUniverse,
    RestatedOutcome,
    StoreBusy,
    StoreUnreadable,
)
from monitoring.policy import Action, Memory
from monitoring.session_writer import SessionWriter, write_memory
from monitoring.verdict import FAULTS, Fault, Rule, Verdict
from promotion.evidence.nulls import CELLS


class DecisionStore:
    """The record of every signal of a home, for its one writer. A context manager that owns the file.

    StoreBusy when another process writes it, StoreUnreadable when the file is something else, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> DecisionStore:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as opened:
            self._only_writer(opened.enter_context(self.path.with_suffix(".lock").open("w")))
            self._connection = opened.enter_context(closing(sqlite3.connect(self.path, isolation_level=None)))
            try:
                self._open()
            except sqlite3.DatabaseError as error:
                message = f"{self.path}: expected a record of decisions, found {error}; look at it"
                raise StoreUnreadable(message) from error
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def _only_writer(self, lock: IO[str]) -> None:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however it ends
        except BlockingIOError as error:
            raise StoreBusy(
                f"{self.path}: expected to be its only writer, found another; one monitor watches a home"
            ) from error

    def _open(self) -> None:
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            version = self._one("PRAGMA user_version")[0]
            if version == 0 and not self._one("SELECT count(*) FROM sqlite_master")[0]:
                for statement in SCHEMA.split(";"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {VERSION}")
            elif version != VERSION:
                raise StoreUnreadable(
                    f"{self.path}: expected version {VERSION}, found {version}; use the build it is of"
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
            write_memory(self._connection, planned.signal, rule, memory)

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
        row = self._one(RUN_START, {"signal": signal, "release": release})
        start: int | None = row[0]
        return start

    def past(self, signal: str, release: str, since_ns: int) -> Iterator[Past]:
        """Every recorded session of `signal` from `since_ns` on, as `release` saw it, in order."""
        query = {"signal": signal, "release": release, "since": since_ns}
        for session_ns, asked, rearmed, scores, returns, counts, net in self._connection.execute(PAST, query):
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


def _array(data: bytes | None, dtype: type[np.generic]) -> Any:
    return None if data is None else np.frombuffer(data, dtype=dtype)


def _counts(data: bytes) -> npt.NDArray[np.int64]:
    return np.frombuffer(zlib.decompress(data), dtype="<i4").reshape(-1, CELLS + 1).astype(np.int64)


def _faults(rearmed: str) -> frozenset[Fault]:
    return frozenset(fault for fault in FAULTS if fault in rearmed.split())
