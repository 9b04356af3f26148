"""Where the ledger is kept. `SqliteLedger` is one file; whatever keeps one fulfils the protocol `Ledger`.

    with SqliteLedger(home.ledger) as ledger:
        entry = ledger.append(action)
        state = ledger.state()

SQLite runs with a rollback journal and `synchronous=FULL`: an append that returned survives a power cut, and one that
was cut short never happened. Several processes, and several threads, may write; they take turns.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import quote

from promotion.errors import EntryRefused, KeyReused, LedgerUnreadable, NotAllowed, WrongEnvironment
from promotion.ledger.entry import Action, Entry, place, read_entry
from promotion.ledger.fold import apply
from promotion.ledger.state import LedgerState
from promotion.ledger.verify import Head, Verifier, signature_holds

__all__ = ["Head", "Ledger", "SqliteLedger"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    sequence INTEGER PRIMARY KEY,
    idempotency_key TEXT NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS entries_by_key ON entries (idempotency_key) WHERE idempotency_key != '';
CREATE TRIGGER IF NOT EXISTS entries_stay BEFORE UPDATE ON entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS entries_remain BEFORE DELETE ON entries
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""


class Ledger(Protocol):
    """An append-only, hash-chained, signed history."""

    def append(self, action: Action) -> Entry:
        """Appends `action` if its signature is good and every rule allows it now; returns its entry.

        A second append under one idempotency key returns the first entry. Raises Conflict when the signal moved
        since its expected generation, and what else the rules refuse (promotion.ledger.fold); then nothing changed.
        """
        ...

    def entries(self, after: int = 0) -> list[Entry]:
        """The entries with a sequence above `after`, in order."""
        ...

    def bodies(self, after: int = 0) -> list[tuple[int, bytes]]:
        """(sequence, canonical bytes) of the entries above `after`, unchecked: what `verify` takes."""
        ...

    def find(self, idempotency_key: str) -> Entry | None:
        """The entry that was appended under this key, or None."""
        ...

    def head(self) -> Head:
        """The last entry's sequence and hash; (0, sixty-four zeros) for an empty ledger."""
        ...

    def state(self) -> LedgerState:
        """The fold of all entries, each verified. BrokenChain names the first that is not what it should be."""
        ...


class SqliteLedger:
    """A ledger in one SQLite file. Owned by a `with`; made at the first write unless `read_only`.

    environment: "" for any, else the one that the ledger must belong to (WrongEnvironment otherwise).
    busy_timeout_ms: how long a writer waits for the others' turn.
    """

    def __init__(
        self, path: Path, *, read_only: bool = False, environment: str = "", busy_timeout_ms: int = 5000
    ) -> None:
        self.path = path
        self.read_only = read_only
        self.environment = environment
        self._busy_timeout_ms = busy_timeout_ms
        self._verifier = Verifier()
        self._turn = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        self._connection = self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; the ledger is of no more use."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def append(self, action: Action) -> Entry:
        """See Ledger.append."""
        with self._transaction() as connection:
            self._catch_up(connection)
            earlier = _find(connection, action.idempotency_key)
            if earlier is not None:
                _check_same(earlier, action)
                return earlier
            books = self._verifier.books
            entry = place(action, sequence=books.sequence + 1, previous=books.head)
            self._check_signature(entry)
            apply(books, entry)
            try:
                connection.execute(
                    "INSERT INTO entries (sequence, idempotency_key, body) VALUES (?, ?, ?)",
                    (entry.sequence, entry.idempotency_key, entry.body()),
                )
                connection.execute("COMMIT")
            except BaseException:
                self._verifier = Verifier()  # the books took in what the file did not: read them anew
                raise
            return entry

    def entries(self, after: int = 0) -> list[Entry]:
        """See Ledger.entries."""
        return [read_entry(body) for _, body in self.bodies(after)]

    def bodies(self, after: int = 0) -> list[tuple[int, bytes]]:
        """See Ledger.bodies."""
        with self._turn, self._named_errors():
            return _bodies(self._open_connection(), after)

    def find(self, idempotency_key: str) -> Entry | None:
        """See Ledger.find."""
        with self._turn, self._named_errors():
            return _find(self._open_connection(), idempotency_key)

    def head(self) -> Head:
        """See Ledger.head."""
        with self._turn:
            self._catch_up(self._open_connection())
            return Head(self._verifier.books.sequence, self._verifier.books.head)

    def state(self) -> LedgerState:
        """See Ledger.state."""
        with self._turn:
            self._catch_up(self._open_connection())
            return self._verifier.books.state()

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        with self._named_errors():
            stored = _bodies(connection, self._verifier.books.sequence)
        for sequence, body in stored:
            self._verifier.take(sequence, body)
        found = self._verifier.books.environment
        if self.environment and found and found != self.environment:
            raise WrongEnvironment(
                f"{self.path}: expected a ledger of environment {self.environment}, found {found}; open the right home"
            )

    def _check_signature(self, entry: Entry) -> None:
        if signature_holds(self._verifier.books, entry):
            return
        known = ", ".join(sorted(self._verifier.books.principals)) or "none"
        if entry.actor not in self._verifier.books.principals:
            raise NotAllowed(f"{entry.kind}: expected a principal of this ledger ({known}), found {entry.actor!r}")
        raise EntryRefused(
            f"{entry.kind}: expected {entry.actor}'s signature over it, found one that does not verify; "
            "sign with the key whose public half the ledger holds"
        )

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if self.read_only:
            raise LedgerUnreadable(f"{self.path}: opened read-only; open it for writing to append")
        connection = self._open_connection()
        with self._turn, self._named_errors():
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LedgerUnreadable(f"{self.path}: expected an open ledger; use it inside `with SqliteLedger(...)`")
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        options: dict[str, Any] = {"isolation_level": None, "check_same_thread": False}  # `_turn` orders the threads
        with self._named_errors():
            if not self.read_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            # A reader too must be able to undo what a killed writer left half done: "rw" for both, and `query_only`.
            where = f"file:{quote(str(self.path))}?mode={'rw' if self.read_only else 'rwc'}"
            connection: sqlite3.Connection = sqlite3.connect(where, uri=True, **options)
            connection.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout_ms)}")
            if self.read_only:
                connection.execute("PRAGMA query_only = ON")
            else:
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(_SCHEMA)
            return connection

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise LedgerUnreadable(
                f"{self.path}: expected a ledger that can be read and written, found: {error}; nothing was appended. "
                "Check the path and the disk, then repeat"
            ) from error


def _bodies(connection: sqlite3.Connection, after: int) -> list[tuple[int, bytes]]:
    rows = connection.execute("SELECT sequence, body FROM entries WHERE sequence > ? ORDER BY sequence", (after,))
    return [(int(sequence), bytes(body)) for sequence, body in rows]


def _find(connection: sqlite3.Connection, idempotency_key: str) -> Entry | None:
    if not idempotency_key:
        return None
    row = connection.execute("SELECT body FROM entries WHERE idempotency_key = ?", (idempotency_key,)).fetchone()
    return None if row is None else read_entry(bytes(row[0]))


def _check_same(earlier: Entry, action: Action) -> None:
    if not earlier.same_as(action):
        raise KeyReused(
            f"idempotency key {action.idempotency_key!r}: expected {earlier.kind} by {earlier.actor} (entry "
            f"{earlier.sequence}), found {action.kind} by {action.actor}; use a fresh key"
        )
