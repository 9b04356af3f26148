from __future__ import annotations

import numpy as np
import pytest

from promotion.evidence.errors import GapError, ShapeError
from promotion.evidence.stress import stress


def sessions(first: str, last: str) -> np.ndarray:
    days = np.arange(first, last, dtype="datetime64[D]")
    weekdays = days[np.is_busday(days)]
    return weekdays.astype("datetime64[ns]").astype(np.int64) + 21 * 3_600_000_000_000


def test_what_is_not_in_the_record_is_not_covered() -> None:
    times = sessions("2010-01-04", "2015-10-01")
    results = {result.window.name: result for result in stress(times, np.full(times.size, 0.001))}
    assert results["2008 credit crisis"].coverage == "not covered"
    assert results["2008 credit crisis"].sessions == 0
    assert np.isnan(results["2008 credit crisis"].total_return)
    assert results["August 2015"].coverage == "partly covered"
    assert results["August 2015"].total_return > 0
    assert results["2022 rates"].coverage == "not covered"


def test_ends_of_a_window_are_inside() -> None:
    times = sessions("2020-02-18", "2020-03-26")
    returns = np.zeros(times.size)
    returns[1], returns[2], returns[-2] = 9.0, 0.5, 9.0  # from the close of 19 February to that of 23 March
    (pandemic,) = (result for result in stress(times, returns) if result.window.name == "2020 pandemic")
    assert pandemic.coverage == "covered"
    assert pandemic.total_return == pytest.approx(0.5)
    assert pandemic.sessions == 24


def test_bad_input() -> None:
    times = sessions("2020-02-18", "2020-03-26")
    with pytest.raises(ShapeError, match="sort and align"):
        stress(times[:-1], np.zeros(times.size))
    with pytest.raises(ShapeError, match="sort and align"):
        stress(times[::-1], np.zeros(times.size))
    with pytest.raises(GapError):
        stress(times, np.full(times.size, np.nan))
