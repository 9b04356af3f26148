import numpy as np
import pytest

from features.errors import PanelError
from features.panel import Panel, Revisions
from features.specimen import specimen_panel


def panel(**changes: object) -> Panel:
    parts: dict[str, object] = {
        "input": "close",
        "values": np.array([[1.0, 2.0], [3.0, np.nan]]),
        "event_times_ns": np.array([10, 20]),
        "knowledge_times_ns": np.array([11, 21]),
        "instruments": ("AAA", "BBB"),
    }
    return Panel(**{**parts, **changes})  # type: ignore[arg-type]  # the tests pass wrong parts on purpose


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": np.zeros((2, 3))}, r"expected float64 values of shape \(2, 2\), found float64 \(2, 3\)"),
        ({"values": np.zeros((2, 2), np.float32)}, "found float32"),
        ({"knowledge_times_ns": np.array([11])}, "expected 2 knowledge times, found 1"),
        ({"instruments": ("AAA", "AAA")}, "found a duplicate"),
        ({"event_times_ns": np.array([20, 20])}, "rising"),
        ({"knowledge_times_ns": np.array([21, 20])}, "rising"),
        ({"knowledge_times_ns": np.array([9, 21])}, "before its event time"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(PanelError, match=message):
        panel(**changes)


def test_until_cuts_by_knowledge_time() -> None:
    assert panel().until(20).values.tolist() == [[1.0, 2.0]]
    assert panel().until(21).values.shape == (2, 2)
    assert panel().until(10).values.shape == (0, 2)


def test_revisions_are_undone_latest_first() -> None:
    at = np.array([0, 0])
    revisions = Revisions(np.array([30, 40]), at, at, np.array([7.0, 8.0]), np.array([8.0, 1.0]))
    revised = panel(revisions=revisions)
    assert revised.until(29).values[0, 0] == 7.0
    assert revised.until(30).values[0, 0] == 8.0
    assert revised.until(40).values[0, 0] == 1.0
    assert len(revised.until(30).revisions) == 1


def test_a_window_before_the_first_row_is_missing() -> None:
    window = panel().window_as_known(0, 3, 99)
    assert np.isnan(window[:2]).all()
    assert window[2].tolist() == [1.0, 2.0]


def test_the_specimen_is_the_same_everywhere() -> None:
    """Golden: computed by hand from Knuth's constants for the first value."""
    values = specimen_panel("close", rows=12, gaps=False).values
    state = (6364136223846793005 + 1442695040888963407) % 2**64
    assert values[0, 0] == (4096 + (state >> 40) % 257 - 128) / 64
    assert (values * 64 == np.round(values * 64)).all()
