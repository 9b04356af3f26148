"""A small Signalbox: a ledger with principals, and a release whose every byte is made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from promotion.config import Construction, Costs, GatePolicy, Limits, Signal, Threshold
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

COLUMNS = ("momentum", "reversal", "volatility")
INSTRUMENTS = ("AAA", "BBB", "CCC", "DDD")
DAY_NS = 86_400_000_000_000
PRINCIPALS = {
    "alice": ("researcher", "operator"),
    "bob": ("validator", "approver"),
    "carol": ("approver",),
    "monitor": ("monitor",),
    "switch": ("kill_switch",),
}
FAMILY = Family("return_5", INSTRUMENTS, "cd" * 32)
TRIAL = "03559f2094070f91"  # what the one trial of every desk is called
POLICY = GatePolicy(thresholds=(Threshold(metric="observations", at_least=100.0),))


@dataclass
class ManualClock:
    """Time as the test says."""

    now: int = 1_700_000_000_000_000_000

    def now_ns(self) -> int:
        self.now += 1_000
        return self.now


@dataclass
class Desk:
    """A home with a founded ledger, keys of every principal, and what was told to the scorers."""

    home: Home
    ledger: SqliteLedger
    keys: KeyStore
    clock: ManualClock
    told: list[int] = field(default_factory=list)

    @property
    def rollout(self) -> Rollout:
        return Rollout(self.ledger, self.keys, self.clock, self.told.append)

    def parts(self, **changes: Any) -> ReleaseParts:
        return release_parts(**changes)

    def build(self, **changes: Any) -> str:
        parts = release_parts(**changes)
        return build_release(self.home, parts, author=self.keys.signer("alice"), validator=self.keys.signer("bob"))

    def register(self, **changes: Any) -> str:
        digest = self.build(**changes)
        manifest = read_release(self.home.releases / digest, digest).manifest
        register_release(self.rollout, manifest, as_="bob")
        return digest

    def try_once(self) -> str:
        """One finished trial with the returns of `release_parts`; its name is the same in every home."""
        with trial(self.ledger, FAMILY, {}, signer=self.keys.signer("alice"), clock=self.clock) as under_way:
            under_way.finish(backtest()["net"].tobytes())
        return under_way.name

    def put_policy_in_force(self, policy: GatePolicy = POLICY) -> None:
        proposal = self.rollout.propose_policy("gates.replay", policy, as_="alice")
        self.rollout.approve_policy(proposal, as_="carol")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    home = Home(tmp_path / "home")
    clock = ManualClock()
    with SqliteLedger(home.ledger) as ledger:
        desk = Desk(home, ledger, KeyStore(home.keys), clock)
        found_ledger(ledger, desk.keys, environment="replay", principals=PRINCIPALS, clock=clock)
        desk.try_once()
        yield desk


@pytest.fixture
def live(desk: Desk) -> Desk:
    """A desk whose signal has been promoted twice: release 1, then release 2 (live, weight 1)."""
    desk.put_policy_in_force()
    for slope in (1.0, 2.0):
        digest = desk.register(slope=slope)
        planned = plan_promotion(desk.rollout, desk.home, digest, as_="alice")
        desk.rollout.approve(planned.hash, as_="carol")
        promote(desk.rollout, desk.home, planned.hash, as_="alice")
    return desk


@pytest.fixture
def make_parts() -> Callable[..., ReleaseParts]:
    return release_parts


@pytest.fixture
def make_model() -> Callable[..., bytes]:
    return linear_model


def linear_model(slope: float = 1.0, *, columns: int = len(COLUMNS)) -> bytes:
    weights = numpy_helper.from_array(np.full((columns, 1), slope, dtype=np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["features", "weights"], ["score"], name="scores")],
        "signal",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 17)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="signalbox")
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def signal_config() -> Signal:
    return Signal(
        owner="desk",
        universe=INSTRUMENTS,
        features=COLUMNS,
        horizon_sessions=5,
        calendar="XNYS",
        latency_budget_us=1000,
        limits=Limits(max_capital_weight=1.0, max_abs_score=10.0, max_scores_per_second=1000),
        construction=Construction(),
        costs=Costs(half_spread_bps=1.0, impact_coefficient=0.5, adv_assumed_usd=1e9, capital_usd=1e7),
    )


def release_parts(slope: float = 1.0, *, environment: str = "replay", **changes: Any) -> ReleaseParts:
    model = linear_model(slope)
    files = {**_files(model), **changes.pop("files", {})}
    facts: dict[str, Any] = {
        "signal": "large_caps",
        "environment": environment,
        "config": signal_config(),
        "files": {path: data for path, data in files.items() if data is not None},
        "feature_set_id": "ab" * 32,
        "snapshot_id": "cd" * 32,
        "kernel_fingerprint": "ef" * 32,
        "as_of_ns": 1_293_739_200_000_000_000,
        "trials": FAMILY,
        "commit": "0123abc",
        "lock_hash": "12" * 32,
    }
    return ReleaseParts(**{**facts, **changes})


@lru_cache
def _files(model: bytes) -> Mapping[str, bytes]:
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
        "trials.npz": to_npz({"returns": book["net"][:, None], "ids": np.array([TRIAL])}),
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
    asset_returns = generator.normal(0.0005, 0.01, size=(rows, len(INSTRUMENTS)))
    history = generator.normal(0.0005, 0.01, size=(100, len(INSTRUMENTS)))
    weights = np.full((rows, len(INSTRUMENTS)), 0.25) * generator.uniform(0.9, 1.0, size=(rows, 1))
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
