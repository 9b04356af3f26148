"""The durable record: each thing once, whole sessions or nothing, refusals by name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from monitoring.decision import Decision
from monitoring.decisions import DecisionStore
from monitoring.errors import (
    BackwardSession,
    DoubledSession,
    LateDecision,
    OtherUniverse,
    RestatedOutcome,
    StoreBusy,
    StoreUnreadable,
)
from monitoring.policy import Action, Memory, Standing
from monitoring.verdict import Verdict

RELEASE, OLDER = "b" * 64, "a" * 64
PAIR = ("AAPL", "KO")
HISTORY = np.array([[0.1, 0.2], [0.3, 0.4]])
CUT = Action(kind="cut", before="1", after="0.5", reason="realised Sharpe -9.0, threshold -8.0")
VERDICT = Verdict(
    rule="desk", fault="model", detector="sharpe", subject="net return", state="breach", value=-9.0, threshold=-8.0,
    recovered=False, why="",
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DecisionStore]:
    with DecisionStore(tmp_path / "decisions.db") as opened:
        opened.register("pair", PAIR, HISTORY)
        yield opened


def decision(session_ns: int = 10, release: str = RELEASE, **changed: object) -> Decision:
    fields: dict[str, object] = {
        "signal": "pair",
        "release": release,
        "session_ns": session_ns,
        "decided_at_ns": session_ns + 1,
        "deadline_ns": session_ns + 10,
        "generation": 3,
        "weight": 1.0,
        "posture": "NORMAL",
        "scores": np.array([0.5, -0.5], dtype=np.float32),
        "status": np.zeros(2, dtype=np.uint8),
    }
    return Decision(**{**fields, **changed})  # type: ignore[arg-type]


def record(store: DecisionStore, session_ns: int, net: float = 0.01) -> None:
    with store.session("pair", session_ns) as write:
        write.decision(decision(session_ns))
        write.outcome(np.array([0.01, -0.02]))
        write.result(RELEASE, net)
        write.cells(RELEASE, 2, np.ones((1, 101), dtype=np.int64))
        write.watched([RELEASE], (VERDICT,), rearmed=frozenset(), present=frozenset({"rows"}))


def test_a_session_comes_back_as_it_was_written(store: DecisionStore) -> None:
    record(store, 10)
    (past,) = store.past("pair", RELEASE, 0)
    assert past.session_ns == 10
    assert past.scores is not None
    assert past.scores.tolist() == [0.5, -0.5]
    assert past.scores.dtype == np.float32
    assert past.returns is not None
    assert past.returns.tolist() == [0.01, -0.02]
    assert past.counts is not None
    assert past.counts.sum() == 101
    assert past.net == 0.01
    assert store.verdicts("pair", 10) == (VERDICT,)
    assert store.last_session_ns("pair") == 10


def test_what_is_not_there_is_marked(store: DecisionStore) -> None:
    record(store, 10)
    with store.session("pair", 20) as write:
        write.watched([RELEASE], (), rearmed=frozenset(), present=frozenset())
    past = list(store.past("pair", RELEASE, 0))[1]
    assert (past.scores, past.returns, past.counts) == (None, None, None)
    assert np.isnan(past.net)


def test_a_recorded_session_is_not_recorded_again(store: DecisionStore) -> None:
    record(store, 10)
    with pytest.raises(DoubledSession, match="expected a session after 10, found that one again"):
        record(store, 10)


def test_a_session_may_not_go_back(store: DecisionStore) -> None:
    record(store, 10)
    with pytest.raises(BackwardSession, match="the clock went back"):
        record(store, 9)


def test_a_session_that_fails_leaves_nothing(store: DecisionStore) -> None:
    def interrupted() -> None:
        with store.session("pair", 10) as write:
            write.decision(decision(10))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(store.past("pair", RELEASE, 0)) == []
    record(store, 10)


def test_a_doubled_decision_refuses_the_whole_session(store: DecisionStore) -> None:
    def twice() -> None:
        with store.session("pair", 10) as write:
            write.decision(decision(10))
            write.decision(decision(10))

    with pytest.raises(DoubledSession, match="nothing of the session was recorded"):
        twice()
    assert list(store.past("pair", RELEASE, 0)) == []


@pytest.mark.parametrize("decided_at_ns", [20, 21])
def test_a_decision_after_its_deadline_counts_for_nothing(store: DecisionStore, decided_at_ns: int) -> None:
    with pytest.raises(LateDecision, match="before 20"), store.session("pair", 10) as write:
        write.decision(decision(10, decided_at_ns=decided_at_ns))


def test_another_universe_is_refused(store: DecisionStore) -> None:
    record(store, 10)
    with pytest.raises(OtherUniverse, match="2 instruments"):
        store.register("pair", ("KO", "AAPL"), HISTORY)
    with pytest.raises(OtherUniverse, match=r"a history of its 2 instruments, found shape \(2, 3\)"):
        store.register("other", PAIR, np.zeros((2, 3)))
    with pytest.raises(OtherUniverse, match="expected a registered signal"), store.session("other", 20):
        pass
    three = np.zeros(3)
    with pytest.raises(OtherUniverse, match=r"returns of its 2.*\(3,\)"), store.session("pair", 20) as write:
        write.outcome(three)
    with pytest.raises(OtherUniverse, match="scores of its 2"), store.session("pair", 20) as write:
        write.decision(decision(20, scores=np.zeros(1, dtype=np.float32)))


def test_an_outcome_that_is_joined_cannot_be_restated(store: DecisionStore) -> None:
    record(store, 10)
    store.refuse_restated("pair", 10, np.array([0.01, -0.02]))
    store.refuse_restated("pair", 10, None)
    with pytest.raises(RestatedOutcome, match="the joined one stands"):
        store.refuse_restated("pair", 10, np.array([0.01, 0.02]))


def test_an_action_is_pending_until_it_is_finished(store: DecisionStore) -> None:
    with store.session("pair", 10) as write:
        planned = write.plan(RELEASE, 3, CUT)
        write.watched([RELEASE], (), rearmed=frozenset({"model"}), present=frozenset())
    assert store.pending("pair") == [planned]
    seen = Standing(generation=4, live=RELEASE, previous="", weight=0.5, posture="NORMAL", frozen=False)
    store.finish(planned, "done", Memory(seen=seen, cut_session=7), "calibrated")
    assert store.pending("pair") == []
    assert [done.done for done in store.actions("pair")] == ["done"]
    assert store.memory("pair", "calibrated").seen == seen
    assert store.memory("pair", "desk") == Memory()
    assert [past.rearmed for past in store.past("pair", RELEASE, 0)] == [{"model"}]


def test_the_key_of_an_action_is_its_meaning_not_its_reason(store: DecisionStore) -> None:
    with store.session("pair", 10) as write:
        first = write.plan(RELEASE, 3, CUT).key
        write.watched([RELEASE], (), rearmed=frozenset(), present=frozenset())
    with store.session("pair", 20) as write:
        assert write.plan(RELEASE, 3, CUT).key != first


def test_a_run_begins_where_a_release_is_asked_again(store: DecisionStore) -> None:
    for session_ns, asked in ((10, [RELEASE]), (20, [RELEASE, OLDER]), (30, [OLDER]), (40, [RELEASE, OLDER])):
        with store.session("pair", session_ns) as write:
            write.watched(asked, (), rearmed=frozenset({"model"}), present=frozenset())
    assert store.run_start_ns("pair", RELEASE) == 40
    assert store.run_start_ns("pair", OLDER) == 20
    assert store.run_start_ns("pair", "c" * 64) is None
    assert [past.session_ns for past in store.past("pair", OLDER, 20)] == [20, 30, 40]
    assert [past.rearmed for past in store.past("pair", OLDER, 20)] == [frozenset(), {"model"}, frozenset()]


def test_returns_before_a_session_begin_with_the_history(store: DecisionStore) -> None:
    record(store, 10)
    record(store, 20)
    assert store.returns_before("pair", 20).tolist() == [[0.1, 0.2], [0.3, 0.4], [0.01, -0.02]]
    store.register("pair", PAIR, np.zeros((0, 2)))
    assert len(store.returns_before("pair", 10)) == 2, "the history is that of the first registration"


def test_presence_is_kept(store: DecisionStore) -> None:
    record(store, 10)
    assert store.presence("pair") == [(10, {"rows"})]


def test_the_file_survives_reopening(tmp_path: Path) -> None:
    with DecisionStore(tmp_path / "decisions.db") as store:
        store.register("pair", PAIR, HISTORY)
        record(store, 10)
    with DecisionStore(tmp_path / "decisions.db") as store:
        assert store.last_session_ns("pair") == 10


def test_the_record_has_one_writer(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"
    with DecisionStore(path), pytest.raises(StoreBusy, match="expected to be its only writer"), DecisionStore(path):
        pass
    with DecisionStore(path):
        pass


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "decisions.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreUnreadable, match="expected a record of decisions"), DecisionStore(path):
        pass
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreUnreadable, match="found 99"), DecisionStore(path):
        pass
