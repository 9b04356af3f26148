"""From prices to a release that waits for promotion: the research half of the command line and of the demo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from features.batch import FeatureMatrix, compute
from features.definition import FeatureSet
from features.registry import load_features
from features.snapshot import Snapshot
from promotion.config import Signal
from promotion.gates import Verdict, judge
from promotion.home import Home
from promotion.lineage import register, register_release
from promotion.promote import judge_release
from promotion.release.open import verify_release
from signalbox.desk import Desk
from training.errors import RunError
from training.plan import Plan
from training.provenance import Provenance, read_provenance
from training.run import Run, open_run, train_run
from training.samples import restrict
from training.sweep import Actor, Trial
from training.tracking import Tracker, open_tracker
from training.validate import validate_run


@dataclass(frozen=True)
class Judged:
    """A validated release and what each environment's gate policy says of it."""

    digest: str
    signal: str
    as_of: str
    run_id: str
    verdicts: tuple[Verdict, ...]

    def document(self) -> dict[str, Any]:
        """As JSON types: digest, signal, as_of, verdicts."""
        return {
            "digest": self.digest,
            "signal": self.signal,
            "as_of": self.as_of,
            "verdicts": [
                {"environment": one.environment, "passed": one.passed, "reasons": list(one.reasons)}
                for one in self.verdicts
            ],
        }


def train(
    desk: Desk,
    name: str,
    plan: Plan,
    snapshot: Snapshot,
    *,
    actor: str,
    tracker: Tracker,
    progress: Callable[[Trial], None] = lambda _: None,
) -> Run:
    """Runs `plan` on `snapshot`: every trial opened in the ledger before it trains; the run on disk and in MLflow."""
    run = train_run(
        desk.home,
        desk.config,
        signal=name,
        snapshot=snapshot,
        plan=plan,
        provenance=provenance(),
        actor=acting(desk, actor),
        tracker=tracker,
        progress=progress,
    )
    facts = {"signal": name, "snapshot": snapshot.id, "feature_set": run.record["feature_set_id"]}
    register(desk.rollout(), "run", run.id, facts, as_=actor)
    return run


def validate(desk: Desk, run: Run, *, validator: str, tracker: Tracker) -> Judged:
    """Recomputes a run's evidence as `validator`, packages and registers the release, and judges it everywhere."""
    author = desk.signer(run.record["author"])
    validated = validate_run(desk.home, desk.config, run, author=author, validator=acting(desk, validator))
    state = desk.ledger.state()
    manifest = verify_release(
        desk.home, validated.digest, environment=desk.config.environment, principals=state.principals
    ).manifest
    register_release(desk.rollout(), manifest, as_=validator)
    tracker.log_release(manifest.signal, validated.digest, run.id)
    return Judged(
        validated.digest, manifest.signal, run.record["plan"]["as_of"], run.id, verdicts(desk, validated.digest)
    )


def verdicts(desk: Desk, digest: str) -> tuple[Verdict, ...]:
    """What the gate policies say of release `digest`: the home's own environment first, the others beside it."""
    own = desk.config.environment
    judgement = judge_release(desk.home, desk.ledger.state(), digest, policy=desk.config.gates[own])
    others = [environment for environment in sorted(desk.config.gates) if environment != own]
    beside = (judge(judgement.evidence, desk.config.gates[environment], environment) for environment in others)
    return (judgement.verdict, *beside)


def find_run(home: Home, run_id: str) -> Run:
    """The run whose id begins with `run_id`. RunError when none or several do."""
    known = sorted(path.name for path in home.runs.glob("*") if len(path.name) == 64)
    found = [one for one in known if one.startswith(run_id)]
    if len(found) != 1:
        names = ", ".join(one[:12] for one in known) or "none"
        raise RunError(f"expected one run of this home ({names}), found {run_id!r}; `signalbox train` prints the id")
    return open_run(home, found[0])


def build_features(signal: Signal, snapshot: Snapshot, *, known_at_ns: int) -> tuple[FeatureMatrix, FeatureSet]:
    """The signal's features over its universe, as known at `known_at_ns`."""
    feature_set = load_features(signal.features)
    panels = {
        name: restrict(snapshot.panel(name, known_at_ns=known_at_ns), signal.universe) for name in feature_set.inputs
    }
    return compute(feature_set, panels), feature_set


def feature_frame(matrix: FeatureMatrix) -> pl.DataFrame:
    """The matrix in long form: instrument, event_time, knowledge_time (UTC), then one float64 column per feature."""
    times, instruments = matrix.values.shape[:2]
    flat = matrix.values.reshape(times * instruments, -1)
    keys = pl.DataFrame(
        {
            "instrument": list(matrix.instruments) * times,
            "event_time": matrix.event_times_ns.repeat(instruments),
            "knowledge_time": matrix.knowledge_times_ns.repeat(instruments),
        }
    ).with_columns(pl.from_epoch(pl.col("event_time", "knowledge_time"), "ns").dt.replace_time_zone("UTC"))
    return keys.hstack([pl.Series(name, flat[:, column]) for column, name in enumerate(matrix.names)])


def acting(desk: Desk, name: str) -> Actor:
    """Principal `name`, acting on this desk's ledger by its clock."""
    return Actor(desk.ledger, desk.signer(name), desk.clock)


@contextmanager
def tracking(desk: Desk) -> Iterator[Tracker]:
    """MLflow, where the configuration says it is."""
    with open_tracker(desk.config.tracking_uri, desk.home.tracking) as tracker:
        yield tracker


def provenance() -> Provenance:
    """The commit and lock file of the checkout this runs from."""
    return read_provenance(Path(__file__).resolve().parents[1])
