"""What a run is expected to take: learnt soon, and no pause of the machine passes for a cost."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.runtime import cost
from serving.runtime.cost import RunCost


def test_the_example_holds() -> None:
    assert doctest.testmod(cost).failed == 0


@given(st.integers(1, 100_000), st.integers(1, 10**9), st.integers(1, 100_000))
def test_two_equal_runs_are_believed_and_a_bigger_batch_never_costs_less(rows: int, took_ns: int, other: int) -> None:
    learnt = RunCost()
    for _ in range(2):
        learnt.learn(rows, took_ns)
    assert learnt.expected_ns(rows) == pytest.approx(took_ns)
    assert learnt.expected_ns(max(rows, other)) >= learnt.expected_ns(min(rows, other)) * 0.999
    assert learnt.expected_ns(0) == 0


@given(st.lists(st.integers(10**6, 10**10), max_size=3), st.integers(1_000, 10**6))
def test_pauses_are_forgotten_within_a_few_runs(pauses: list[int], usual_ns: int) -> None:
    learnt = RunCost()
    for took_ns in [*pauses, *[usual_ns] * 40]:
        learnt.learn(8, took_ns)
    assert learnt.expected_ns(8) == pytest.approx(usual_ns, rel=0.1)


def test_one_pause_moves_what_is_known_little() -> None:
    learnt = RunCost()
    for _ in range(2):
        learnt.learn(1, 1_000)
    learnt.learn(1, 10**9)
    assert learnt.expected_ns(1) <= 1_300


def test_a_release_that_became_slower_is_found_out() -> None:
    learnt = RunCost()
    for took_ns in [1_000] * 5 + [10_000] * 60:
        learnt.learn(1, took_ns)
    assert learnt.expected_ns(1) == pytest.approx(10_000, rel=0.1)
