"""References that can be watched against, and those that cannot."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.errors import ReferenceRefused
from monitoring.reference import CELLS, MISSING, Reference

GENERATOR = np.random.default_rng(3)


def test_the_cells_are_equally_filled_and_hold_every_row() -> None:
    reference = Reference.of(["momentum"], GENERATOR.normal(size=(50, 100, 1)))
    assert reference.counts.shape == (1, CELLS + 1)
    assert reference.counts[0, :CELLS].tolist() == [50] * CELLS
    assert reference.counts[0, MISSING] == 0


def test_missing_values_are_counted_apart() -> None:
    values = GENERATOR.normal(size=(2000, 2))
    values[::4, 1] = np.nan
    reference = Reference.of(["momentum", "volatility"], values)
    assert reference.counts[:, MISSING].tolist() == [0, 500]
    assert reference.count(np.array([[np.nan, 0.0]]))[:, MISSING].tolist() == [1, 0]


def test_values_beyond_the_reference_fall_into_its_outer_cells() -> None:
    reference = Reference.of(["momentum"], GENERATOR.normal(size=(2000, 1)))
    counts = reference.count(np.array([[-1e30], [1e30], [np.inf]]))
    assert (counts[0, 0], counts[0, CELLS - 1]) == (1, 2)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.zeros(3000), "volatility: .*vary"),
        (np.full(3000, np.nan), "volatility: .*at least 1000 values, found 0"),
        (np.arange(999.0), "volatility: .*at least 1000 values, found 999"),
        (np.r_[np.arange(3000.0), np.inf], "volatility: .*infinity"),
    ],
    ids=["constant", "all missing", "too few", "infinite"],
)
def test_a_column_that_cannot_be_watched_is_refused_by_name(values: np.ndarray, why: str) -> None:
    rows = np.column_stack([GENERATOR.normal(size=len(values)), values])
    if len(values) < 1000:
        rows = np.vstack([rows, np.full((2000, 2), np.nan)])
        rows[:, 0] = GENERATOR.normal(size=len(rows))
    with pytest.raises(ReferenceRefused, match=why):
        Reference.of(["momentum", "volatility"], rows)


def test_other_columns_than_named_are_refused() -> None:
    with pytest.raises(ReferenceRefused, match="2 columns"):
        Reference.of(["momentum", "volatility"], GENERATOR.normal(size=(3000, 3)))
