"""A training run: from a snapshot to a fitted, exported, back-tested model on disk, named by its content.

A run holds everything a release is made of but evidence and signatures: `training.validate` adds those, on behalf of
another person. The same snapshot, plan, code and environment give the same run id.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.batch import compute
from features.calendars import open_calendar
from features.canonical import canonical_json, decimal, sha256_hex
from features.definition import FeatureSet
from features.fingerprint import kernel_fingerprint
from features.registry import load_features
from features.snapshot import Snapshot
from promotion.config import Config, Signal, canonical_form
from promotion.home import Home
from promotion.ledger.trials import Family
from promotion.release.arrays import from_npz
from training.artifacts import make_artifacts
from training.backtest.walk import fit_on_all
from training.errors import RunError, SamplesError
from training.plan import Plan
from training.provenance import Provenance
from training.samples import Samples, make_samples, restrict
from training.sweep import Actor, Sweep, Trial, family, run_sweep
from training.tracking import Tracked, Tracker

SCHEMA = "signalbox.run.1"
RECORD = "run.json"


@dataclass(frozen=True)
class Run:
    """A run on disk. record: what `run.json` says; files are read and checked against it one by one."""

    path: Path
    record: Mapping[str, Any]

    @property
    def id(self) -> str:
        """64 hex digits: the hash of `run.json`."""
        return sha256_hex(canonical_json(self.record))

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises RunError when it is missing or altered."""
        stated = self.record["files"].get(name)
        try:
            data = (self.path / name).read_bytes()
        except OSError as error:
            raise RunError(f"{self.path / name}: expected a file of the run, found none; train again") from error
        if stated != sha256_hex(data):
            raise RunError(f"{self.path / name}: expected hash {stated}, found {sha256_hex(data)}; train again")
        return data

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays of an `.npz` file."""
        return from_npz(self.read(name), path=name)


def train_run(
    home: Home,
    config: Config,
    *,
    signal: str,
    snapshot: Snapshot,
    plan: Plan,
    provenance: Provenance,
    actor: Actor,
    tracker: Tracker | None = None,
    progress: Callable[[Trial], None] = lambda _: None,
) -> Run:
    """Runs the plan's sweep, fits the chosen candidate on everything known at `plan.as_of`, and writes the run.

    Raises SamplesError or FoldError when the data do not suffice, TrainingError when every trial crashed, ParityError
    when the export is not faithful. Trials stay in the ledger whatever happens.
    """
    definition = config.signals[signal]
    features = load_features(definition.features)
    samples = load_samples(snapshot, features, definition, known_at_ns=plan.as_of_ns)
    counted_by = family(definition, snapshot.id)
    sweep = run_sweep(samples, plan, definition, counted_by=counted_by, actor=actor, progress=progress)
    chosen = sweep.chosen
    assert chosen.backtest is not None  # a chosen trial finished
    model = fit_on_all(samples, plan, chosen.candidate)
    artifacts = make_artifacts(
        samples,
        model,
        chosen.backtest,
        trial_ids=[one.id for one in sweep.trials],
        trial_returns=sweep.net_returns(),
        reference_sessions=plan.reference_sessions,
    )
    record = {
        **describe(signal, definition, snapshot, features, plan, provenance, counted_by),
        "author": actor.signer.name,
        "declared": False,
        "trainer": chosen.candidate.trainer,
        "trials": [_trial_record(one) for one in sweep.trials],
        "chosen": chosen.position,
        "nan_ok": False,
        "parity": artifacts.parity,
    }
    run = write_run(home, record, artifacts.files)
    if tracker is not None:
        tracker.log_run(tracked(run, sweep))
    return run


def describe(
    name: str,
    signal: Signal,
    snapshot: Snapshot,
    features: FeatureSet,
    plan: Plan,
    provenance: Provenance,
    counted_by: Family,
) -> dict[str, Any]:
    """What a run was made from, as canonical JSON types: the part of its record that no result enters."""
    return {
        "schema": SCHEMA,
        "signal": name,
        "config": canonical_form(signal),
        "snapshot_id": snapshot.id,
        "source": snapshot.source.description,
        "feature_set_id": features.feature_set_id,
        "kernel_fingerprint": kernel_fingerprint(features.features),
        "as_of_ns": plan.as_of_ns,
        "plan": plan.canonical(),
        "family": {"label": counted_by.label, "universe": sorted(counted_by.universe), "data": counted_by.data},
        "commit": provenance.commit,
        "lock_hash": provenance.lock_hash,
    }


def load_samples(snapshot: Snapshot, features: FeatureSet, signal: Signal, *, known_at_ns: int) -> Samples:
    """The signal's samples as known at `known_at_ns`. Raises SamplesError when the snapshot has nothing by then."""
    names = dict.fromkeys((*features.inputs, snapshot.source.close_is))
    panels = {name: restrict(snapshot.panel(name, known_at_ns=known_at_ns), signal.universe) for name in names}
    closes = panels[snapshot.source.close_is]
    if len(closes.values) == 0:
        raise SamplesError(
            f"expected prices of snapshot {snapshot.id[:12]} known at {known_at_ns}, found none; take a later as-of"
        )
    return make_samples(
        compute(features, panels),
        closes,
        calendar=open_calendar(signal.calendar),
        horizon_sessions=signal.horizon_sessions,
        execution_lag_sessions=signal.execution_lag_sessions,
        cross_sectional=signal.kind == "cross_sectional",
    )


