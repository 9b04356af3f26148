"""The one table from error to gRPC status: complete, and silent about what is not ours."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from features.errors import FeatureError, RowForgedError
from promotion.errors import BrokenChain, FileAltered, LedgerUnreadable, PromotionError
from serving import errors
from serving.status import INTERNAL, STATUS, Code, message_of, status_of, trailers_of


def family(root: type[Exception]) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        yield from family(child)


def test_every_domain_error_has_a_status() -> None:
    roots = [*errors.ServingError.__subclasses__(), FeatureError, PromotionError]
    for root in roots:
        for kind in family(root):
            assert any(base in STATUS for base in kind.__mro__), f"{kind.__name__} has no row in serving.status"


def test_every_error_of_the_room_is_drawn_in_its_tree() -> None:
    for kind in family(errors.ServingError):
        if kind.__module__ == "serving.errors":
            assert kind.__name__ in (errors.__doc__ or ""), kind.__name__


def test_codes_are_grpcs_own() -> None:
    for code in Code:
        assert grpc.StatusCode[code.name].value[0] == code


@pytest.mark.parametrize(
    ("error", "code", "retry"),
    [
        (errors.MalformedRequest("x"), Code.INVALID_ARGUMENT, False),
        (errors.WrongCompression("x"), Code.INTERNAL, False),
        (errors.WrongShape("x"), Code.INVALID_ARGUMENT, False),
        (errors.WrongValue("x"), Code.INVALID_ARGUMENT, False),
        (errors.DuplicateInstrument("x"), Code.INVALID_ARGUMENT, False),
        (errors.UnknownSignal("x"), Code.NOT_FOUND, False),
        (errors.UnknownRelease("x"), Code.NOT_FOUND, False),
        (errors.NoLiveRelease("x"), Code.FAILED_PRECONDITION, False),
        (errors.Draining("x"), Code.UNAVAILABLE, True),
        (errors.DeadlinePassed("x"), Code.DEADLINE_EXCEEDED, False),
        (errors.CallCancelled("x"), Code.CANCELLED, False),
        (errors.Overloaded("x"), Code.RESOURCE_EXHAUSTED, True),
        (errors.TooManyScores("x"), Code.RESOURCE_EXHAUSTED, True),
        (errors.ModelFailed("x"), Code.INTERNAL, False),
        (errors.WorkerFailed("x"), Code.UNAVAILABLE, True),
        (RowForgedError("x"), Code.INVALID_ARGUMENT, False),
        (BrokenChain(3, "x"), Code.DATA_LOSS, False),
        (LedgerUnreadable("x"), Code.UNAVAILABLE, True),
        (FileAltered("x"), Code.FAILED_PRECONDITION, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_each_means_to_a_caller(error: Exception, code: Code, retry: bool) -> None:
    assert (status_of(error).code, status_of(error).retry) == (code, retry)
    assert message_of(error).endswith("x")


def test_what_is_not_ours_is_internal_and_says_nothing() -> None:
    error = ZeroDivisionError("the password is swordfish")
    assert status_of(error) is INTERNAL
    assert "swordfish" not in message_of(error)


def test_a_caller_that_is_shed_is_told_when_to_come_back() -> None:
    """gRPC A6: the push-back is milliseconds, in a trailer of this name, and clients with a retry policy keep to it."""
    assert trailers_of(errors.Overloaded("x", retry_after_ms=12)) == (
        ("signalbox-retry", "1"),
        ("grpc-retry-pushback-ms", "12"),
    )
    assert trailers_of(errors.Overloaded("x")) == (("signalbox-retry", "1"),)
    assert trailers_of(errors.WrongShape("x")) == (("signalbox-retry", "0"),)
