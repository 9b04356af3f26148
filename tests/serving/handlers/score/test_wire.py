"""Questions and answers survive the wire."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protos.client import _score_request
from protos.score import read_score
from protos.signalbox.v1 import scorer_pb2
from serving.errors import RequestRefused
from serving.handlers.wire import Answer, RowStatus, read_question, write_answer

RELEASE = "ab" * 32
names = st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=8).map(tuple)


@given(names, st.integers(0, 5), st.none() | st.integers(0, 10**9), st.sampled_from([None, RELEASE]))
def test_what_the_client_asks_is_what_the_scorer_reads(
    instruments: tuple[str, ...], rows: int, age_ms: int | None, release: str | None
) -> None:
    features = np.arange(rows * 3, dtype=np.float64).reshape(rows, 3)
    body = _score_request("large_caps", instruments, features, release, age_ms).SerializeToString()
    question = read_question(body)
    assert (question.signal, question.instruments, question.release) == ("large_caps", instruments, release or "")
    assert question.max_age_ns == (None if age_ms is None else age_ms * 1_000_000)
    assert np.frombuffer(question.features, "<f4").tolist() == features.ravel().tolist()


@given(st.lists(st.tuples(st.floats(width=32), st.sampled_from(list(RowStatus)), st.integers(0, 2**62)), max_size=9))
def test_what_the_scorer_answers_is_what_the_client_reads(rows: list[tuple[float, RowStatus, int]]) -> None:
    scores = np.array([score for score, _, _ in rows], np.float32)
    status = np.array([kind for _, kind, _ in rows], np.uint8)
    times = np.array([at for _, _, at in rows], np.int64)
    body = write_answer(Answer(3, "HALTED", RELEASE, scores, status, 0.25, times, times))
    score = read_score("s", (), scorer_pb2.ScoreReply.FromString(body))
    ok = status == RowStatus.OK
    assert (score.generation, score.posture, score.releases, len(score)) == (3, "HALTED", (RELEASE,), len(rows))
    np.testing.assert_array_equal(score.scores[ok].view(np.uint32), scores[ok].view(np.uint32))
    assert np.isnan(score.scores[~ok]).all()
    assert score.weights.tolist() == np.where(ok, 0.25, 0).tolist()
    assert score.row_sequences.tolist() == score.knowledge_times_ns.tolist() == times.tolist()


@given(st.binary(max_size=200))
def test_no_bytes_are_worse_than_a_refusal(body: bytes) -> None:
    with suppress(RequestRefused):
        assert isinstance(read_question(body).signal, str)


def test_a_posture_is_never_left_to_a_default() -> None:
    reply: Any = scorer_pb2.ScoreReply(generation=1)
    with pytest.raises(Exception, match="expected a posture"):
        read_score("s", (), reply)
