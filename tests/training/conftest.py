"""A small market with a planted edge: 10 instruments, 5 years of sessions; and a home in which to train on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.batch import FeatureMatrix, compute
from features.blobs import BlobStore
from features.calendars import open_calendar
from features.definition import FeatureSet
from features.ingest import validate_long
from features.panel import Panel
from features.registry import load_features
from features.sessions import Calendar
from features.snapshot import Snapshot, write_snapshot
from features.source import SourceTerms
from promotion.config import Config, Construction, Costs, GatePolicy, Limits, Signal, Threshold
from promotion.home import Home
from promotion.identity import KeyStore, Signer
from promotion.ledger.store import SqliteLedger
from promotion.rollout import found_ledger
from training.plan import Candidate, Plan
from training.provenance import Provenance
from training.run import Run, train_run
from training.samples import Samples, make_samples
from training.sweep import Actor
from training.tracking import Tracker
from training.validate import Validated, validate_run

DELAY_NS = 15 * 60 * 10**9
FEATURES = ("return_1", "return_5", "return_21", "volatility_21", "rank_return_5", "score_return_21")
SESSIONS, INSTRUMENTS = 1260, 10
PROVENANCE = Provenance("0" * 40, "1" * 64)
PRINCIPALS = {
    "alice": ["researcher"],
    "vera": ["validator"],
    "olga": ["approver", "operator"],
    "boris": ["approver"],
}


class StoppedClock:
    """A clock that stands still: nothing in a release may depend on it."""

    def __init__(self, now_ns: int = 1_700_000_000 * 10**9) -> None:
        self.at_ns = now_ns

    def now_ns(self) -> int:
        return self.at_ns


@dataclass(frozen=True)
class Bench:
    """A home with a founded ledger, a snapshot of the small market, and those who act in it."""

    home: Home
    config: Config
    snapshot: Snapshot
    author: Actor
    validator: Actor
    keys: KeyStore

    @property
    def alice(self) -> Signer:
        return self.author.signer

    @property
    def signal(self) -> Signal:
        return self.config.signals["reversal"]

    def train(self, plan: Plan, tracker: Tracker | None = None) -> Run:
        return train_run(
            self.home,
            self.config,
            signal="reversal",
            snapshot=self.snapshot,
            plan=plan,
            provenance=PROVENANCE,
            actor=self.author,
            tracker=tracker,
        )

    def validate(self, run: Run) -> Validated:
        return validate_run(self.home, self.config, run, author=self.alice, validator=self.validator)


@pytest.fixture(scope="session")
def calendar() -> Calendar:
    return open_calendar("XNYS")


@pytest.fixture(scope="session")
def feature_set() -> FeatureSet:
    return load_features(FEATURES)


@pytest.fixture(scope="session")
def panel(calendar: Calendar) -> Panel:
    """Prices that revert over a week: last week's losers gain, so that there is something to learn."""
    generator = np.random.default_rng(3)
    returns = generator.normal(0, 0.01, (SESSIONS, INSTRUMENTS))
    for at in range(6, SESSIONS):
        returns[at] -= 0.1 * returns[at - 6 : at - 1].sum(axis=0)
    closes = 100 * np.cumprod(1 + returns, axis=0)
    first = int(np.searchsorted(calendar.sessions, np.datetime64("2001-01-01")))
    times = calendar.closes_ns[first : first + SESSIONS]
    names = tuple(f"S{at}" for at in range(INSTRUMENTS))
    return Panel("close_adjusted_final", closes, times, times + DELAY_NS, names)


@pytest.fixture(scope="session")
def matrix(feature_set: FeatureSet, panel: Panel) -> FeatureMatrix:
    return compute(feature_set, panel)


@pytest.fixture(scope="session")
def samples(matrix: FeatureMatrix, panel: Panel, calendar: Calendar) -> Samples:
    return make_samples(matrix, panel, calendar=calendar, horizon_sessions=5, execution_lag_sessions=1)


