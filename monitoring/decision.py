"""What the durable record holds: decisions, planned actions, and sessions as they were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitoring.policy import Action
from monitoring.verdict import Fault


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
