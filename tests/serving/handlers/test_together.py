"""Requests that come in together are answered as each would be alone: same bytes, same counts, whatever is among them.

The same requests go to two scorers: to one in one piece, so that runs of them are read, scored and answered together,
to the other request by request.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.clients import wire
from protos.inference import open_inference_pb2 as oip
from protos.signalbox.v1 import scorer_pb2
from serving.handlers.wire import RowStatus
from serving.transport.grpc.call import CallGroup
from serving.transport.grpc.server import Calls, Unfinished
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode
from serving.transport.http2.limits import Budget, Limits

SCORE, INFER = "/signalbox.v1.Scorer/Score", "/inference.GRPCInferenceService/ModelInfer"
NAN, INF = float("nan"), float("inf")
MANY = 20
_ODD = st.dictionaries(
    st.integers(0, 59), st.sampled_from([(NAN, 1.0), (1.0, NAN), (INF, 1.0), (5_000.0, 0.0)]), max_size=2
)


def rows_of(count: int, odd: dict[int, tuple[float, float]]) -> list[tuple[float, float]]:
    """Rows that all differ, but for those that are odd."""
    return [odd.get(at, (at / 4, -at)) for at in range(count)]


class Connection:
    """A connection to a world's methods, without a socket."""

    def __init__(self, world: Any, *, window: int | None = None) -> None:
        limits = Limits()
        self.world = world
        self.calls = Calls(
            world.methods,
            limits,
            Unfinished(limits.unfinished_bytes),
            Budget(limits.unread_bytes),
            changed=lambda calls: None,
            start=lambda *call: None,
        )
        self.requests = wire.Requests()
        self.reading = wire.Reading()
        self.receive(
            frames.PREFACE + frames.settings({} if window is None else {frames.Setting.INITIAL_WINDOW_SIZE: window})
        )

    def receive(self, data: bytes) -> None:
        self.calls.connection.now_ns = self.world.scorer.engine.now_ns()
        self.calls.connection.receive(data)
        self.flush()

    def flush(self) -> None:
        self.calls.marked = False
        self.reading.take(b"".join(self.calls.out))
        self.calls.out.clear()

    def groups(self) -> list[CallGroup]:
        return list({id(each): each for each in self.calls.streams.values() if isinstance(each, CallGroup)}.values())

    async def turn(self) -> None:
        """One turn of the loop: the engine runs what came in."""
        await asyncio.sleep(0)
        assert not self.world.scorer.engine.busy
        self.flush()

    async def warm(self, path: str) -> None:
        """What a connection and a scorer do not know yet is never read together."""
        for _ in range(3):
            self.receive(self.requests.call(path, question(path, (1, 2))))
            await self.turn()


def question(path: str, row: tuple[float, float], signal: str = "large_caps") -> bytes:
    values = np.array([row], "<f4").tobytes()
    if path == SCORE:
        return scorer_pb2.ScoreRequest(signal=signal, features=values).SerializeToString()
    message = oip.ModelInferRequest(model_name=signal, raw_input_contents=[values])
    message.inputs.add(name="features", datatype="FP32", shape=[1, 2])
    return message.SerializeToString()


def pieces(connection: Connection, path: str, rows: list[tuple[float, float]], *, heads_first: bool) -> list[bytes]:
    """The frames of the requests, in an order in which a client sends them."""
    heads, contents = [], []
    for row in rows:
        stream_id = connection.requests.stream()
        heads.append(wire.head(stream_id, connection.requests.block(connection.requests.fields(path))))
        contents.append(wire.data(stream_id, wire.grpc(question(path, row)), end=True))
    return [*heads, *contents] if heads_first else [part for pair in zip(heads, contents, strict=True) for part in pair]


def counts(world: Any) -> tuple[Any, ...]:
    scorer = world.scorer
    return scorer.counts.requests, dict(scorer.counts.errors), list(scorer.counts.rows), scorer.engine.counts.rows


@given(
    st.sampled_from([SCORE, INFER]),
    st.builds(rows_of, st.integers(1, 60), _ODD),
    st.booleans(),
    st.sampled_from([None, 16, 200]),
)
async def test_together_as_alone(
    make_world: Any, path: str, rows: list[tuple[float, float]], heads_first: bool, window: int | None
) -> None:
    together, alone = Connection(make_world(), window=window), Connection(make_world(), window=window)
    for connection in (together, alone):
        await connection.warm(path)
    together.receive(b"".join(pieces(together, path, rows, heads_first=heads_first)))
    await together.turn()
    for piece in pieces(alone, path, rows, heads_first=heads_first):
        alone.receive(piece)
        await alone.turn()
    assert together.reading.answers == alone.reading.answers
    assert counts(together.world) == counts(alone.world)
    assert not together.calls.streams or window == 16


