"""The one table from error to gRPC status, and whether a retry helps.

An error that has no row of its own takes that of its nearest base; a test proves that every domain error which can
reach a caller is covered. What is not ours is INTERNAL, and its text stays here: a caller gets no stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from features.errors import FeatureError
from promotion.errors import BrokenChain, LedgerUnreadable, PromotionError, ReleaseRefused
from serving import errors


class Code(IntEnum):
    """The status codes of gRPC that Signalbox sends."""

    OK = 0
    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15


@dataclass(frozen=True)
class Status:
    """How an error goes out. retry: whether the same call may succeed when it is simply sent again."""

    code: Code
    retry: bool = False


STATUS: dict[type[Exception], Status] = {
    errors.RequestRefused: Status(Code.INVALID_ARGUMENT),
    errors.UnknownSignal: Status(Code.NOT_FOUND),
    errors.UnknownRelease: Status(Code.NOT_FOUND),
    errors.UnknownGeneration: Status(Code.NOT_FOUND),
    errors.UnknownMethod: Status(Code.UNIMPLEMENTED),
    errors.UnknownEncoding: Status(Code.UNIMPLEMENTED),
    errors.WrongCompression: Status(Code.INTERNAL),  # gRPC's word for it (its doc/compression.md, doc/statuscodes.md)
    errors.WrongCardinality: Status(Code.UNIMPLEMENTED),
    errors.MessageTooLarge: Status(Code.RESOURCE_EXHAUSTED),
    errors.NotReady: Status(Code.UNAVAILABLE, retry=True),
    errors.NoLiveRelease: Status(Code.FAILED_PRECONDITION),
    errors.DeadlinePassed: Status(Code.DEADLINE_EXCEEDED),
    errors.CallEnded: Status(Code.CANCELLED),
    errors.Overloaded: Status(Code.RESOURCE_EXHAUSTED, retry=True),
    errors.ScoreRefused: Status(Code.FAILED_PRECONDITION),
    errors.ModelFailed: Status(Code.INTERNAL),
    errors.GenerationBehind: Status(Code.FAILED_PRECONDITION, retry=True),
    errors.PushRefused: Status(Code.INVALID_ARGUMENT),
    errors.CanaryRefused: Status(Code.FAILED_PRECONDITION),
    errors.ScorerFailed: Status(Code.UNAVAILABLE, retry=True),
    FeatureError: Status(Code.INVALID_ARGUMENT),
    BrokenChain: Status(Code.DATA_LOSS),
    LedgerUnreadable: Status(Code.UNAVAILABLE, retry=True),
    ReleaseRefused: Status(Code.FAILED_PRECONDITION),
    PromotionError: Status(Code.FAILED_PRECONDITION),
}
INTERNAL = Status(Code.INTERNAL)


def status_of(error: BaseException) -> Status:
    """The status of `error`: that of its nearest class in the table, INTERNAL for what is not ours."""
    return status_of_kind(type(error))


def status_of_kind(kind: type[BaseException]) -> Status:
    """The status of errors of class `kind`."""
    for each in kind.__mro__:
        if each in STATUS:
            return STATUS[each]
    return INTERNAL


def kinds() -> Iterator[type[Exception]]:
    """Every class of the table, and every class below one of them."""
    waiting = list(STATUS)
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += kind.__subclasses__()


def message_of(error: BaseException) -> str:
    """What the caller is told: the message of an error of ours, and nothing of any other."""
    if status_of(error) is INTERNAL:
        return "the scorer failed; its log says why"
    return str(error)


def trailers_of(error: BaseException) -> tuple[tuple[str, str], ...]:
    """The trailing metadata of a call that ends with `error`: whether it may succeed when it is sent again, and when.

    `grpc-retry-pushback-ms` is gRPC's own word for it (proposal A6): clients with a retry policy keep to it.
    """
    retry = ("signalbox-retry", "1" if status_of(error).retry else "0")
    if isinstance(error, errors.Overloaded) and error.retry_after_ms is not None:
        return (retry, ("grpc-retry-pushback-ms", str(error.retry_after_ms)))
    return (retry,)
