"""A small world: ten instruments that wander, a release whose scores know where to, and a monitor over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from features.calendars import open_calendar
from features.canonical import identity
from features.clock import Clock, ReplayClock, SystemClock
from monitoring.collector import Collector
from monitoring.decisions import DecisionStore
from monitoring.monitor import Monitor
from monitoring.policy import Standing
from monitoring.release import SCORE
from monitoring.testing import MemoryActuator, ScriptedScorer
from monitoring.thresholds import Yardstick
from promotion.config import ActionPolicy, Construction, Costs, GatePolicy, Limits, Signal
from promotion.evidence.nulls import drift_nulls, sharpe_nulls
from promotion.identity import KeyStore
from promotion.ledger.kinds import Plan, Registered
from promotion.ledger.store import SqliteLedger
from promotion.record import RingWriter
from promotion.rollout import Rollout, found_ledger

NAMES = ("momentum", "volatility")
UNIVERSE = tuple(f"S{i}" for i in range(10))
A, B = "a" * 64, "b" * 64
WINDOW = 5
POLICY = ActionPolicy(
    sharpe_window_sessions=WINDOW,
    drift_window_sessions=WINDOW,
    dwell_sessions=3,
    grace_sessions=2,
    cooldown_sessions=20,
    false_cuts_per_year=0.5,
)
SIGNAL = Signal(
    owner="research",
    universe=UNIVERSE,
    features=NAMES,
    horizon_sessions=1,
    calendar="XNYS",
    latency_budget_us=1000,
    limits=Limits(max_abs_score=10.0, max_scores_per_second=1000),
    construction=Construction(max_weight=0.5),
    costs=Costs(half_spread_bps=1.0, impact_coefficient=0.1, adv_assumed_usd=1e9, capital_usd=1e6),
)
CALENDAR = open_calendar("XNYS")
FIRST = CALENDAR.session_index(np.datetime64("2015-01-05"))
HOUR_NS = 3_600_000_000_000


@pytest.fixture(scope="session")
def yardstick() -> Yardstick:
    generator = np.random.default_rng(1)
    reference = generator.normal(size=(300, len(UNIVERSE), len(NAMES) + 1)).astype(np.float32)
    drift = drift_nulls(reference, window_sessions=WINDOW, draws=20)
    sharpe = sharpe_nulls(generator.normal(2e-3, 1e-2, 1000), window=WINDOW, draws=100)
    return Yardstick.of([*NAMES, SCORE], reference, drift, sharpe, POLICY)


@dataclass
class World:
    """What happens outside the monitor, by session number; deterministic, so that it can be played again."""

    skill: Callable[[str, int], float] = lambda release, session: 1.0
    feature: Callable[[int, np.ndarray], np.ndarray] = lambda session, values: values
    answers: Callable[[int], bool] = lambda session: True
    outcomes: Callable[[int], bool] = lambda session: True
    session: int = 0
    moves: np.ndarray = field(default_factory=lambda: np.random.default_rng(2).normal(0, 0.01, (4000, 10)))
    noise: np.ndarray = field(default_factory=lambda: np.random.default_rng(3).normal(0, 0.01, (4000, 10)))

    def returns(self, session: int) -> np.ndarray | None:
        return self.moves[session] if self.outcomes(session) else None

    def scores(self, release: str) -> Sequence[float] | None:
        """Scores of the session: they know the return that the decision will earn as far as `skill` says."""
        if not self.answers(self.session):
            return None
        known = self.skill(release, self.session)
        return list((known * self.moves[self.session + 2] + self.noise[self.session]) * 50)

    def rows(self, session: int) -> np.ndarray:
        """What the ring gets: a score and the features, an instrument a row."""
        values = np.random.default_rng(1000 + session).normal(size=(len(UNIVERSE), 1 + len(NAMES)))
        return self.feature(session, values).astype(np.float32)


@dataclass
class Desk:
    """A monitor with everything it needs, made anew by `open` as after a start of the process."""

    folder: Path
    world: World
    yardstick: Yardstick
    policy: ActionPolicy = POLICY
    ring: RingWriter | None = None
    actuator: Any = field(
        default_factory=lambda: MemoryActuator(
            Standing(generation=2, live=B, previous=A, weight=1.0, posture="NORMAL", frozen=False)
        )
    )
    clock: ReplayClock = field(default_factory=lambda: ReplayClock("replay"))
    keep_ring: bool = False

    async def __aenter__(self) -> Desk:
        self._stack = ExitStack()
        path = self.folder / "0.ring"
        if not self.keep_ring:
            self.ring = self._stack.enter_context(
                RingWriter(path, feature_set_id="f" * 64, columns=NAMES, instruments=UNIVERSE)
            )
        self.store = self._stack.enter_context(DecisionStore(self.folder / "decisions.db"))
        self.collector = self._stack.enter_context(Collector([path], [*NAMES, SCORE]))
        self.clock.advance_to((self.store.last_session_ns("pair") or -HOUR_NS) + HOUR_NS)
        self.monitor = Monitor(
            "pair",
            SIGNAL,
            self.policy,
            calendar=CALENDAR,
            clock=self.clock,
            scorer=ScriptedScorer(lambda release: self.world.scores(release), lambda: self.actuator.standing("pair")),
            actuator=self.actuator,
            store=self.store,
            collector=self.collector,
            yardsticks=lambda release: self.yardstick,
            history=np.full((3, len(UNIVERSE)), 0.01),
        )
        await self.monitor.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        self._stack.close()

    def close_of(self, session: int) -> int:
        return CALENDAR.close_at(FIRST + session)

    def session_of(self, close_ns: int) -> int:
        return CALENDAR.index_at(close_ns) - FIRST

    async def play(self, session: int):  # type: ignore[no-untyped-def] # tests read the record's fields
        self.world.session = session
        close = self.close_of(session)
        self.clock.advance_to(close + HOUR_NS)
        self.write_rows(session)
        return await self.monitor.session(close, self.world.returns(session))

    def write_rows(self, session: int) -> None:
        live = self.actuator.standing("pair").live
        if self.ring is None or not live or not self.world.answers(session):
            return
        rows = self.world.rows(session)
        close = self.close_of(session)
        self.ring.write(
            scored_at_ns=close + HOUR_NS,
            event_time_ns=np.full(len(UNIVERSE), close),
            knowledge_time_ns=np.full(len(UNIVERSE), close + HOUR_NS),
            instrument=np.arange(len(UNIVERSE)),
            release=self.ring.release_index(live),
            status=np.zeros(len(UNIVERSE), dtype=np.uint8),
            score=rows[:, 0],
            values=rows[:, 1:],
        )


def founded(ledger: SqliteLedger, keys: KeyStore, clock: Clock) -> Rollout:
    """A ledger in which A, then B, were promoted with weight 1; nobody looks at the releases themselves."""
    people = {"alice": ("researcher", "operator"), "bob": ("validator",), "carol": ("approver",), "dora": ("approver",)}
    found_ledger(ledger, keys, environment="replay", principals={**people, "monitor": ("monitor",)}, clock=clock)
    rollout = Rollout(ledger, keys, clock)
    for name, policy in (("gates.replay", GatePolicy(thresholds=())), ("action", POLICY)):
        rollout.approve_policy(rollout.propose_policy(name, policy, as_="alice"), as_="carol")
    for digest in (A, B):
        _promote(rollout, digest)
    return rollout


def _promote(rollout: Rollout, digest: str) -> None:
    registered = Registered(
        release=digest,
        environment="replay",
        author="alice",
        validator="bob",
        snapshot_id="c" * 64,
        feature_set_id="f" * 64,
        max_weight="1.0",
        as_of_ns=0,
    )
    rollout.append("release_registered", msgspec.to_builtins(registered), as_="bob", signal="pair")
    state = rollout.ledger.state()
    plan = Plan(
        signal="pair",
        release=digest,
        stage="live",
        environment="replay",
        generation=state.signal("pair").generation,
        replaces=state.signal("pair").live or "",
        weight="1.0",
        policy=state.policies["gates.replay"].identity,
        trials=0,
        passed=True,
        measured={},
    )
    form = msgspec.to_builtins(plan)
    rollout.append("plan_proposed", form, as_="alice", signal="pair")
    rollout.approve(identity(form), as_="carol")
    promoted = {"plan": identity(form), "release": digest, "stage": "live"}
    rollout.append("promoted", promoted, as_="alice", signal="pair", expected_generation=plan.generation)


@pytest.fixture
def founded_ledger() -> Callable[[SqliteLedger, KeyStore, Clock], Rollout]:
    return founded


@pytest.fixture
def rollout(tmp_path: Path) -> Iterator[Rollout]:
    with SqliteLedger(tmp_path / "ledger.db") as ledger:
        yield founded(ledger, KeyStore(tmp_path / "keys"), SystemClock())


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def desk(tmp_path: Path, world: World, yardstick: Yardstick) -> Desk:
    return Desk(tmp_path, world, yardstick)
