"""Asking over the wire: a call that fails is no answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from monitoring.scorer import ClientScorer
from protos.errors import CallError, Rejected, TimedOut
from protos.score import Score


class StandIn:
    """A client that gives what it is told, and remembers what it was asked."""

    def __init__(self, result: Score | CallError) -> None:
        self.result, self.asked = result, ()

    async def score(self, signal: str, instruments: Sequence[str], **more: Any) -> Score:
        self.asked = (signal, tuple(instruments), more["release"])
        if isinstance(self.result, CallError):
            raise self.result
        return self.result


def score(weights: list[float]) -> Score:
    n = len(weights)
    return Score(
        signal="pair",
        generation=7,
        posture="NO_NEW_RISK",
        releases=("b" * 64,),
        instruments=("AAPL", "KO")[:n],
        scores=np.array([0.5, np.nan], dtype=np.float32)[:n],
        status=np.array([0, 1], dtype=np.uint8)[:n],
        weights=np.array(weights, dtype=np.float32),
        release_index=np.zeros(n, dtype=np.uint8),
        knowledge_times_ns=np.zeros(n, dtype=np.int64),
        row_sequences=np.zeros(n, dtype=np.int64),
    )


async def test_the_answer_is_that_of_the_release_it_asked_for() -> None:
    client = StandIn(score([0.5, 0.0]))
    answer = await ClientScorer(client).ask("pair", ("AAPL", "KO"), "b" * 64)  # type: ignore[arg-type]
    assert client.asked == ("pair", ("AAPL", "KO"), "b" * 64)
    assert answer is not None
    assert (answer.generation, answer.posture, answer.weight) == (7, "NO_NEW_RISK", 0.5)
    assert answer.status.tolist() == [0, 1]


async def test_a_universe_without_an_ok_score_has_no_weight() -> None:
    answer = await ClientScorer(StandIn(score([]))).ask("pair", (), "b" * 64)  # type: ignore[arg-type]
    assert answer is not None
    assert answer.weight == 0.0


@pytest.mark.parametrize("failed", [TimedOut("late", code="DEADLINE_EXCEEDED"), Rejected("no", code="NOT_FOUND")])
async def test_a_call_that_fails_is_no_answer(failed: CallError) -> None:
    assert await ClientScorer(StandIn(failed)).ask("pair", ("AAPL",), "b" * 64) is None  # type: ignore[arg-type]
