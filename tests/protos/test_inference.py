"""The Open Inference Protocol's messages: those of the protocol, and no neighbour's business."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pool

from protos.inference import open_inference_pb2

ROOT = Path(__file__).resolve().parents[2]


def test_the_messages_are_tritonclients_and_both_live_in_one_process() -> None:
    script = str(Path(__file__).with_name("beside_tritonclient.py"))
    done = subprocess.run(
        [sys.executable, "-W", "error", script], capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr


def test_the_default_pool_is_left_alone() -> None:
    pool = open_inference_pb2.DESCRIPTOR.pool
    assert pool is not descriptor_pool.Default()
    assert pool.FindFileContainingSymbol("inference.GRPCInferenceService") is open_inference_pb2.DESCRIPTOR
