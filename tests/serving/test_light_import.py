"""The runtime is light: what answers requests loads no research library, no command line and no wire."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"pandas", "sklearn", "mlflow", "click", "grpc", "polars", "lightgbm", "protos"}
CODE = """
import importlib, pkgutil, sys
import serving.runtime
for module in pkgutil.walk_packages(serving.runtime.__path__, "serving.runtime."):
    importlib.import_module(module.name)
print(*sys.modules)
"""


def test_importing_the_runtime_brings_in_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "serving.runtime.engine" in loaded
    assert not HEAVY & loaded
