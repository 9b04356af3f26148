"""Whatever happens, every call is ended exactly once, and what nobody wants is never run."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.signalbox.v1 import scorer_pb2
from serving.errors import ServingError
from serving.handlers.routes import Canary
from serving.runtime.engine import NO_DEADLINE_NS
from serving.runtime.lane import Single

LIVE, NEXT = "11" * 32, "22" * 32
NAMES = tuple(f"I{number}" for number in range(8))  # I0 and I7 are a canary's of 0.4
World = Any  # conftest's


class Call(Single):
    """Counts its ends."""

    def __init__(self, now_ns: int, deadline_ns: int) -> None:
        self.began_ns = now_ns
        self.deadline_ns = deadline_ns
        self.cancelled = False
        self.ends: list[str] = []

    def answer(self, body: bytes) -> None:
        scorer_pb2.ScoreReply.FromString(body)
        self.ends.append("answered")

    def refuse(self, error: ServingError) -> None:
        self.ends.append(type(error).__name__)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return ()


def body(names: tuple[str, ...], rows: int, release: str) -> bytes:
    features = np.arange(2 * rows, dtype="<f4").tobytes()
    return scorer_pb2.ScoreRequest(
        signal="large_caps", instruments=names, features=features, release=release
    ).SerializeToString()


asked = st.builds(
    lambda names, inline, release: body(tuple(names), len(names) or 2 if inline else 0, release),
    st.lists(st.sampled_from(NAMES), unique=True, max_size=4),
    st.booleans(),
    st.sampled_from(["", "", LIVE, NEXT]),
)
events = st.one_of(
    st.tuples(st.just("ask"), asked, st.sampled_from([NO_DEADLINE_NS, 0, 10, 100])),
    st.tuples(st.just("ask"), asked, st.just(NO_DEADLINE_NS)),
    st.tuples(st.just("cancel"), st.integers(0, 100), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 100]), st.none()),
    st.tuples(st.just("push"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("swap"), st.sampled_from(["NORMAL", "NO_NEW_RISK", "HALTED"]), st.sampled_from([None, 0.4])),
    st.tuples(st.just("break"), st.booleans(), st.none()),
    st.tuples(st.just("turn"), st.none(), st.none()),
    st.tuples(st.just("turn"), st.none(), st.none()),
)


class Story:
    """A scorer to which things happen."""

    def __init__(self, world: World, make_model: Any) -> None:
        self.world = world
        self.broken = False
        self.calls: list[Call] = []
        self.sequence = 0
        story = self

        class Moody:
            def predict(self, rows: Any) -> Any:
                if story.broken:
                    raise RuntimeError("out of order")
                story.world.now_ns += 5
                return rows[:, 0].copy()

        self.models = {digest: make_model(digest, (1, 0), backend=Moody()) for digest in (LIVE, NEXT)}
        self.swap("NORMAL", 0.4)

    async def happen(self, kind: str, one: Any, other: Any) -> None:
        if kind == "turn":
            await asyncio.sleep(0)
        else:
            getattr(self, kind if kind != "break" else "break_down")(one, other)

    def ask(self, question: bytes, left_ns: int) -> None:
        now_ns = self.world.now_ns
        call = Call(now_ns, NO_DEADLINE_NS if left_ns == NO_DEADLINE_NS else now_ns + left_ns)
        self.calls.append(call)
        self.world.scorer.score(call, question)

    def cancel(self, which: int, _: None) -> None:
        open_calls = [call for call in self.calls if not call.ends]
        if open_calls:
            open_calls[which % len(open_calls)].cancelled = True

    def wait(self, by_ns: int, _: None) -> None:
        self.world.now_ns += by_ns

    def push(self, name: str, _: None) -> None:
        self.sequence += 1
        self.world.push(self.sequence, valid_ns=10**6, **{name: (1.0, 2.0)})

    def swap(self, posture: Any, share: float | None) -> None:
        canary = None if share is None else Canary(NEXT, share)
        self.world.serve(
            posture=posture, kind="time_series", canary=canary, universe=NAMES, models=self.models, shadow=(NEXT,)
        )

    def break_down(self, broken: bool, _: None) -> None:
        self.broken = broken


@settings(max_examples=150)
@given(st.lists(events, max_size=40))
def test_every_call_is_ended_once(make_world: Any, make_model: Any, story: list[tuple[str, Any, Any]]) -> None:
    async def run() -> None:
        told = Story(make_world(), make_model)
        for event in story:
            await told.happen(*event)
        for _ in range(8):
            await asyncio.sleep(0)
        assert [len(call.ends) for call in told.calls] == [1] * len(told.calls)
        assert told.world.scorer.engine.in_flight == 0
        assert all(lane.waiting == 0 for lane in told.world.scorer.engine._lanes.values())

    asyncio.run(run())


@given(st.lists(st.tuples(asked, st.booleans()), min_size=1, max_size=6))
def test_what_nobody_wants_is_never_run(make_world: Any, questions: list[tuple[bytes, bool]]) -> None:
    async def run() -> None:
        world = make_world()
        world.serve(universe=NAMES)
        world.push(**dict.fromkeys(NAMES, (1.0, 2.0)))
        calls = []
        for question, cancelled in questions:
            call = Call(world.now_ns, world.now_ns + 10)
            world.scorer.score(call, question)
            call.cancelled = cancelled
            calls.append(call)
        world.now_ns += 10
        for _ in range(3):
            await asyncio.sleep(0)
        assert world.scorer.engine.counts.rows == 0
        assert all(call.ends in (["CallCancelled"], ["DeadlinePassed"]) for call in calls)

    asyncio.run(run())
