"""Counting sessions without data."""

from __future__ import annotations

from monitoring.silence import Silence


def test_what_was_never_there_is_missing_since_the_watch_began() -> None:
    silence = Silence("rows")
    for session in (100, 101, 102):
        silence.observe(session, set())
    assert silence.lengths() == {"monitor": 0, "rows": 3}


def test_data_ends_a_silence() -> None:
    silence = Silence("rows")
    silence.observe(100, set())
    silence.observe(101, {"rows"})
    assert silence.lengths()["rows"] == 0


def test_sessions_that_the_monitor_skipped_are_its_own_silence() -> None:
    silence = Silence("rows")
    silence.observe(100, {"rows"})
    silence.observe(104, {"rows"})
    assert silence.lengths() == {"monitor": 3, "rows": 0}
    silence.observe(105, {"rows"})
    assert silence.lengths() == {"monitor": 0, "rows": 0}