@pytest.fixture(scope="session")
def config(panel: Panel) -> Config:
    signal = Signal(
        owner="research",
        universe=panel.instruments,
        features=FEATURES,
        horizon_sessions=5,
        calendar="XNYS",
        latency_budget_us=2000,
        limits=Limits(max_abs_score=5.0, max_scores_per_second=1000),
        construction=Construction(smoothing_sessions=5),
        costs=Costs(half_spread_bps=1.0, impact_coefficient=0.5, adv_assumed_usd=5e8, capital_usd=1e6),
    )
    gate = GatePolicy(thresholds=(Threshold(metric="sharpe_annual", at_least=0.5),))
    return Config(environment="replay", signals={"reversal": signal}, sources={}, gates={"replay": gate})


@pytest.fixture(scope="session")
def prices(panel: Panel, calendar: Calendar) -> pl.DataFrame:
    """The small market in long form, as a file would state it."""
    days = [str(calendar.session_of(int(ns))) for ns in panel.event_times_ns]
    return pl.DataFrame(
        {
            "instrument": np.tile(panel.instruments, SESSIONS),
            "event_time": np.repeat(days, INSTRUMENTS),
            "close": panel.values.reshape(-1),
        }
    )


def make_bench(root: Path, config: Config, prices: pl.DataFrame, ledger: SqliteLedger, clock: StoppedClock) -> Bench:
    home = Home(root)
    terms = SourceTerms("a made-up market that reverts", "none", "XNYS", DELAY_NS)
    frame = validate_long(prices, source=terms, now_ns=clock.now_ns())
    snapshot = write_snapshot(frame, source_name="made_up", source=terms, store=BlobStore(home.blobs))
    keys = KeyStore(home.keys)
    found_ledger(ledger, keys, environment="replay", principals=PRINCIPALS, clock=clock)
    author, validator = (Actor(ledger, keys.signer(name), clock) for name in ("alice", "vera"))
    return Bench(home, config, snapshot, author, validator, keys)


@pytest.fixture
def bench(tmp_path: Path, config: Config, prices: pl.DataFrame) -> Iterator[Bench]:
    """A home of its own for one test."""
    with SqliteLedger(tmp_path / "ledger.db") as ledger:
        yield make_bench(tmp_path, config, prices, ledger, StoppedClock())


@pytest.fixture(scope="session")
def plan() -> Plan:
    """Two candidates and a baseline over three years of test."""
    candidates = (
        Candidate(trainer="ridge", baseline=True),
        Candidate(trainer="lightgbm", parameters={"trees": 40, "min_data_in_leaf": 100}),
        Candidate(trainer="lightgbm", parameters={"trees": 20, "num_leaves": 4, "min_data_in_leaf": 100}, seed=2),
    )
    return Plan(
        label="small",
        as_of=date(2005, 12, 31),
        first_test=date(2003, 1, 1),
        candidates=candidates,
        step_sessions=252,
        reference_sessions=504,
    )


@dataclass(frozen=True)
class Trained:
    """What one whole pass gave; tests of one module share it."""

    bench: Bench
    run: Run
    validated: Validated


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, config: Config, prices: pl.DataFrame, plan: Plan
) -> Iterator[Trained]:
    """One run, trained and validated; nobody may write into its home."""
    root = tmp_path_factory.mktemp("trained")
    with SqliteLedger(root / "ledger.db") as ledger:
        bench = make_bench(root, config, prices, ledger, StoppedClock())
        run = bench.train(plan)
        yield Trained(bench, run, bench.validate(run))


@pytest.fixture
def another_bench(tmp_path: Path, config: Config, prices: pl.DataFrame) -> Iterator[Bench]:
    """A second home elsewhere, at another time."""
    with SqliteLedger(tmp_path / "ledger.db") as ledger:
        later = StoppedClock(1_800_000_000 * 10**9)
        yield make_bench(tmp_path / "else" / "where", config, prices, ledger, later)
