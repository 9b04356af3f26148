"""Where a Signalbox keeps its state: one directory, every path in one place."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The paths of one home. Nothing is created until something is written."""

    root: Path

    @property
    def config(self) -> Path:
        """`signalbox.toml`."""
        return self.root / "signalbox.toml"

    @property
    def ledger(self) -> Path:
        """The ledger's SQLite file."""
        return self.root / "ledger.db"

    @property
    def blobs(self) -> Path:
        """The content-addressed blob store (snapshots)."""
        return self.root / "blobs"

    @property
    def releases(self) -> Path:
        """Releases, one directory a digest."""
        return self.root / "releases"

    @property
    def runs(self) -> Path:
        """Training runs, one directory a run: what a release is built from."""
        return self.root / "runs"

    @property
    def keys(self) -> Path:
        """Private keys of this machine's principals and the feature rows' MAC keys; mode 0700."""
        return self.root / "keys"

    @property
    def decisions(self) -> Path:
        """The monitor's durable record of decisions and outcomes."""
        return self.root / "decisions.db"

    @property
    def tracking(self) -> Path:
        """MLflow's SQLite file."""
        return self.root / "mlflow.db"

    @property
    def control_socket(self) -> Path:
        """The supervisor's control socket."""
        return self.root / "run" / "control.sock"

    def ring(self, worker: int, feature_set_id: str) -> Path:
        """The ring of one worker for one feature set, in shared memory (design D10)."""
        owner = hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:12]
        return Path("/dev/shm") / f"signalbox-{os.getuid()}-{owner}" / f"{worker}-{feature_set_id[:16]}.ring"  # noqa: S108 - a ring is shared memory by design; its folder is mode 0700
