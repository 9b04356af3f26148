"""MLflow on SQLite: what is mirrored can be read back; nothing is told twice; nothing leaves the machine."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from training.errors import TrainingError
from training.tracking import RELEASE_TAG, NoTracker, Tracked, open_tracker

pytestmark = [
    # MLflow's own mapping of its tables uses a loader that SQLAlchemy 2.1 deprecates; nothing of ours does.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:sqlalchemy.exc.SADeprecationWarning"),
]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: Any) -> None:
        raise AssertionError(f"tracking reached for the network: {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_run_its_release_and_the_alias_can_be_read_back(tmp_path: Path, no_network: None) -> None:
    artifact = tmp_path / "run.json"
    artifact.write_text("{}")
    run = Tracked("large_caps", "ab12", {"snapshot": "s1"}, {"trees": "80"}, {"sharpe_annual": 0.7}, (artifact,))
    with open_tracker("", tmp_path / "mlflow.db") as tracker:
        tracker.log_run(run)
        tracker.log_run(run)
        for digest in ("d1", "d2"):
            tracker.log_release("large_caps", digest, "ab12")
        tracker.log_release("large_caps", "d2", "ab12")
        tracker.point("large_caps", "live", "d1")
        tracker.point("large_caps", "live", "d2")
        with pytest.raises(TrainingError, match="expected release d3"):
            tracker.point("large_caps", "live", "d3")

    from mlflow.tracking import MlflowClient

    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=address, registry_uri=address)
    experiment = client.get_experiment_by_name("signalbox")
    assert experiment is not None
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.data.tags["snapshot"] == "s1"
    assert found.data.params == {"trees": "80"}
    assert found.data.metrics == {"sharpe_annual": 0.7}
    assert [file.path for file in client.list_artifacts(found.info.run_id)] == ["run.json"]
    assert len(client.search_model_versions("name = 'large_caps'")) == 2
    live = client.get_model_version_by_alias("large_caps", "live")
    assert live.tags[RELEASE_TAG] == "d2"
    assert live.run_id == found.info.run_id


def test_the_double_remembers_what_it_was_told() -> None:
    tracker = NoTracker()
    tracker.log_release("large_caps", "d1", "ab12")
    tracker.point("large_caps", "live", "d1")
    assert tracker.releases == [("large_caps", "d1", "ab12")]
    assert tracker.aliases == {("large_caps", "live"): "d1"}
