"""What answers requests loads no research library and no command line; the runtime not even a wire."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESEARCH = {"pandas", "scipy", "sklearn", "mlflow", "polars", "lightgbm", "exchange_calendars", "evidently", "skfolio"}
RUNTIME = """
import importlib, pkgutil, sys
import serving.runtime
for module in pkgutil.walk_packages(serving.runtime.__path__, "serving.runtime."):
    importlib.import_module(module.name)
print(*sys.modules)
"""


WORKER = """
import serving.host.worker, serving.transport.native, sys
print(*sys.modules)
"""


def loaded(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_importing_the_runtime_brings_in_nothing_heavy() -> None:
    modules = loaded(RUNTIME)
    assert "serving.runtime.engine" in modules
    assert not (RESEARCH | {"click", "grpc", "protos"}) & modules


def test_a_worker_on_the_native_transport_brings_in_nothing_that_it_does_not_use() -> None:
    modules = loaded(WORKER)
    assert {"serving.host.worker", "onnxruntime"} <= modules
    assert not (RESEARCH | {"click", "grpc", "redis", "prometheus_client", "uvicorn", "matplotlib"}) & modules
