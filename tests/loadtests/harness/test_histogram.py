"""The histogram against exact percentiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from loadtests.harness.histogram import RELATIVE_ERROR, Histogram

TIMES = hnp.arrays(np.int64, st.integers(1, 300), elements=st.integers(0, 2**53 - 1))
SMALL = hnp.arrays(np.int64, st.integers(1, 300), elements=st.integers(0, 5_000))


@given(st.one_of(TIMES, SMALL), st.floats(0, 100))
def test_a_percentile_is_never_below_the_exact_one_nor_more_than_the_error_above(values, percent):
    exact = int(np.percentile(values, percent, method="inverted_cdf"))

    found = Histogram.of(values).percentile(percent)

    assert exact <= found <= exact * (1 + RELATIVE_ERROR)


@given(SMALL.map(lambda values: values % 256), st.floats(0, 100))
def test_small_values_have_a_bucket_each(values, percent):
    exact = int(np.percentile(values, percent, method="inverted_cdf"))

    assert Histogram.of(values).percentile(percent) == exact


@given(st.lists(TIMES, min_size=1, max_size=4))
def test_merged_histograms_are_the_histogram_of_all_values(parts):
    whole = Histogram.of(np.concatenate(parts))

    merged = Histogram.merged(Histogram.of(part) for part in parts)

    assert (merged.counts, merged.max, merged.total) == (whole.counts, whole.max, whole.total)


@given(TIMES)
def test_count_maximum_and_mean(values):
    histogram = Histogram.of(values)

    assert histogram.total == len(values)
    assert histogram.max == values.max()
    assert histogram.mean == pytest.approx(values.astype(np.float64).mean(), rel=RELATIVE_ERROR)


@given(TIMES)
def test_counts_travel(values):
    histogram = Histogram.of(values)

    copy = Histogram.from_counts(histogram.counts, histogram.max)

    assert (copy.counts, copy.max, copy.percentile(50)) == (histogram.counts, histogram.max, histogram.percentile(50))


def test_the_largest_percentile_is_the_maximum():
    assert Histogram.of([3, 1_000_003]).percentile(100) == 1_000_003


@pytest.mark.parametrize("value", [-1, 2**53])
def test_what_does_not_fit_is_refused_and_nothing_is_counted(value):
    histogram = Histogram()

    with pytest.raises(ValueError, match="expected values from 0 to 2\\^53"):
        histogram.record(np.array([1, value]))

    assert histogram.total == 0


def test_no_percentile_of_nothing():
    with pytest.raises(ValueError, match="found none"):
        Histogram().percentile(50)
