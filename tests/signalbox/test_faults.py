"""The demo's faults do what they say, and nothing before their day."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from features.calendars import open_calendar
from features.panel import Panel
from protos.signalbox.v1 import scorer_pb2
from signalbox.demo.faults import Decay, ScaledInput
from signalbox.desk import end_of_day_ns

RELEASE, OTHER = "a" * 64, "b" * 64
CALENDAR = open_calendar("XNYS")
START = end_of_day_ns(dt.date(2016, 1, 4))


def reply(known_ns: int, release: str = RELEASE) -> scorer_pb2.ScoreReply:
    scores = np.array([0.1, -0.2, np.nan, 0.4], "<f4")
    return scorer_pb2.ScoreReply(
        generation=1,
        releases=[release],
        scores=scores.tobytes(),
        release_index=bytes(4),
        knowledge_time_unix_ns=np.full(4, known_ns, "<i8").tobytes(),
    )


def decayed(known_ns: int, release: str = RELEASE) -> np.ndarray:
    message = reply(known_ns, release)
    Decay(RELEASE, START, 60, CALENDAR).apply(message)
    return np.frombuffer(message.scores, "<f4")


CLEAN = np.frombuffer(reply(0).scores, "<f4")


def test_nothing_decays_before_its_day_or_of_another_release() -> None:
    np.testing.assert_array_equal(decayed(START - 1), CLEAN)
    np.testing.assert_array_equal(decayed(START + 10**17, OTHER), CLEAN)


def test_scores_turn_to_noise_and_a_question_keeps_its_answer() -> None:
    later = CALENDAR.close_at(CALENDAR.index_at(START) + 100)
    first, second = decayed(later), decayed(later)
    np.testing.assert_array_equal(first, second)
    assert np.isnan(first[2])
    assert not np.isclose(first[[0, 1, 3]], CLEAN[[0, 1, 3]]).any()
    noise = np.concatenate([decayed(later + step)[[0, 1, 3]] for step in range(300)])
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(CLEAN[[0, 1, 3]].std(), rel=0.1)


def test_the_decay_is_gradual() -> None:
    soon = CALENDAR.close_at(CALENDAR.index_at(START) + 6)  # a tenth of the way
    difference = decayed(soon)[[0, 1, 3]] - 0.9 * CLEAN[[0, 1, 3]]
    assert np.abs(difference).max() < 0.1 * 4 * CLEAN[[0, 1, 3]].std()


def test_scaled_prices_are_those_of_the_stated_sessions() -> None:
    closes = CALENDAR.closes_ns[100:110]
    values = np.arange(1.0, 21.0).reshape(10, 2)
    panel = Panel("close", values, closes, closes + 1, ("A", "B"))
    spoiled = ScaledInput("return_21", int(closes[3]), 4, 100.0).spoil(panel)
    np.testing.assert_array_equal(spoiled.values[3:7], values[3:7] * 100)
    np.testing.assert_array_equal(spoiled.values[[0, 1, 2, 7, 8, 9]], values[[0, 1, 2, 7, 8, 9]])
