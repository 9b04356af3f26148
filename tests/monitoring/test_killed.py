"""kill -9 at any moment: no session is lost or doubled, no action is taken twice, and the figures are the same bits."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.clock import SystemClock
from monitoring.actuator import LedgerActuator
from monitoring.decision import Planned
from monitoring.policy import Standing
from promotion.identity import KeyStore
from promotion.ledger.store import SqliteLedger
from promotion.rollout import Rollout

A = "a" * 64
SESSIONS = 60
TABLES = ("decisions", "outcomes", "results", "cells", "watched", "memories", "actions")


class Played:
    """A home in which a release loses its skill, played by processes that may be killed and started again."""

    def __init__(self, desk: Any, founded: Callable[..., Rollout], folder: Path) -> None:
        self.desk, self.folder = desk, folder
        folder.mkdir()
        desk.world.skill = lambda release, session: 1.0 if release == A or session < 20 else -3.0
        with SqliteLedger(folder / "ledger.db") as ledger:
            founded(ledger, KeyStore(folder / "keys"), SystemClock())

    def process(self, *, die: Callable[[], object], actuator: type[LedgerActuator] = LedgerActuator) -> bool:
        """Plays on in a process of its own, which `die` may arrange the death of; True when it played to the end."""
        child = os.fork()
        if child == 0:
            try:
                die()
                asyncio.run(self._play(actuator))
                os._exit(0)
            finally:
                os._exit(1)
        return os.waitpid(child, 0)[1] == 0

    async def _play(self, actuator: type[LedgerActuator]) -> None:
        self.desk.folder = self.folder
        with SqliteLedger(self.folder / "ledger.db") as ledger:
            self.desk.actuator = actuator(Rollout(ledger, KeyStore(self.folder / "keys"), self.desk.clock))
            async with self.desk as desk:
                last = desk.monitor.last_session_ns
                first = 0 if last is None else desk.session_of(last) + 1
                for session in range(first, SESSIONS):
                    await desk.play(session)

    def record(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything recorded, but how an action ended: a restart may say it in other words."""
        with sqlite3.connect(self.folder / "decisions.db") as connection:
            rows = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
        connection.close()
        rows["actions"] = [row[:-1] for row in rows["actions"]]
        return rows

    def acts(self) -> list[tuple[str, Any]]:
        """What the ledger says the monitor did."""
        with SqliteLedger(self.folder / "ledger.db") as ledger:
            return [(entry.kind, entry.payload) for entry in ledger.entries() if entry.actor == "monitor"]


@pytest.fixture
def make(desk: Any, founded_ledger: Callable[..., Rollout], tmp_path: Path) -> Callable[[str], Played]:
    return lambda name: Played(desk, founded_ledger, tmp_path / name)


def die_after(calls: int) -> Callable[[], None]:
    """Arranges a SIGKILL to oneself after so many function calls from now: any moment, but the same one each time."""

    def arrange() -> None:
        left = calls

        def count(_frame: Any, event: str, _argument: Any) -> None:
            nonlocal left
            left -= event in ("call", "c_call")
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(count)

    return arrange


def live_on() -> None:
    """No death is arranged."""


def test_killed_at_random_moments_it_records_what_an_undisturbed_monitor_does(make: Callable[[str], Played]) -> None:
    calm, killed = make("calm"), make("killed")
    assert calm.process(die=live_on)
    assert [kind for kind, _ in calm.acts()] == ["weight", "rolled_back"]
    moments = np.random.default_rng(11)
    deaths = 0
    while not killed.process(die=die_after(int(moments.integers(3_000, 40_000)))):
        deaths += 1
        assert deaths < 500, "it never gets to the end"
    assert deaths >= 10
    assert killed.acts() == calm.acts()
    assert killed.record() == calm.record()


class DiesBefore(LedgerActuator):
    """Is killed when its action is recorded, but not in the ledger."""

    async def act(self, planned: Planned) -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return await super().act(planned)


class DiesAfter(LedgerActuator):
    """Is killed when its action is in the ledger, but not known to be done."""

    async def act(self, planned: Planned) -> str:
        await super().act(planned)
        os.kill(os.getpid(), signal.SIGKILL)
        return ""


class DiesKnowing(LedgerActuator):
    """Is killed when it looks at what its action made of the signal."""

    acted = False

    async def act(self, planned: Planned) -> str:
        type(self).acted = True
        return await super().act(planned)

    def standing(self, signal_name: str) -> Standing:
        if type(self).acted:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().standing(signal_name)


@pytest.mark.parametrize("mortal", [DiesBefore, DiesAfter, DiesKnowing])
def test_killed_around_an_action_it_is_taken_once(make: Callable[[str], Played], mortal: type[LedgerActuator]) -> None:
    calm, killed = make("calm"), make("killed")
    assert calm.process(die=live_on)
    assert not killed.process(die=live_on, actuator=mortal), "the cut"
    assert killed.process(die=live_on)
    assert killed.acts() == calm.acts()
    assert killed.record() == calm.record()
