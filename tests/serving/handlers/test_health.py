"""Health checks without a transport: what is said, to whom, and when it is said anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from grpc_health.v1 import health_pb2

from serving.errors import MalformedRequest, UnknownSignal
from serving.handlers.health import HealthBook

States = health_pb2.HealthCheckResponse


def asking(service: str) -> bytes:
    return health_pb2.HealthCheckRequest(service=service).SerializeToString()


def state(body: bytes) -> Any:
    return States.FromString(body).status


def check(book: HealthBook, service: str = "") -> Any:
    return state(book.check(asking(service)))


async def waits(replies: AsyncIterator[bytes]) -> asyncio.Task[bytes]:
    """The next reply of `replies`, asked for; nothing is said until something changes."""
    following = asyncio.ensure_future(anext(replies))
    done, _ = await asyncio.wait([following], timeout=0)
    assert not done
    return following


async def test_a_worker_is_born_not_serving() -> None:
    book = HealthBook()
    assert check(book) == States.NOT_SERVING
    book.set_serving("", True)
    book.set_serving("large_caps", False)
    assert [check(book), check(book, "large_caps")] == [States.SERVING, States.NOT_SERVING]


async def test_checking_an_unknown_service_is_an_error_that_names_the_known_ones() -> None:
    book = HealthBook()
    book.set_serving("large_caps", True)
    with pytest.raises(UnknownSignal, match=r"served here \(large_caps\), found 'small_caps'"):
        check(book, "small_caps")


async def test_bytes_that_are_no_request_are_refused() -> None:
    with pytest.raises(MalformedRequest):
        HealthBook().check(b"\xff")
    with pytest.raises(MalformedRequest):
        await anext(HealthBook().watch(b"\xff"))


async def test_a_watcher_is_told_the_state_and_each_change() -> None:
    book = HealthBook()
    async with aclosing(book.watch(asking(""))) as replies:
        assert state(await anext(replies)) == States.NOT_SERVING
        following = await waits(replies)
        book.set_serving("large_caps", True)  # another service's
        book.set_serving("", False)  # no change
        done, _ = await asyncio.wait([following], timeout=0)
        assert not done
        book.set_serving("", True)
        assert state(await following) == States.SERVING


async def test_a_watcher_of_an_unknown_service_is_told_so_and_hears_of_it_when_it_comes() -> None:
    book = HealthBook()
    async with aclosing(book.watch(asking("large_caps"))) as replies:
        assert state(await anext(replies)) == States.SERVICE_UNKNOWN
        following = await waits(replies)
        book.set_serving("large_caps", False)
        assert state(await following) == States.NOT_SERVING


async def test_a_slow_watcher_gets_the_newest_state() -> None:
    book = HealthBook()
    async with aclosing(book.watch(asking(""))) as replies:
        assert state(await anext(replies)) == States.NOT_SERVING
        book.set_serving("", True)
        book.set_serving("", False)
        book.set_serving("", True)
        assert state(await anext(replies)) == States.SERVING
        following = await waits(replies)  # nothing was kept for it
        book.set_serving("", False)
        assert state(await following) == States.NOT_SERVING


async def test_after_shutdown_nothing_serves_any_more_and_watching_ends() -> None:
    book = HealthBook()
    book.set_serving("", True)
    book.set_serving("large_caps", True)
    async with aclosing(book.watch(asking("large_caps"))) as replies, aclosing(book.watch(asking("?"))) as unknown:
        assert state(await anext(replies)) == States.SERVING
        assert state(await anext(unknown)) == States.SERVICE_UNKNOWN
        following = await waits(replies)
        book.shutdown()
        book.set_serving("large_caps", True)  # too late
        assert state(await following) == States.NOT_SERVING
        assert [state(each) async for each in replies] == []
        assert [state(each) async for each in unknown] == []
    assert [check(book), check(book, "large_caps")] == [States.NOT_SERVING, States.NOT_SERVING]


async def test_a_watcher_that_goes_away_is_forgotten() -> None:
    book = HealthBook()
    async with aclosing(book.watch(asking(""))) as replies:
        await anext(replies)
        assert book.watchers == 1
    assert book.watchers == 0
