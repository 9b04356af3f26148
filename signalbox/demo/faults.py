"""The demo's two faults. They stand outside the product: between it and its data, and between it and its clients.

`ScaledInput` spoils what one feature reads. `DecayingScorer` is a gRPC proxy before the real scorer that lets the
scores of one release decay toward noise while its inputs stay clean: what a model that has stopped working looks like
to those who ask it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import grpc
import numpy as np

from features.calendars import Calendar
from features.definition import FeatureSet
from features.panel import Panel
from features.publisher import replay
from features.row import FeatureRow
from protos.signalbox.v1 import scorer_pb2


@dataclass(frozen=True)
class ScaledInput:
    """From session `first` on, for `sessions` sessions, the prices that `feature` reads arrive times `factor`."""

    feature: str
    first_ns: int
    sessions: int
    factor: float

    def spoil(self, panel: Panel) -> Panel:
        """`panel` with the prices of those sessions multiplied."""
        start = int(np.searchsorted(panel.event_times_ns, self.first_ns))
        values = panel.values.copy()
        values[start : start + self.sessions] *= self.factor
        return replace(panel, values=values)


def rows_with_fault(
    feature_set: FeatureSet,
    panel: Panel,
    fault: ScaledInput,
    *,
    calendar: Calendar,
    time_to_live_sessions: int,
    start_ns: int,
    end_ns: int,
) -> Iterator[Sequence[FeatureRow]]:
    """`features.publisher.replay`, the column of the fault's feature computed from spoiled prices."""
    column = feature_set.names.index(fault.feature)
    clean, spoiled = (
        replay(
            feature_set,
            prices,
            calendar=calendar,
            time_to_live_sessions=time_to_live_sessions,
            start_ns=start_ns,
            end_ns=end_ns,
        )
        for prices in (panel, fault.spoil(panel))
    )
    for rows, wrong_rows in zip(clean, spoiled, strict=True):
        yield [_with_value(row, column, wrong.values[column]) for row, wrong in zip(rows, wrong_rows, strict=True)]


def _with_value(row: FeatureRow, column: int, value: np.float32) -> FeatureRow:
    values = row.values.copy()
    values[column] = value
    return replace(row, values=values)


@dataclass(frozen=True)
class Decay:
    """From `first_ns` on, scores of `release` lose their meaning over `sessions` closes of `calendar`.

    After k of them a score is (1 − k/sessions) of itself and k/sessions of noise as wide as the scores are; from then
    on it is noise alone. The noise is drawn from the row's knowledge time: the same question gets the same answer.
    """

    release: str
    first_ns: int
    sessions: int
    calendar: Calendar

    def apply(self, reply: scorer_pb2.ScoreReply) -> None:
        """Changes the scores of `reply` that are the release's, OK, and of the time after the fault began."""
        known = np.frombuffer(reply.knowledge_time_unix_ns, "<i8")
        scores = np.frombuffer(reply.scores, "<f4").copy()
        index = np.frombuffer(reply.release_index, np.uint8)
        ours = np.array([digest == self.release for digest in reply.releases], dtype=np.bool_)
        struck = (known >= self.first_ns) & np.isfinite(scores) & ours[index]
        if not struck.any():
            return
        now = int(known[struck].max())
        share = min(1.0, self.calendar.sessions_between(self.first_ns, now) / self.sessions)
        noise = np.random.default_rng(now).standard_normal(len(scores)).astype(np.float32)
        width = scores[struck].std()
        scores[struck] = (1 - share) * scores[struck] + share * width * noise[struck]
        reply.scores = scores.tobytes()


class DecayingScorer(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc ships no types
    """Passes `Score` on to the scorer behind it and lets `decay` change the answer; knows no other method."""

    def __init__(self, behind: grpc.aio.Channel, decay: Decay) -> None:
        self._behind = behind.unary_unary("/signalbox.v1.Scorer/Score")
        self._decay = decay

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler of `Score`; None for every other method (UNIMPLEMENTED)."""
        if handler_call_details.method != "/signalbox.v1.Scorer/Score":
            return None
        return grpc.unary_unary_rpc_method_handler(self._score)

    async def _score(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        try:
            answer = await self._behind(request, timeout=context.time_remaining())
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
        reply = scorer_pb2.ScoreReply.FromString(answer)
        self._decay.apply(reply)
        return bytes(reply.SerializeToString())


@asynccontextmanager
async def decaying(target: str, decay: Decay) -> AsyncIterator[str]:
    """The address of a proxy before `target` (HOST:PORT) that applies `decay`, for as long as the block runs."""
    server = grpc.aio.server()
    async with grpc.aio.insecure_channel(target) as behind:
        server.add_generic_rpc_handlers((DecayingScorer(behind, decay),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)
