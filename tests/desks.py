"""The desk of the tests: a small home founded by hand, in environment replay, with people and a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from loadtests.harness.desk import Desk, People
from loadtests.harness.small_release import SIGNAL, linear_model, release_parts
from promotion.config import Config, Construction, Costs, GatePolicy, Limits, Signal, Source, Threshold
from promotion.home import Home
from promotion.ledger.store import SqliteLedger
from promotion.release.build import ReleaseParts
from promotion.rollout import found_ledger

COLUMNS = ("momentum", "reversal", "volatility")
UNIVERSE = ("AAA", "BBB", "CCC", "DDD")
PRINCIPALS = {
    "alice": ("researcher", "operator"),
    "bob": ("validator", "approver"),
    "carol": ("approver",),
    "monitor": ("monitor",),
    "switch": ("kill_switch",),
}
PEOPLE = People(researcher="alice", validator="bob", operator="alice", approver="carol")
TRIAL = "03559f2094070f91"  # what the first trial of every desk is called

AnyDesk = TypeVar("AnyDesk", bound=Desk)


@dataclass
class ManualClock:
    """Time as the test says."""

    now: int = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        self.now += 1_000
        return self.now


def make_config() -> Config:
    signal = Signal(
        owner="desk",
        universe=UNIVERSE,
        features=COLUMNS,
        horizon_sessions=5,
        calendar="XNYS",
        latency_budget_us=1000,
        limits=Limits(max_capital_weight=1.0, max_abs_score=100.0, max_scores_per_second=1_000_000),
        construction=Construction(),
        costs=Costs(half_spread_bps=1.0, impact_coefficient=0.5, adv_assumed_usd=1e9, capital_usd=1e7),
    )
    return Config(
        environment="replay",
        signals={SIGNAL: signal},
        sources={"made": Source(description="made here", licence="none", calendar="XNYS", delay_minutes=15.0)},
        gates={"replay": GatePolicy(thresholds=(Threshold(metric="observations", at_least=100.0),))},
    )


def make_parts(slope: float = 1.0, **changes: Any) -> ReleaseParts:
    """The parts of every desk's release."""
    facts = {"tried": TRIAL, "environment": "replay"} | changes
    return release_parts(make_config().signals[SIGNAL], linear_model(slope), **facts)


@contextmanager
def open_desk(root: Path, kind: type[AnyDesk]) -> Iterator[AnyDesk]:
    """A founded ledger with one trial in it; no policy in force, and no release."""
    home = Home(root)
    with SqliteLedger(home.ledger) as ledger:
        desk = kind(home, ledger, make_config(), PEOPLE, ManualClock())
        found_ledger(ledger, desk.keys, environment="replay", principals=PRINCIPALS, clock=desk.clock)
        desk.try_once()
        yield desk
