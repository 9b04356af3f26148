"""A home to put under load: one signal, a few promoted releases of given ONNX models, a key for feature rows.

Everything is product code, from the founding of the home to the promotion of each release, so that `signalbox serve`,
`rollback`, `promote` and a control client work on it as on any other. The history behind the releases is made up
(seeded returns): it is there so that gates have something to compute, and says nothing about a market.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.clock import SystemClock
from features.row import FeatureRow, encode_row
from promotion.config import Config, Signal, read_config
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
from promotion.rollout import Rollout
from serving.feed.row_keys import read_row_keys
from signalbox.founding import found_home

Float32s = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[Any]]

SIGNAL = "large_caps"
DAY_NS = 86_400_000_000_000
_FEATURE_SET_ID = bytes.fromhex("ab" * 32)
_SESSIONS = 400
_GOLDEN_ROWS = 64
_ROW_KEY_ID = 1
_CONFIG = """
environment = "paper"

[signals.{signal}]
owner = "desk"
universe = [{universe}]
features = [{features}]
horizon_sessions = 5
calendar = "XNYS"
latency_budget_us = 1000
limits = {{ max_capital_weight = 1.0, max_abs_score = 1000.0, max_scores_per_second = 1_000_000_000 }}
construction = {{ gross_leverage = 1.0 }}
costs = {{ half_spread_bps = 1.0, impact_coefficient = 0.5, adv_assumed_usd = 1e9, capital_usd = 1e7 }}

[sources.made]
description = "made up for a load test"
licence = "none"
calendar = "XNYS"
delay_minutes = 15.0

