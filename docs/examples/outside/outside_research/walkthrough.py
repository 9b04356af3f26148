"""From a fresh home to two releases: one by the trainer of this project, one from a fitted LightGBM model.

    python -m outside_research.walkthrough DIR

prints one JSON document. It uses the real prices of the skfolio wheel as known at the end of 1999: survivors,
back-adjusted.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import lightgbm
import numpy as np

from features.blobs import BlobStore
from features.clock import SystemClock
from features.ingest import DEMO_SOURCE_NAME, demo_prices, demo_source, validate_long
from features.registry import load_features
from features.snapshot import Snapshot, write_snapshot
from promotion.config import Config, Construction, Costs, GatePolicy, Limits, Signal, Threshold
from promotion.home import Home
from promotion.identity import KeyStore
from promotion.ledger.store import SqliteLedger
from promotion.rollout import found_ledger
from training.handover import Declaration, take_over
from training.plan import Candidate, Plan
from training.provenance import Provenance
from training.run import load_samples, train_run
from training.sweep import Actor
from training.validate import validate_run

FEATURES = ("return_5", "volatility_21", "distance_from_low_63")  # the last one is ours
AS_OF = date(1999, 12, 31)
TRAINED_UNTIL = date(1997, 12, 31)
PROVENANCE = Provenance(commit="outside-research 0.1.0", lock_hash="none")  # in a checkout: read_provenance(root)


def main(root: Path) -> None:
    """Prints what came of it."""
    home, clock = Home(root), SystemClock()
    frame = validate_long(demo_prices(), source=demo_source(), now_ns=clock.now_ns())
    snapshot = write_snapshot(frame, source_name=DEMO_SOURCE_NAME, source=demo_source(), store=BlobStore(home.blobs))
    config = configure(snapshot)
    keys = KeyStore(home.keys)
    people = {"alice": ["researcher"], "vera": ["validator"], "olga": ["approver", "operator"], "boris": ["approver"]}
    with SqliteLedger(home.ledger) as ledger:
        found_ledger(ledger, keys, environment="replay", principals=people, clock=clock)
        author, validator = (Actor(ledger, keys.signer(name), clock) for name in ("alice", "vera"))
        plan = Plan(
            label="outside",
            as_of=AS_OF,
            first_test=date(1995, 1, 1),
            candidates=(Candidate(trainer="correlation", parameters={"shrink": 0.5}),),
        )
        trained = train_run(
            home, config, signal="outside", snapshot=snapshot, plan=plan, provenance=PROVENANCE, actor=author
        )
        handed = take_over(
            home,
            config,
            signal="outside",
            snapshot=snapshot,
            model=fitted_elsewhere(config.signals["outside"], snapshot),
            declaration=Declaration(TRAINED_UNTIL, trials=1, returns=np.empty((0, 0))),
            as_of=AS_OF,
            provenance=PROVENANCE,
            actor=author,
        )
        released = [
            validate_run(home, config, run, author=author.signer, validator=validator) for run in (trained, handed)
        ]
    document = [
        {"digest": one.digest, "sharpe_annual": one.evidence.metrics["sharpe_annual"], "trials": count, "by": by}
        for one, by, count in zip(
            released, ("correlation", "lightgbm, handed over"), ("counted", "declared"), strict=True
        )
    ]
    json.dump(document, sys.stdout)


def configure(snapshot: Snapshot) -> Config:
    """One signal over this project's feature and two of the library."""
    signal = Signal(
        owner="outside-research",
        universe=snapshot.instruments,
        features=FEATURES,
        horizon_sessions=5,
        calendar="XNYS",
        latency_budget_us=2000,
        limits=Limits(max_abs_score=5.0, max_scores_per_second=1000),
        construction=Construction(smoothing_sessions=10),
        costs=Costs(half_spread_bps=3.0, impact_coefficient=0.7, adv_assumed_usd=5e8, capital_usd=2.5e7),
    )
    gate = GatePolicy(thresholds=(Threshold(metric="sharpe_annual", at_least=0.5),))
    return Config(environment="replay", signals={"outside": signal}, sources={}, gates={"replay": gate})


def fitted_elsewhere(signal: Signal, snapshot: Snapshot) -> bytes:
    """A LightGBM model as a researcher would bring it: fitted by their own code, on what was known then."""
    known_at_ns = int(np.datetime64(TRAINED_UNTIL, "ns").astype(np.int64)) + 86_400 * 10**9 - 1
    samples = load_samples(snapshot, load_features(signal.features), signal, known_at_ns=known_at_ns)
    features, targets = samples.rows(np.arange(len(samples.targets)))
    data = lightgbm.Dataset(features, targets, feature_name=list(samples.names))
    settings = {"objective": "regression", "num_leaves": 6, "min_data_in_leaf": 300, "verbosity": -1}
    return lightgbm.train({**settings, "num_threads": 1}, data, num_boost_round=20).model_to_string().encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
