"""The home that load tests serve: product code alone, releases in the order of their promotion."""

from __future__ import annotations

import numpy as np
import pytest

from features.row import decode_row
from loadtests.harness.small_home import SmallHome, make_small_home, open_small_home
from loadtests.harness.small_release import SIGNAL, linear_model
from promotion.ledger.store import SqliteLedger
from serving.feed.row_keys import read_row_keys

COLUMNS = 3


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallHome:
    root = tmp_path_factory.mktemp("small") / "home"
    return make_small_home(root, [linear_model(1.0), linear_model(2.0)], columns=COLUMNS, instruments=5)


def test_the_last_release_is_live_and_the_first_is_what_a_rollback_goes_to(small: SmallHome) -> None:
    first, second = small.releases
    with SqliteLedger(small.home.ledger) as ledger:
        state = ledger.state().signal(SIGNAL)
    assert (state.live, state.previous, state.weight) == (second, first, 1.0)


def test_a_home_is_opened_as_it_was_made(small: SmallHome) -> None:
    assert open_small_home(small.home.root) == small


def test_rows_are_signed_with_the_homes_key(small: SmallHome) -> None:
    values = np.arange(5 * COLUMNS, dtype=np.float32).reshape(5, COLUMNS)
    rows = [decode_row(row, read_row_keys(small.home)) for row in small.rows(values, sequence=7, known_ns=10**18)]
    assert [row.instrument for row in rows] == list(small.universe)
    assert {row.sequence for row in rows} == {7}
    assert np.array_equal(np.stack([row.values for row in rows]), values)
