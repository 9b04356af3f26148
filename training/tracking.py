"""MLflow as a mirror: what was run, with what, and which release an alias points at. It decides nothing (design D7).

MLflow on SQLite by default. Telemetry is off, and nothing needs a network unless the tracking address is a server's.
MLflow is imported when a tracker is opened: it takes seconds, and reads its telemetry switch at import.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from training.errors import TrainingError

EXPERIMENT = "signalbox"
RELEASE_TAG = "signalbox.release"
RUN_TAG = "signalbox.run"


@dataclass(frozen=True)
class Tracked:
    """One run as it is told to a tracker: everything needed to know what was run, with what, and what came of it."""

    name: str
    run_id: str
    tags: Mapping[str, str]  # snapshot, feature set, commit, lock file, as-of
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    artifacts: tuple[Path, ...] = ()


class Tracker(Protocol):
    """Where runs and aliases are mirrored."""

    def log_run(self, run: Tracked) -> None:
        """Mirrors a run; a run that is there already is left as it is."""
        ...

    def log_release(self, signal: str, digest: str, run_id: str) -> None:
        """Mirrors a release of `signal`, made from the run `run_id`."""
        ...

    def point(self, signal: str, alias: str, digest: str) -> None:
        """Mirrors the ledger: `alias` (live, shadow) of `signal` is now the release `digest`."""
        ...


@dataclass
class NoTracker:
    """Remembers what it was told: for tests, and for whoever wants no MLflow."""

    runs: list[Tracked] = field(default_factory=list)
    releases: list[tuple[str, str, str]] = field(default_factory=list)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)

    def log_run(self, run: Tracked) -> None:
        """Keeps the run."""
        self.runs.append(run)

    def log_release(self, signal: str, digest: str, run_id: str) -> None:
        """Keeps the release."""
        self.releases.append((signal, digest, run_id))

    def point(self, signal: str, alias: str, digest: str) -> None:
        """Keeps the alias."""
        self.aliases[signal, alias] = digest


class MlflowTracker:
    """A tracker on an MLflow client; `open_tracker` makes one."""

    def __init__(self, client: Any, entities: Any, artifacts: str | None) -> None:
        self._client = client
        self._entities = entities
        self._experiment = self._find_experiment(artifacts)

    def log_run(self, run: Tracked) -> None:
        """One MLflow run with tags, parameters, metrics and files; told once."""
        if self._find_run(run.run_id) is not None:
            return
        tags = {**run.tags, RUN_TAG: run.run_id}
        info = self._client.create_run(self._experiment, tags=tags, run_name=run.name).info
        make = self._entities
        self._client.log_batch(
            info.run_id,
            metrics=[make.Metric(name, value, 0, 0) for name, value in run.metrics.items()],
            params=[make.Param(name, value) for name, value in run.parameters.items()],
        )
        for path in run.artifacts:
            self._client.log_artifact(info.run_id, str(path))
        self._client.set_terminated(info.run_id)

    def log_release(self, signal: str, digest: str, run_id: str) -> None:
        """A version of the registered model `signal`, tagged with the release's digest; told once."""
        if not self._client.search_registered_models(f"name = '{signal}'"):
            self._client.create_registered_model(signal)
        if self._find_version(signal, digest) is None:
            run = self._find_run(run_id)
            source = f"signalbox-release:{digest}"
            self._client.create_model_version(signal, source=source, run_id=run, tags={RELEASE_TAG: digest})

    def point(self, signal: str, alias: str, digest: str) -> None:
        """Moves the registered model's alias. Raises TrainingError for a release that was never mirrored."""
        version = self._find_version(signal, digest)
        if version is None:
            raise TrainingError(f"expected release {digest[:12]} of {signal} in MLflow, found none; mirror it first")
        self._client.set_registered_model_alias(signal, alias, version)

    def _find_experiment(self, artifacts: str | None) -> str:
        found = self._client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(EXPERIMENT, artifact_location=artifacts))

    def _find_run(self, run_id: str) -> str | None:
        found = self._client.search_runs([self._experiment], filter_string=f"tags.`{RUN_TAG}` = '{run_id}'")
        return str(found[0].info.run_id) if found else None

    def _find_version(self, signal: str, digest: str) -> str | None:
        found = self._client.search_model_versions(f"name = '{signal}'")
        return next((str(one.version) for one in found if one.tags.get(RELEASE_TAG) == digest), None)


@contextmanager
def open_tracker(uri: str, database: Path) -> Iterator[Tracker]:
    """A tracker at `uri`; "" means MLflow on SQLite at `database`, its artifacts beside it."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # written, not read: MLflow knows no other switch
    import mlflow.entities  # here and not above: see the module's docstring
    from mlflow.tracking import MlflowClient

    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    address = uri or f"sqlite:///{database}"
    artifacts = None if uri else (database.parent / "mlflow-artifacts").resolve().as_uri()
    database.parent.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    try:
        yield MlflowTracker(client, mlflow.entities, artifacts)
    finally:
        if not uri:
            client._tracking_client.store._dispose_engine()