def write_run(home: Home, record: Mapping[str, Any], files: Mapping[str, bytes]) -> Run:
    """Writes a run under its id, whole or not at all; one that is there already is left as it is."""
    whole = {**record, "files": {name: sha256_hex(data) for name, data in sorted(files.items())}}
    body = canonical_json(whole)
    final = home.runs / sha256_hex(body)
    if not final.exists():
        home.runs.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=home.runs, prefix=".draft-"))
        for name, data in {**files, RECORD: body}.items():
            (draft / name).write_bytes(data)
        try:
            os.rename(draft, final)
        except OSError:  # another process wrote the same run first
            shutil.rmtree(draft)
    return Run(final, whole)


def open_run(home: Home, run_id: str) -> Run:
    """The run of that id. Raises RunError when there is none, or `run.json` is not what the id says."""
    path = home.runs / run_id
    try:
        body = (path / RECORD).read_bytes()
    except OSError as error:
        known = sorted(one.name[:12] for one in home.runs.glob("[0-9a-f]*"))
        raise RunError(f"expected a run among {known}, found no {run_id!r}; `signalbox train` prints the id") from error
    if sha256_hex(body) != run_id:
        raise RunError(f"{path / RECORD}: expected content of hash {run_id}, found {sha256_hex(body)}; train again")
    return Run(path, json.loads(body))


def tracked(run: Run, sweep: Sweep) -> Tracked:
    """The run as a tracker is told of it."""
    record = run.record
    chosen = sweep.chosen
    tags = ("snapshot_id", "feature_set_id", "commit", "lock_hash", "kernel_fingerprint", "signal")
    return Tracked(
        name=f"{record['signal']} as of {record['plan']['as_of']}",
        run_id=run.id,
        tags={name: str(record[name]) for name in tags},
        parameters={
            "trainer": chosen.candidate.trainer,
            "seed": str(chosen.candidate.seed),
            "trials": str(len(sweep.trials)),
            **{name: str(value) for name, value in sorted(chosen.candidate.parameters.items())},
        },
        metrics={
            "sharpe_annual": chosen.sharpe,
            "turnover_daily": float(chosen.backtest.record.turnover.mean()) if chosen.backtest else float("nan"),
            **{f"trial_{one.position}_sharpe_annual": one.sharpe for one in sweep.trials if np.isfinite(one.sharpe)},
        },
        artifacts=(run.path / RECORD, run.path / "model.onnx", run.path / "model.native"),
    )


def _trial_record(trial: Trial) -> dict[str, Any]:
    return {
        "id": trial.id,
        "candidate": trial.candidate.canonical(),
        "outcome": trial.outcome,
        "reason": trial.reason,
        "sharpe_annual": decimal(trial.sharpe),
    }