[gates.paper]
thresholds = [{{ metric = "observations", at_least = 100.0 }}]
"""


@dataclass(frozen=True)
class SmallHome:
    """A home that can be served. releases: digests in the order of promotion; the last is live, with weight 1."""

    home: Home
    releases: tuple[str, ...]
    universe: tuple[str, ...]
    columns: int

    def rows(self, values: Float32s, *, sequence: int, known_ns: int) -> list[bytes]:
        """One encoded row for each instrument: values float32 [instrument, column], known at `known_ns` (UTC), valid
        for a day.
        """
        key = read_row_keys(self.home)[_ROW_KEY_ID]
        until_ns = known_ns + DAY_NS
        facts = (_FEATURE_SET_ID, known_ns, known_ns, sequence, until_ns)
        return [_encoded(name, values[at], facts, key) for at, name in enumerate(self.universe)]


def make_small_home(root: Path, models: Sequence[bytes], *, columns: int, instruments: int) -> SmallHome:
    """A home in `root`, which must not be one yet, with every model of `models` promoted in turn.

    models: ONNX bytes, float32 [n, columns] to [n, 1].
    """
    universe = tuple(f"I{number:05d}" for number in range(instruments))
    home = found_home(root, config_text=_config_text(universe, columns), clock=SystemClock())
    config = read_config(home.config)
    backtest = _backtest(config)
    family = Family("return_5", universe, "cd" * 32)
    with SqliteLedger(home.ledger) as ledger:
        keys = KeyStore(home.keys)
        rollout = Rollout(ledger, keys, SystemClock())
        with trial(ledger, family, {}, signer=keys.signer("researcher"), clock=SystemClock()) as under_way:
            under_way.finish(backtest["net"].tobytes())
        tried = str(next(iter(ledger.state().trials)))
        parts = [_parts(config, model, backtest, family, tried) for model in models]
        releases = tuple(_promote(rollout, home, keys, each) for each in parts)
    return SmallHome(home, releases, universe, columns)


def open_small_home(root: Path) -> SmallHome:
    """The home that `make_small_home` made in `root`."""
    home = Home(root)
    signal = read_config(home.config).signals[SIGNAL]
    with SqliteLedger(home.ledger) as ledger:
        releases = ledger.state().releases
    promoted = sorted(releases, key=lambda digest: releases[digest].sequence)
    return SmallHome(home, tuple(promoted), signal.universe, len(signal.features))


def _encoded(name: str, values: Float32s, facts: tuple[bytes, int, int, int, int], key: bytes) -> bytes:
    set_id, event_ns, known_ns, sequence, until_ns = facts
    row = FeatureRow(set_id, name, event_ns, known_ns, sequence, until_ns, values)
    return encode_row(row, key_id=_ROW_KEY_ID, key=key)


def _config_text(universe: Sequence[str], columns: int) -> str:
    return _CONFIG.format(
        signal=SIGNAL,
        universe=", ".join(f'"{name}"' for name in universe),
        features=", ".join(f'"feature_{number}"' for number in range(columns)),
    )


def _promote(rollout: Rollout, home: Home, keys: KeyStore, parts: ReleaseParts) -> str:
    digest = build_release(home, parts, author=keys.signer("researcher"), validator=keys.signer("validator"))
    register_release(rollout, read_release(home.releases / digest, digest).manifest, as_="validator")
    planned = plan_promotion(rollout, home, digest, as_="operator")
    rollout.approve(planned.hash, as_="approver")
    promote(rollout, home, planned.hash, as_="operator")
    return digest


def _parts(config: Config, model: bytes, backtest: Arrays, family: Family, tried: str) -> ReleaseParts:
    signal = config.signals[SIGNAL]
    return ReleaseParts(
        signal=SIGNAL,
        environment=config.environment,
        config=signal,
        files=_files(signal, model, backtest, tried),
        feature_set_id=_FEATURE_SET_ID.hex(),
        snapshot_id="cd" * 32,
        kernel_fingerprint="ef" * 32,
        as_of_ns=1_293_739_200_000_000_000,
        trials=family,
        commit="0123abc",
        lock_hash="12" * 32,
    )


def _files(signal: Signal, model: bytes, backtest: Arrays, tried: str) -> dict[str, bytes]:
    columns = len(signal.features)
    features = np.random.default_rng(7).normal(size=(_GOLDEN_ROWS, columns)).astype(np.float32)
    golden = make_golden(model, features)
    inputs = AssessmentInputs(
        sessions_ns=backtest["sessions_ns"],
        weights=backtest["weights"],
        asset_returns=backtest["asset_returns"],
        costs=signal.costs,
        trial_returns=backtest["net"][:, None],
        trials_opened=1,
        parity=Parity(_GOLDEN_ROWS, 0.0, 0.0),
        history=backtest["history"],
    )
    return {
        "model.onnx": model,
        "golden.npz": golden,
        "parity.npz": to_npz({"features": features, "native": from_npz(golden)["scores"]}),
        "backtest.npz": to_npz(backtest),
        "trials.npz": to_npz({"returns": backtest["net"][:, None], "ids": np.array([tried])}),
        "evidence.json": assess(inputs).canonical(),
        "report.html": b"<!doctype html><title>report</title>",
        "card.md": b"# made for a load test\n",
        "reference/features.npz": to_npz({"values": features}),
        "reference/nulls.npz": to_npz({"psi": np.zeros(columns)}),
    }


def _backtest(config: Config) -> Arrays:
    signal = config.signals[SIGNAL]
    instruments = len(signal.universe)
    generator = np.random.default_rng(11)
    asset_returns = generator.normal(0.0005, 0.01, size=(_SESSIONS, instruments))
    history = generator.normal(0.0005, 0.01, size=(100, instruments))
    weights = np.full((_SESSIONS, instruments), 1 / instruments) * generator.uniform(0.9, 1.0, size=(_SESSIONS, 1))
    record = performance(weights, asset_returns, costs=signal.costs, history=history)
    return {
        "sessions_ns": np.arange(1, _SESSIONS + 1, dtype=np.int64) * DAY_NS,
        "scores": generator.normal(size=weights.shape),
        "weights": weights,
        "asset_returns": asset_returns,
        "history": history,
        "net": record.net,
        "gross": record.gross,
    }
