"""A monitor for a home: its record, its rings, its scorer and its hand on the ledger, opened together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.calendars import open_calendar
from features.panel import Panel
from features.registry import load_features
from monitoring.actuator import LedgerActuator, policy_in_force
from monitoring.collector import Collector
from monitoring.decisions import DecisionStore
from monitoring.monitor import Monitor
from monitoring.release import SCORE, read_yardstick
from monitoring.scorer import ClientScorer
from monitoring.thresholds import Yardstick
from promotion.release.open import verify_release
from promotion.rollout import Rollout
from protos.client import AsyncClient
from signalbox.desk import Desk

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Outcomes:
    """What the market did, close to close.

    sessions_ns: int64 [time], closes. returns: float64 [time, instrument], into each close; NaN where unknown.
    """

    sessions_ns: npt.NDArray[np.int64]
    returns: Floats

    @classmethod
    def of(cls, closes: Panel) -> Outcomes:
        """The returns of a panel of closes; the first session has none."""
        returns = np.full_like(closes.values, np.nan)
        returns[1:] = closes.values[1:] / closes.values[:-1] - 1.0
        return cls(closes.event_times_ns, returns)

    def into(self, session_ns: int) -> Floats | None:
        """The returns into the close at `session_ns`, or None where there is no such session."""
        at = int(np.searchsorted(self.sessions_ns, session_ns))
        if at == len(self.sessions_ns) or self.sessions_ns[at] != session_ns:
            return None
        into: Floats = self.returns[at]
        return into

    def before(self, session_ns: int, sessions: int) -> Floats:
        """The returns of the last `sessions` sessions before the one that closes at `session_ns`."""
        at = int(np.searchsorted(self.sessions_ns, session_ns))
        return self.returns[max(1, at - sessions) : at]


@asynccontextmanager
async def open_monitor(
    desk: Desk, name: str, rollout: Rollout, *, addresses: Sequence[str], workers: int, history: Floats
) -> AsyncIterator[Monitor]:
    """The monitor of signal `name`, which asks the scorer at `addresses` and reads the rings of its workers.

    history: returns before the first session it will ever record, for the impact cost. PolicyRefused when the action
    policy of the configuration is not the one in force.
    """
    signal = desk.config.signals[name]
    policy = policy_in_force(desk.ledger.state(), desk.config.action)
    feature_set = load_features(signal.features)
    rings = [desk.home.ring(worker, feature_set.feature_set_id) for worker in range(workers)]

    def yardsticks(digest: str) -> Yardstick:
        principals = desk.ledger.state().principals
        contents = verify_release(desk.home, digest, environment=desk.config.environment, principals=principals)
        return read_yardstick(contents.files, policy)

    async with AsyncExitStack() as owned:
        client = await owned.enter_async_context(AsyncClient(*addresses))
        store = owned.enter_context(DecisionStore(desk.home.decisions))
        collector = owned.enter_context(Collector(rings, [*feature_set.names, SCORE]))
        monitor = Monitor(
            name,
            signal,
            policy,
            calendar=open_calendar(signal.calendar),
            clock=desk.clock,
            scorer=ClientScorer(client),
            actuator=LedgerActuator(rollout),
            store=store,
            collector=collector,
            yardsticks=yardsticks,
            history=history,
        )
        yield await owned.enter_async_context(monitor)
