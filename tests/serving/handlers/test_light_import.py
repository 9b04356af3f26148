"""The handlers know no transport: importing every one of them brings in no grpc."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import importlib, pkgutil, sys
import serving.handlers
for module in pkgutil.walk_packages(serving.handlers.__path__, "serving.handlers."):
    importlib.import_module(module.name)
print(*sys.modules)
"""


def test_importing_the_handlers_brings_in_no_grpc() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "serving.handlers.health" in loaded
    assert not {"grpc", "grpc_health.v1.health", "tritonclient"} & loaded
