"""Questions and answers as values, and their bytes on the wire (`protos/signalbox/v1/scorer.proto`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from protos.signalbox.v1 import scorer_pb2
from serving.errors import DuplicateInstrument, MalformedRequest, WrongShape, WrongValue
from serving.feature_table import LAST_NS
from serving.handlers.routes import Posture, Route
from serving.runtime.backend import Model

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

MAX_INSTRUMENTS = 65_536  # asked for in one request
NS_PER_MS = 1_000_000
_NAN, _ZERO = np.float32(np.nan), np.float32(0)
POSTURES: dict[Posture, scorer_pb2.Posture] = {
    "NORMAL": scorer_pb2.POSTURE_NORMAL,
    "NO_NEW_RISK": scorer_pb2.POSTURE_NO_NEW_RISK,
    "HALTED": scorer_pb2.POSTURE_HALTED,
}


class RowStatus(IntEnum):
    """What a score is worth. Not OK: score NaN, weight 0."""

    OK = 0
    STALE = 1
    UNKNOWN_INSTRUMENT = 2
    REFUSED = 3


OK, STALE, UNKNOWN_INSTRUMENT, REFUSED = (np.uint8(each) for each in RowStatus)  # as elements of arrays, and quicker


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A `Score` request. features: the inline rows' bytes, empty for rows of the table. max_age_ns: None for any."""

    signal: str
    instruments: tuple[str, ...]
    features: bytes = b""
    release: str = ""
    max_age_ns: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What goes back: parallel arrays, one element per instrument.

    scores: float32. status: uint8 of RowStatus. weight: the capital weight of every OK score; weights: float32 where
    it differs by row. knowledge_times_ns, sequences: int64, or None for inline rows. instruments: only where the
    question named none. canary: a second release; release_index: uint8, 1 where it scored, None where it did not.
    """

    generation: int
    posture: Posture
    release: str | None
    scores: Float32s
    status: Bytes
    weight: float
    knowledge_times_ns: Int64s | None = None
    sequences: Int64s | None = None
    instruments: tuple[str, ...] = ()
    canary: str = ""
    weights: Float32s | None = None
    release_index: Bytes | None = None


def read_question(body: bytes) -> Question:
    """The question in `body`. MalformedRequest, DuplicateInstrument, WrongShape or WrongValue for a bad one."""
    message = parse(scorer_pb2.ScoreRequest, body)
    instruments = distinct(message.instruments)
    return Question(message.signal, instruments, message.features, message.release, _max_age_ns(message))


def parse(kind: Any, body: bytes) -> Any:
    """The message of `kind` in `body`. MalformedRequest when it is none."""
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise MalformedRequest(
            f"expected a {kind.DESCRIPTOR.full_name}, found {len(body)} bytes that are none ({error}); "
            f"generate the client from {kind.DESCRIPTOR.file.name}"
        ) from error


def distinct(names: Any) -> tuple[str, ...]:
    """`names` as a tuple. DuplicateInstrument when one comes twice, WrongShape when there are too many."""
    instruments = tuple(names)
    if len(instruments) > MAX_INSTRUMENTS:
        raise WrongShape(f"instruments: expected at most {MAX_INSTRUMENTS}, found {len(instruments)}; ask in parts")
    if len(instruments) > 1 and len(set(instruments)) < len(instruments):
        seen: set[str] = set()
        twice = next(name for name in instruments if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise DuplicateInstrument(f"instruments: expected each once, found {twice[:80]!r} twice; ask for it once")
    return instruments


def count_rows(question: Question, model: Model) -> int:
    """How many rows the question brings, float32 [n, feature]. WrongShape when their bytes do not fit the model."""
    row_bytes = 4 * model.columns
    n, over = divmod(len(question.features), row_bytes)
    if over:
        raise WrongShape(
            f"features: expected a multiple of {row_bytes} bytes ({model.columns} float32 a row), found "
            f"{len(question.features)}; send {', '.join(model.features[:3])}, ... in the order Describe gives"
        )
    if question.instruments and len(question.instruments) != n:
        raise WrongShape(f"features: expected {len(question.instruments)} rows, one per instrument, found {n}")
    return n


def check_values(rows: Float32s, model: Model) -> None:
    """WrongValue for an infinity, or a NaN in a feature that the model does not take one in."""
    wrong = np.isinf(rows) | (np.isnan(rows) & ~model.takes_nan)
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        raise WrongValue(
            f"features[{row}].{model.features[column]}: expected a finite number"
            f"{' or NaN' if model.takes_nan[column] else ''}, found {rows[row, column]}; correct or leave out the row"
        )


def write_answer(answer: Answer) -> bytes:
    """The `ScoreReply` that says `answer`."""
    n = len(answer.scores)
    ok = answer.status == OK
    inline = answer.sequences is None
    knowledge = np.zeros(n, "<i8") if answer.knowledge_times_ns is None else answer.knowledge_times_ns
    sequences = np.full(n, -1, "<i8") if answer.sequences is None else answer.sequences
    weights = np.float32(answer.weight) if answer.weights is None else answer.weights
    reply = scorer_pb2.ScoreReply(
        generation=answer.generation,
        posture=POSTURES[answer.posture],
        releases=[digest for digest in (answer.release, answer.canary) if digest],
        scores=np.where(ok, answer.scores, _NAN).astype("<f4", copy=False).tobytes(),
        status=answer.status.tobytes(),
        weights=np.where(ok, weights, _ZERO).astype("<f4", copy=False).tobytes(),
        release_index=bytes(n) if answer.release_index is None else answer.release_index.tobytes(),
        knowledge_time_unix_ns=knowledge.astype("<i8", copy=False).tobytes(),
        row_sequence=sequences.astype("<i8", copy=False).tobytes(),
        instruments=() if inline else answer.instruments,
    )
    body: bytes = reply.SerializeToString()
    return body


def describe(routes: list[Route]) -> bytes:
    """The `DescribeReply` of `routes`."""
    reply = scorer_pb2.DescribeReply()
    for route in routes:
        live = route.models.get(route.live or "")
        reply.signals.add(
            signal=route.signal,
            generation=route.generation,
            posture=POSTURES[route.posture],
            weight=0.0 if live is None else route.weight_of(live),
            live=route.live or "",
            releases=list(route.models),
            feature_set_id=b"" if live is None else live.feature_set_id,
            features=() if live is None else live.features,
            instruments=route.universe,
        )
    body: bytes = reply.SerializeToString()
    return body


def _max_age_ns(message: Any) -> int | None:
    if not message.HasField("max_feature_age_ms"):
        return None
    if message.max_feature_age_ms < 0:
        raise WrongValue(f"max_feature_age_ms: expected 0 or more, found {message.max_feature_age_ms}; leave it out")
    return min(int(message.max_feature_age_ms) * NS_PER_MS, LAST_NS)
