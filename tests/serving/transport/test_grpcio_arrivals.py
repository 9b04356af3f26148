"""How grpcio's calls come to their methods: a lone one at once, those behind one another together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from serving.transport.call import Call
from serving.transport.grpcio import Arrivals, GrpcioCall
from serving.transport.methods import Unary


class Context:
    """As much of grpcio's context as a call touches. end: what grpcio does when the call is over."""

    def __init__(self) -> None:
        self._tell: list[Callable[[Any], None]] = []

    def time_remaining(self) -> None:
        return None

    def add_done_callback(self, tell: Callable[[Any], None]) -> None:
        self._tell.append(tell)

    def end(self) -> None:
        for tell in self._tell:
            tell(self)


class Turns:
    """Calls by the turn of the loop that they were handed over in."""

    def __init__(self) -> None:
        self.arrivals = Arrivals()
        self.groups: list[list[bytes]] = []
        self.method = Unary(self._answer)
        self._same_turn = False

    def _answer(self, call: Call, body: bytes) -> None:
        if not self._same_turn:
            self.groups.append([])
            self._same_turn = True
            asyncio.get_running_loop().call_soon(self._next)
        self.groups[-1].append(body)
        call.answer(body)

    def _next(self) -> None:
        self._same_turn = False

    def bring(self, body: bytes) -> tuple[Context, GrpcioCall]:
        context = Context()
        call = GrpcioCall(context)
        self.arrivals.came()
        self.arrivals.hand_over(self.method, call, body)
        return context, call


@pytest.fixture
async def turns() -> Turns:
    return Turns()


async def test_a_lone_call_is_answered_at_once(turns: Turns) -> None:
    for body in (b"1", b"2"):
        context, call = turns.bring(body)
        assert call.reply.result() == body
        context.end()
        await asyncio.sleep(0)
    assert turns.groups == [[b"1"], [b"2"]]


async def test_calls_that_come_while_one_is_open_are_handed_over_together(turns: Turns) -> None:
    first, _ = turns.bring(b"1")
    _, second = turns.bring(b"2")
    assert not second.reply.done()
    await asyncio.sleep(0)
    _, third = turns.bring(b"3")
    first.end()
    assert [await second.reply, await third.reply] == [b"2", b"3"]
    assert turns.groups == [[b"1"], [b"2", b"3"]]


async def test_a_method_that_breaks_ends_its_own_call_alone(turns: Turns) -> None:
    turns.bring(b"1")
    turns.arrivals.hand_over(Unary(lambda call, body: call.answer(bytes(1 // 0))), broken := GrpcioCall(Context()), b"")
    _, whole = turns.bring(b"3")
    assert await whole.reply == b"3"
    assert isinstance(broken.reply.exception(), ZeroDivisionError)