@pytest.mark.parametrize("path", [SCORE, INFER])
@pytest.mark.parametrize("heads_first", [True, False])
async def test_alike_requests_of_one_read_are_one_caller(make_world: Any, path: str, heads_first: bool) -> None:
    connection = Connection(make_world())
    await connection.warm(path)
    connection.receive(b"".join(pieces(connection, path, [(1, each) for each in range(MANY)], heads_first=heads_first)))
    (group,) = connection.groups()
    assert group.count == MANY
    assert connection.world.scorer.engine.in_flight == MANY
    await connection.turn()
    assert not connection.calls.streams
    assert connection.calls.connection.answered == MANY + 3


async def test_those_that_are_cancelled_are_not_run_and_the_others_are(make_world: Any) -> None:
    connection = Connection(make_world())
    await connection.warm(SCORE)
    before = connection.world.scorer.engine.counts.rows
    first = connection.requests.next_stream
    connection.receive(b"".join(pieces(connection, SCORE, [(0, each) for each in range(MANY)], heads_first=False)))
    gone = (first + 4, first + 10)
    connection.receive(b"".join(frames.rst_stream(stream_id, ErrorCode.CANCEL) for stream_id in gone))
    await connection.turn()
    answers = {each: answer for each, answer in connection.reading.answers.items() if each >= first}
    assert sorted(answers) == [each for each in range(first, first + 2 * MANY, 2) if each not in gone]
    for stream_id, answer in answers.items():
        reply = scorer_pb2.ScoreReply.FromString(answer.messages[0])
        assert np.frombuffer(reply.scores, "<f4").tolist() == [10.0 * ((stream_id - first) // 2)]
    engine = connection.world.scorer.engine
    assert (engine.counts.cancelled, engine.counts.rows - before) == (len(gone), MANY - len(gone))


async def test_a_deadline_that_passes_ends_all_of_them(make_world: Any) -> None:
    now = [1_000]
    connection = Connection(make_world(lambda: now[0]))
    fields = (b"grpc-timeout", b"1m")
    for _ in range(3):
        connection.receive(connection.requests.call(SCORE, question(SCORE, (1, 2)), fields))
        await connection.turn()
    ran, first = connection.world.scorer.engine.counts.rows, connection.requests.next_stream
    connection.receive(b"".join(connection.requests.call(SCORE, question(SCORE, (1, 2)), fields) for _ in range(MANY)))
    assert [group.count for group in connection.groups()] == [MANY]
    now[0] += 1_000_000
    await connection.turn()
    statuses = [answer.status for each, answer in connection.reading.answers.items() if each >= first]
    assert statuses == [4] * MANY
    assert connection.world.scorer.engine.counts.rows == ran
    assert connection.world.scorer.counts.errors["DeadlinePassed"] == MANY


async def test_a_halt_between_arrival_and_turn_refuses_them_all(make_world: Any) -> None:
    connection = Connection(make_world())
    await connection.warm(SCORE)
    first = connection.requests.next_stream
    connection.receive(b"".join(pieces(connection, SCORE, [(1, 2)] * MANY, heads_first=False)))
    connection.world.serve(posture="HALTED")
    await connection.turn()
    replies = [
        scorer_pb2.ScoreReply.FromString(answer.messages[0])
        for each, answer in connection.reading.answers.items()
        if each >= first
    ]
    assert len(replies) == MANY
    assert {(reply.posture, *reply.status) for reply in replies} == {
        (scorer_pb2.POSTURE_HALTED, int(RowStatus.REFUSED))
    }


async def test_a_lost_connection_cancels_them_all(make_world: Any) -> None:
    connection = Connection(make_world())
    await connection.warm(SCORE)
    ran = connection.world.scorer.engine.counts.rows
    connection.receive(b"".join(pieces(connection, SCORE, [(1, 2)] * MANY, heads_first=True)))
    connection.calls.close()
    await connection.turn()
    assert connection.world.scorer.engine.counts.cancelled == MANY
    assert connection.world.scorer.engine.counts.rows == ran
