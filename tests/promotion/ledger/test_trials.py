"""Every model tried counts: finished, crashed, abandoned, left open, declared."""

from __future__ import annotations

from typing import Any

import pytest

from features.canonical import sha256_hex
from promotion.errors import EntryRefused
from promotion.ledger.trials import Family, close_trial, count, declare_trials, families, open_trial, trial

FAMILY = Family("return_5", ("AAA", "BBB"), "snapshot")


@pytest.fixture
def by(desk: Any) -> dict[str, Any]:
    return {"signer": desk.keys.signer("alice"), "clock": desk.clock}


def test_a_finished_trial_keeps_the_hash_of_its_returns(desk: Any, by: Any) -> None:
    with trial(desk.ledger, FAMILY, {"leaves": 7}, **by) as under_way:
        under_way.finish(b"returns")
    found = desk.ledger.state().trials[under_way.name]
    assert (found.outcome, found.returns) == ("finished", sha256_hex(b"returns"))


def test_a_trial_is_in_the_ledger_before_anything_is_trained(desk: Any, by: Any) -> None:
    with trial(desk.ledger, FAMILY, {}, **by) as under_way:
        assert desk.ledger.state().trials[under_way.name].outcome == "open"
        under_way.finish(b"x")


def test_crashed_abandoned_and_open_trials_count(desk: Any, by: Any) -> None:
    with pytest.raises(ZeroDivisionError), trial(desk.ledger, FAMILY, {"n": 1}, **by):
        raise ZeroDivisionError
    with pytest.raises(KeyboardInterrupt), trial(desk.ledger, FAMILY, {"n": 2}, **by):
        raise KeyboardInterrupt
    with trial(desk.ledger, FAMILY, {"n": 3}, **by):
        pass  # no returns came
    open_trial(desk.ledger, FAMILY, {"n": 4}, **by)
    declare_trials(desk.ledger, FAMILY, number=40, returns=b"declared", **by)
    counted = count(desk.ledger.state(), FAMILY)
    assert (counted.crashed, counted.abandoned, counted.open, counted.declared, counted.total) == (2, 1, 1, 40, 44)


def test_trials_count_by_label_universe_and_data_not_by_name(desk: Any, by: Any) -> None:
    for leaves in (7, 15, 31):
        open_trial(desk.ledger, FAMILY, {"name": f"model {leaves}", "leaves": leaves}, **by)
    state = desk.ledger.state()
    assert count(state, Family("return_5", ("BBB", "AAA"), "snapshot")).total == 3
    assert count(state, Family("return_21", ("AAA", "BBB"), "snapshot")).total == 0
    assert count(state, Family("return_5", ("AAA",), "snapshot")).total == 0
    assert count(state, Family("return_5", ("AAA", "BBB"), "other")).total == 0
    assert FAMILY.key in families(state)


def test_the_same_trial_twice_is_two_trials_with_names_of_their_own(desk: Any, by: Any) -> None:
    names = [open_trial(desk.ledger, FAMILY, {"leaves": 7}, **by) for _ in range(3)]
    assert len(set(names)) == 3


def test_names_follow_from_content_and_order_alone(desk: Any, by: Any) -> None:
    first = open_trial(desk.ledger, FAMILY, {"leaves": 7}, **by)
    assert first == "d01b3edb6a688b44"


def test_a_trial_is_closed_once(desk: Any, by: Any) -> None:
    name = open_trial(desk.ledger, FAMILY, {}, **by)
    close_trial(desk.ledger, name, outcome="crashed", **by)
    with pytest.raises(EntryRefused, match="found one that is crashed; a trial is closed once"):
        close_trial(desk.ledger, name, outcome="finished", returns=b"better", **by)


def test_an_unknown_trial_cannot_be_closed(desk: Any, by: Any) -> None:
    with pytest.raises(EntryRefused, match="expected an open trial, found none"):
        close_trial(desk.ledger, "nothing", outcome="crashed", **by)


def test_a_finished_trial_has_returns(desk: Any, by: Any) -> None:
    name = open_trial(desk.ledger, FAMILY, {}, **by)
    with pytest.raises(EntryRefused, match="expected the returns of a finished trial"):
        close_trial(desk.ledger, name, outcome="finished", **by)


def test_parameters_are_json_without_floats(desk: Any, by: Any) -> None:
    with pytest.raises(ValueError, match="expected no float"):
        open_trial(desk.ledger, FAMILY, {"rate": 0.1}, **by)
