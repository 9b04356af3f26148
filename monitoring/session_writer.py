"""Writing one session of one signal, inside its transaction."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from features.canonical import identity
from monitoring.decision import Decision, Planned
from monitoring.errors import DoubledSession, LateDecision, OtherUniverse
from monitoring.policy import Action, Memory
from monitoring.verdict import Fault, Rule, Verdict


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
        write_memory(self._connection, self._key[0], rule, memory)

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


def write_memory(connection: sqlite3.Connection, signal: str, rule: Rule, memory: Memory) -> None:
    """Keeps what the policy remembers of `signal` under one rule, in place of what it remembered before."""
    connection.execute(
        "INSERT INTO memories VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET memory = excluded.memory",
        (signal, rule, msgspec.json.encode(memory)),
    )
