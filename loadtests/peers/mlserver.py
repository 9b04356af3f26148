"""MLServer 1.7 with an ONNX Runtime model, in its fastest setting: no parallel workers, no adaptive batching.

Parallel workers add a hop between processes, adaptive batching makes a lone request wait; both were measured to be
slower for a model of microseconds.
"""

from __future__ import annotations

import json
import shutil
from functools import partial

from loadtests.harness.cache import cache
from loadtests.harness.counters import metric
from loadtests.harness.model import BenchModel
from loadtests.harness.servers import HOST, Launch, free_port
from loadtests.peers.environment import HERE, virtual_environment

REQUIREMENTS = ("mlserver==1.7.1", "onnxruntime==1.31.1", "uvloop==0.21.0")  # 1.7.1 does not run on uvloop 0.22


def mlserver(model: BenchModel) -> Launch:
    """MLServer serving `model`. PeerMissing where it cannot be installed."""
    venv = virtual_environment("mlserver", REQUIREMENTS)
    folder = cache("peers", "mlserver", "serving")
    port, http, page = free_port(), free_port(), free_port()
    settings = {
        "host": HOST,
        "grpc_port": port,
        "http_port": http,
        "metrics_port": page,
        "parallel_workers": 0,
        "debug": False,
    }
    model_settings = {
        "name": model.name,
        "implementation": "onnx_runtime.OnnxModel",
        "parameters": {"uri": str(model.path)},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model_settings))
    shutil.copy(HERE / "mlserver_model" / "onnx_runtime.py", folder / "onnx_runtime.py")
    return Launch(
        name="mlserver",
        command=(str(venv / "bin" / "mlserver"), "start", str(folder)),
        port=port,
        counted=partial(metric, page, "model_infer_request_success_total", {"model": model.name}),
        environment={"PYTHONPATH": str(folder)},
        folder=folder,
    )
