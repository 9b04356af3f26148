"""Histograms: every value in one bucket, a bound in its own."""

from __future__ import annotations

import doctest
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from serving.runtime import counts
from serving.runtime.counts import LATENCY_BUCKETS_NS, EngineCounts, Histogram

instants = st.lists(st.integers(0, 10**9), min_size=5, max_size=5).map(sorted)


def test_the_example_holds() -> None:
    assert doctest.testmod(counts).failed == 0


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 100))))
def test_every_value_is_in_one_bucket(seen: list[tuple[int, int]]) -> None:
    histogram = Histogram()
    for value, weight in seen:
        histogram.observe(value, weight)
    assert sum(histogram.counts) == sum(weight for _, weight in seen)
    assert histogram.total == sum(value * weight for value, weight in seen)
    for bucket, count in enumerate(histogram.counts):
        assert count == sum(weight for value, weight in seen if bisect_left(LATENCY_BUCKETS_NS, value) == bucket)


def test_the_buckets_run_from_10_microseconds_to_50_milliseconds() -> None:
    assert (LATENCY_BUCKETS_NS[0], LATENCY_BUCKETS_NS[-1]) == (10_000, 50_000_000)
    histogram = Histogram()
    for value in (10_000, 10_001, 50_000_000, 50_000_001):
        histogram.observe(value)
    assert (histogram.counts[0], histogram.counts[1], *histogram.counts[-2:]) == (1, 1, 1, 1)


@given(instants, st.integers(1, 10_000))
def test_one_call_is_counted_as_a_batch_of_one_would_be(at: list[int], rows: int) -> None:
    one, several = EngineCounts(), EngineCounts()
    one.take_one(rows, *at)
    began_ns, gathered_ns, ready_ns, scored_ns, done_ns = at
    several.take(rows, 1, gathered_ns, ready_ns, scored_ns, done_ns)
    assert several.take_calls([(began_ns, 1)], gathered_ns, done_ns) == 1
    for name in EngineCounts.__slots__:
        found, expected = getattr(one, name), getattr(several, name)
        if isinstance(found, Histogram):
            found, expected = (found.counts, found.total), (expected.counts, expected.total)
        assert found == expected, name
