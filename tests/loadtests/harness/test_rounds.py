"""Rounds over real echoes; a probe that fails is named and costs no other its readings."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from loadtests.clients import h2load
from loadtests.harness.questions import EchoQuestion
from loadtests.harness.readings import Load, Reading
from loadtests.harness.rounds import Contestant, NoReading, Readings, interleave
from loadtests.harness.servers import Launch, PeerMissing
from loadtests.peers.echoes import aio_echo

ECHO = EchoQuestion(b"x" * 100)
FEW = Load(in_flight=4)


def reading(per_second: float, others: float = 0.0) -> Reading:
    return Reading(100, per_second, 60.0, 55.0, 90.0, 10.0, others)


def nowhere() -> Launch:
    raise PeerMissing("nowhere: expected a server, found none; install one")


@pytest.mark.skipif(shutil.which("h2load") is None, reason="needs Debian's nghttp2-client")
def test_what_fails_is_left_out_and_named() -> None:
    wrong = replace(ECHO, path="/bench.Echo/Nothing")
    contestants = [
        Contestant("echo", aio_echo, (h2load.probe("echo", ECHO, FEW), h2load.probe("wrong", wrong, FEW))),
        Contestant("nowhere", nowhere, (h2load.probe("nowhere", ECHO, FEW),)),
    ]
    readings = interleave(contestants, rounds=1, seconds=0.05)
    assert readings.median("echo", "per_second") > 0
    with pytest.raises(NoReading, match="UNIMPLEMENTED"):
        readings.median("wrong", "per_second")
    with pytest.raises(NoReading, match="install one"):
        readings.ratios("echo", "nowhere", "per_second")


def test_numbers_are_taken_round_by_round() -> None:
    readings = Readings({"a": [reading(10), reading(30), reading(20)], "b": [reading(5), reading(10, 0.3), reading(5)]})
    assert readings.median("a", "per_second") == 20
    assert readings.ratios("a", "b", "per_second") == [2, 3, 4]
    assert (readings.others("a"), readings.others()) == (0.0, 0.3)
