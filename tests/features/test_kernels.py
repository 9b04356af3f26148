"""The building blocks against exact and brute-force answers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from features import kernels
from features.evaluate import quiet

Floats = npt.NDArray[np.float64]
positive = st.floats(1e-300, 1e300, allow_subnormal=False)
value_or_gap = st.one_of(st.integers(-3, 3).map(float), st.floats(-5, 5), st.just(math.nan))


def units_in_the_last_place(found: float, expected: float) -> float:
    return abs(found - expected) / math.ulp(expected)


@given(positive)
def test_the_logarithm_is_within_3_units_in_the_last_place(value: float) -> None:
    found = float(kernels.logarithm(np.array([value]))[0])
    # Near 1, where the logarithm is as small as its own rounding, as well.
    assert units_in_the_last_place(found, math.log(value)) <= 4 or found == math.log(value)


@given(st.floats(0.7, 1.4))
def test_the_logarithm_of_a_daily_ratio(value: float) -> None:
    found = float(kernels.logarithm(np.array([value]))[0])
    assert units_in_the_last_place(found, math.log(value)) <= 4


def test_the_logarithm_of_what_has_none() -> None:
    with quiet():
        found = kernels.logarithm(np.array([0.0, -1.0, np.nan, 1.0, np.inf]))
    assert np.isnan(found[:3]).all()
    assert found[3] == 0.0
    assert not np.isfinite(found[4])


@given(st.floats(-2, 2))
def test_half_the_hyperbolic_tangent(value: float) -> None:
    found = float(kernels.half_tanh(np.array([value]))[0])
    assert found == pytest.approx(math.tanh(value / 2), rel=1e-15, abs=1e-300)


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=value_or_gap))
def test_ranks_are_what_comparing_every_pair_gives(values: Floats) -> None:
    found = kernels.rank(values)
    for row, ranked in zip(values, found, strict=True):
        present = [each for each in row if not math.isnan(each)]
        for value, place in zip(row, ranked, strict=True):
            if math.isnan(value):
                assert math.isnan(place)
                continue
            below = sum(each < value for each in present) + (sum(each == value for each in present) - 1) / 2
            assert place == (below / (len(present) - 1) - 0.5 if len(present) > 1 else 0.0)


@given(
    arrays.arrays(np.float64, (3, 8), elements=value_or_gap),
    arrays.arrays(np.float64, (3, 8), elements=st.sampled_from([0.0, 1.0, 7.0, math.nan])),
)
def test_less_the_mean_of_the_group(values: Floats, groups: Floats) -> None:
    with quiet():
        found = kernels.less_group_mean(values, groups)
        alone = np.stack([kernels.less_group_mean(v[None], g[None])[0] for v, g in zip(values, groups, strict=True)])
    np.testing.assert_array_equal(found.view(np.uint64), alone.view(np.uint64))
    for at, value in np.ndenumerate(values):
        mine = groups[at[0]]
        peers = [v for v, g in zip(values[at[0]], mine, strict=True) if g == mine[at[1]] and not math.isnan(v)]
        if math.isnan(value) or math.isnan(mine[at[1]]):
            assert math.isnan(found[at])
        else:
            exact = Fraction(value) - sum(map(Fraction, peers)) / len(peers)
            assert found[at] == pytest.approx(float(exact), abs=1e-14)


def test_whole_numbers_alone_are_counted() -> None:
    assert kernels.whole(np.array([3.0, np.nan, -2.0])).tolist() == [3, 0, -2]
    for odd in (0.5, 2.0**53):
        with pytest.raises(ValueError, match="expected whole numbers below 2"):
            kernels.whole(np.array([1.0, odd]))


def test_wilders_average_begins_with_a_plain_mean() -> None:
    values, average = np.array([4.0, 8.0, 3.0, 5.0]), np.array(np.nan)
    seen = []
    for count, value in enumerate(values, start=1):
        average = kernels.running_mean(average, value, np.array(float(count)), 3.0)
        seen.append(float(average))
    assert seen == pytest.approx([4.0, 6.0, 5.0, (2 * 5.0 + 5.0) / 3])
