"""The scripts of docs/examples for tritonclient, as a reader would run them, against a promoted release."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import numpy as np

from serving.host.hosting import Hosting
from serving.host.supervisor import serve

EXAMPLES = Path(__file__).resolve().parents[3] / "docs/examples"


async def output_of(script: str, address: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", str(EXAMPLES / script), address, "large_caps"), stdout=PIPE, stderr=PIPE
    )
    said, complaints = await process.communicate()
    assert process.returncode == 0, complaints.decode()
    return said.decode()


async def test_the_scripts_print_scores_of_the_live_release(desk: Any) -> None:
    _, live = desk.releases
    rows = np.random.default_rng(7).normal(size=(64, 3)).astype(np.float32)
    expected = 2.0 * rows.sum(axis=1)  # the live release's slope
    async with serve(desk.home, desk.config, Hosting(listen="127.0.0.1:0")) as supervisor:
        (address,) = supervisor.addresses
        one = await output_of("triton_client.py", address)
        many = await output_of("triton_client_async.py", address)
    lines = dict(line.split(" ", 1) for line in one.splitlines())
    assert lines["live"] == "True ready True"
    assert lines["posture"] == "NORMAL weight 1.0"
    assert lines["generation"].endswith(f"release {live[:12]}")
    assert np.allclose(floats(lines["scores"]), 2.0 * rows.ravel()[:15].reshape(5, 3).sum(axis=1), atol=1e-5)
    assert lines["StatusCode.NOT_FOUND"].startswith("model_version: expected ")
    assert "features [-1, 3] -> score" in lines["large_caps"]
    count, scores = many.split(" scores ")
    assert count == "64"
    assert np.allclose(floats(scores), expected[:5], atol=1e-5)


def floats(text: str) -> list[float]:
    return [float(each) for each in text.strip().strip("[]").split(",")]
