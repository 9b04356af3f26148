"""A small Signalbox to serve: a ledger, two promoted releases of a linear model, row keys, a configuration."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from features.row import FeatureRow, encode_row
from promotion.config import Config, Construction, Costs, GatePolicy, Limits, Signal, Source, Threshold
from promotion.evidence.assess import AssessmentInputs, Parity, assess
from promotion.evidence.performance import performance
from promotion.home import Home
from promotion.identity import KeyStore
from promotion.ledger.store import SqliteLedger
from promotion.ledger.trials import Family, trial
from promotion.lineage import register_release
from promotion.promote import plan_promotion, promote
from promotion.release.arrays import from_npz, to_npz
from promotion.release.build import ReleaseParts, build_release
from promotion.release.files import read_release
from promotion.release.golden import make_golden
from promotion.rollout import Rollout, found_ledger
from serving.feed.row_keys import create_row_key

COLUMNS = ("momentum", "reversal", "volatility")
UNIVERSE = ("AAA", "BBB", "CCC", "DDD")
SET_ID = bytes.fromhex("ab" * 32)
DAY_NS = 86_400_000_000_000
FIRST_NS = 1_300_000_000_000_000_000
PRINCIPALS = {"alice": ("researcher", "operator"), "bob": ("validator", "approver"), "carol": ("approver",)}
FAMILY = Family("return_5", UNIVERSE, "cd" * 32)
POLICY = GatePolicy(thresholds=(Threshold(metric="observations", at_least=100.0),))


@dataclass
class ManualClock:
    now: int = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        self.now += 1_000
        return self.now


@dataclass
class Desk:
    """A home whose signal `large_caps` was promoted: slope 1 first, then slope 2 (live, weight 1)."""

    home: Home
    config: Config
    ledger: SqliteLedger
    keys: KeyStore
    row_key: bytes
    releases: tuple[str, ...] = ()

    @property
    def rollout(self) -> Rollout:
        return Rollout(self.ledger, self.keys, ManualClock())

    def promote(self, slope: float) -> str:
        parts = release_parts(slope)
        digest = build_release(self.home, parts, author=self.keys.signer("alice"), validator=self.keys.signer("bob"))
        register_release(self.rollout, read_release(self.home.releases / digest, digest).manifest, as_="bob")
        planned = plan_promotion(self.rollout, self.home, digest, as_="alice")
        self.rollout.approve(planned.hash, as_="carol")
        promote(self.rollout, self.home, planned.hash, as_="alice")
        self.releases = (*self.releases, digest)
        return digest

    def rows(self, session: int, values: Any = None, *, instruments: Sequence[str] = UNIVERSE) -> list[bytes]:
        """One encoded row per instrument; the default values of instrument i are i+1 in every column."""
        if values is None:
            values = np.repeat(np.arange(1.0, len(instruments) + 1)[:, None], len(COLUMNS), axis=1)
        known_ns = FIRST_NS + session * DAY_NS
        return [
            encode_row(
                FeatureRow(SET_ID, name, known_ns - 60, known_ns, session, known_ns + DAY_NS, np.float32(values[at])),
                key_id=1,
                key=self.row_key,
            )
            for at, name in enumerate(instruments)
        ]


@pytest.fixture
def empty_desk(tmp_path: Path) -> Iterator[Desk]:
    """A founded ledger with a policy in force, and no release."""
    home = Home(tmp_path / "home")
    keys = KeyStore(home.keys)
    row_key = create_row_key(home)
    clock = ManualClock()
    with SqliteLedger(home.ledger) as ledger:
        desk = Desk(home, make_config(), ledger, keys, row_key)
        found_ledger(ledger, keys, environment="replay", principals=PRINCIPALS, clock=clock)
        with trial(ledger, FAMILY, {}, signer=keys.signer("alice"), clock=clock) as under_way:
            under_way.finish(backtest()["net"].tobytes())
        proposal = desk.rollout.propose_policy("gates.replay", POLICY, as_="alice")
        desk.rollout.approve_policy(proposal, as_="carol")
        yield desk
    shutil.rmtree(home.ring(0, SET_ID.hex()).parent, ignore_errors=True)  # rings outlive their workers


@pytest.fixture
def desk(empty_desk: Desk) -> Desk:
    empty_desk.promote(1.0)
    empty_desk.promote(2.0)
    return empty_desk


@pytest.fixture
def config() -> Config:
    return make_config()


@pytest.fixture
def make_row() -> Callable[..., FeatureRow]:
    def make(instrument: str = "AAA", sequence: int = 0, **changes: Any) -> FeatureRow:
        known_ns = changes.pop("knowledge_time_ns", FIRST_NS + sequence * DAY_NS)
        facts: dict[str, Any] = {
            "feature_set_id": SET_ID,
            "instrument": instrument,
            "event_time_ns": known_ns - 60,
            "knowledge_time_ns": known_ns,
            "sequence": sequence,
            "valid_until_ns": known_ns + DAY_NS,
            "values": np.ones(len(COLUMNS), np.float32),
        }
        return FeatureRow(**(facts | changes))

    return make


def make_config() -> Config:
    source = Source(description="made here", licence="none", calendar="XNYS", delay_minutes=15.0)
    return Config(
        environment="replay",
        signals={"large_caps": signal_config()},
        sources={"made": source},
        gates={"replay": POLICY},
    )


def signal_config() -> Signal:
    return Signal(
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


@lru_cache
def linear_model(slope: float) -> bytes:
    weights = numpy_helper.from_array(np.full((len(COLUMNS), 1), slope, dtype=np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["score"], name="scores")],
        "signal",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", len(COLUMNS)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="signalbox")
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def release_parts(slope: float) -> ReleaseParts:
    return ReleaseParts(
        signal="large_caps",
        environment="replay",
        config=signal_config(),
        files=release_files(slope),
        feature_set_id=SET_ID.hex(),
        snapshot_id="cd" * 32,
        kernel_fingerprint="ef" * 32,
        as_of_ns=1_293_739_200_000_000_000,
        trials=FAMILY,
        commit="0123abc",
        lock_hash="12" * 32,
    )


@lru_cache
def release_files(slope: float) -> dict[str, bytes]:
    model = linear_model(slope)
    features = np.random.default_rng(7).normal(size=(64, len(COLUMNS))).astype(np.float32)
    book = backtest()
    inputs = AssessmentInputs(
        sessions_ns=book["sessions_ns"],
        weights=book["weights"],
        asset_returns=book["asset_returns"],
        costs=signal_config().costs,
        trial_returns=book["net"][:, None],
        trials_opened=1,
        parity=Parity(64, 0.0, 0.0),
        history=book["history"],
    )
    golden = make_golden(model, features)
    return {
        "model.onnx": model,
        "golden.npz": golden,
        "parity.npz": to_npz({"features": features, "native": from_npz(golden)["scores"]}),
        "backtest.npz": to_npz(book),
        "trials.npz": to_npz({"returns": book["net"][:, None], "ids": np.array(["03559f2094070f91"])}),
        "evidence.json": assess(inputs).canonical(),
        "report.html": b"<!doctype html><title>report</title>",
        "card.md": b"# large_caps\n",
        "reference/features.npz": to_npz({"values": features}),
        "reference/nulls.npz": to_npz({"psi": np.zeros(3)}),
    }


@lru_cache
def backtest() -> dict[str, Any]:
    generator = np.random.default_rng(11)
    rows = 400
    asset_returns = generator.normal(0.0005, 0.01, size=(rows, len(UNIVERSE)))
    history = generator.normal(0.0005, 0.01, size=(100, len(UNIVERSE)))
    weights = np.full((rows, len(UNIVERSE)), 0.25) * generator.uniform(0.9, 1.0, size=(rows, 1))
    record = performance(weights, asset_returns, costs=signal_config().costs, history=history)
    return {
        "sessions_ns": np.arange(1, rows + 1, dtype=np.int64) * DAY_NS,
        "scores": generator.normal(size=weights.shape),
        "weights": weights,
        "asset_returns": asset_returns,
        "history": history,
        "net": record.net,
        "gross": record.gross,
    }
