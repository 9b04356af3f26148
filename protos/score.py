"""A scorer's answer as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from protos.errors import Rejected
from protos.signalbox.v1 import scorer_pb2

Posture = Literal["NORMAL", "NO_NEW_RISK", "HALTED"]

OK, STALE, UNKNOWN_INSTRUMENT, REFUSED = range(4)
_POSTURES: dict[int, Posture] = {
    scorer_pb2.POSTURE_NORMAL: "NORMAL",
    scorer_pb2.POSTURE_NO_NEW_RISK: "NO_NEW_RISK",
    scorer_pb2.POSTURE_HALTED: "HALTED",
}


@dataclass(frozen=True, slots=True, eq=False)
class Score:
    """One answer: parallel read-only arrays, one element per instrument.

    instruments: whose scores these are; () for inline rows without names. scores: float32, NaN unless OK. status:
    uint8: 0 OK, 1 STALE, 2 UNKNOWN_INSTRUMENT, 3 REFUSED. weights: float32 capital weight 0..1, 0 unless OK.
    release_index: uint8 into `releases`. knowledge_times_ns: int64 UTC nanoseconds, 0 for inline rows. row_sequences:
    int64, −1 for inline rows or where there is no row.
    """

    signal: str
    generation: int
    posture: Posture
    releases: tuple[str, ...]
    instruments: tuple[str, ...]
    scores: npt.NDArray[np.float32]
    status: npt.NDArray[np.uint8]
    weights: npt.NDArray[np.float32]
    release_index: npt.NDArray[np.uint8]
    knowledge_times_ns: npt.NDArray[np.int64]
    row_sequences: npt.NDArray[np.int64]

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """bool [n]: which scores may be used."""
        return np.asarray(self.status == OK)

    def __len__(self) -> int:
        return len(self.scores)


def read_score(signal: str, instruments: tuple[str, ...], reply: Any) -> Score:
    """The Score in a `ScoreReply` to a question about `instruments`. Rejected when its arrays do not fit together."""
    try:
        score = Score(
            signal=signal,
            generation=reply.generation,
            posture=posture_name(reply.posture),
            releases=tuple(reply.releases),
            instruments=tuple(reply.instruments) or instruments,
            scores=np.frombuffer(reply.scores, "<f4"),
            status=np.frombuffer(reply.status, np.uint8),
            weights=np.frombuffer(reply.weights, "<f4"),
            release_index=np.frombuffer(reply.release_index, np.uint8),
            knowledge_times_ns=np.frombuffer(reply.knowledge_time_unix_ns, "<i8"),
            row_sequences=np.frombuffer(reply.row_sequence, "<i8"),
        )
    except ValueError as error:  # bytes that are no whole number of elements
        raise _distrusted(f"arrays of whole elements, found {error}") from error
    _check(score)
    return score


def posture_name(number: int) -> Posture:
    """The posture's name. Rejected for a number that is none: it must not be taken for NORMAL."""
    if number not in _POSTURES:
        raise _distrusted(f"a posture, found number {number}")
    return _POSTURES[number]


def _check(score: Score) -> None:
    n = len(score.scores)
    arrays = (score.status, score.weights, score.release_index, score.knowledge_times_ns, score.row_sequences)
    if any(len(each) != n for each in arrays) or (score.instruments and len(score.instruments) != n):
        raise _distrusted(f"arrays of one length, found {[n, *(len(each) for each in arrays)]}")
    if score.status.max(initial=OK) > REFUSED:
        raise _distrusted(f"a status of 0 to {REFUSED}, found {score.status.max()}")
    if score.ok.any() and score.release_index[score.ok].max() >= len(score.releases):
        raise _distrusted(f"the index of one of {len(score.releases)} releases, found {score.release_index.max()}")


def _distrusted(words: str) -> Rejected:
    return Rejected(f"reply: expected {words}; do not trade on it", code="INTERNAL")
