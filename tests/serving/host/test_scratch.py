"""Scratch models: served as a release is, to this machine alone, and with no capital behind them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper

from features.row import FeatureRow, encode_row
from promotion.errors import ModelRefused
from promotion.home import Home
from protos.client import AsyncClient, AsyncControlClient
from serving.errors import ScratchRefused
from serving.feed.row_keys import read_row_keys
from serving.host.hosting import Hosting
from serving.host.scratch import check_loopback, serve_scratch
from serving.host.scratch_model import load_scratch, scratch_feature_set
from signalbox.cli.main import signalbox

COLUMNS = 3


def model(*operators: str) -> bytes:
    """A model of [n, 3]: the operators one after the other, then the sum of the row."""
    names = ["features", *(f"step_{step}" for step in range(len(operators)))]
    nodes = [helper.make_node(op, [names[at]], [names[at + 1]]) for at, op in enumerate(operators)]
    nodes.append(helper.make_node("ReduceSum", [names[-1], "axis"], ["score"], keepdims=1))
    graph = helper.make_graph(
        nodes,
        "scratch",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", COLUMNS])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(model("Tanh"))
    return path


@pytest.mark.parametrize(
    "listen", ["127.0.0.1:0", "127.8.8.8:1", "[::1]:0", "localhost:8500", "unix:/tmp/anything.sock"]
)
def test_this_machines_own_addresses_are_taken(listen: str) -> None:
    check_loopback(Hosting(listen=listen, metrics="127.0.0.1:0"))


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:80", ":8500", "no.such.host.invalid:1", "[::"])
def test_every_other_address_is_refused(address: str) -> None:
    with pytest.raises(ScratchRefused, match="expected a loopback address"):
        check_loopback(Hosting(listen=address))
    with pytest.raises(ScratchRefused, match="expected a loopback address"):
        check_loopback(Hosting(metrics=address))


async def test_a_scratch_model_is_served_like_a_release_but_carries_no_capital(file: Path) -> None:
    rows = np.random.default_rng(3).normal(size=(5, COLUMNS)).astype(np.float32)
    rows[0, 0] = np.nan
    expected = onnxruntime.InferenceSession(model("Tanh")).run(None, {"features": rows})[0].ravel()
    hosting = Hosting(listen="127.0.0.1:0")
    async with (
        serve_scratch({"mine": file, "yours": file}, hosting, instruments=2) as (supervisor, home),
        AsyncClient(*supervisor.addresses) as scorer,
        AsyncControlClient(supervisor.control) as control,
    ):
        assert home.root.stat().st_mode & 0o777 == 0o700
        inline = await scorer.score("mine", features=rows)
        assert inline.scores[1:].tolist() == expected[1:].tolist()
        assert inline.status.tolist() == [3, 0, 0, 0, 0], "a score that is no number never leaves"
        assert inline.weights.tolist() == [0.0] * 5
        assert (inline.generation, inline.posture) == (1, "NORMAL")
        (described,) = await scorer.describe("yours")
        assert described.features == ("f0", "f1", "f2")

        (digest,) = inline.releases
        assert (await asyncio.to_thread(load_scratch, home, digest)).max_weight == 0.0, "whatever weight it is given"
        key = (await asyncio.to_thread(read_row_keys, home))[1]
        now_ns = time.time_ns()
        row = FeatureRow(
            bytes.fromhex(scratch_feature_set(digest)), "i1", now_ns, now_ns, 0, now_ns + 60_000_000_000, rows[1]
        )
        pushed = await control.push([encode_row(row, key_id=1, key=key)])
        assert (pushed.accepted, pushed.refused) == (1, ())
        table = await scorer.score("yours")
        assert table.status.tolist() == [1, 0]
        assert table.scores[1] == expected[1]
        assert home.ring(0, scratch_feature_set(digest)).exists()
        await control.halt("mine", reason="test")
        assert (await scorer.score("mine", features=rows)).posture == "HALTED"
    assert not home.root.exists()
    assert not home.ring(0, "").parent.exists()


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (None, ScratchRefused, "expected an ONNX file at"),
        (b"no model", ModelRefused, "expected an ONNX model"),
        (model("Sin"), ModelRefused, "expected operators of the list, found 'Sin'"),
    ],
)
async def test_a_model_that_no_release_could_hold_is_not_served(
    tmp_path: Path, body: bytes | None, error: type[Exception], words: str
) -> None:
    path = tmp_path / "model.onnx"
    if body is not None:
        path.write_bytes(body)
    with pytest.raises(error, match=words):
        async with serve_scratch({"mine": path}, Hosting(listen="127.0.0.1:0"), instruments=1):
            pass


async def start(*arguments: str) -> tuple[asyncio.subprocess.Process, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signalbox", "serve", *arguments, "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    line = await process.stdout.readline()
    return process, json.loads(line) if line else None


async def heard(process: asyncio.subprocess.Process, words: bytes) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while words not in await process.stderr.readline():
            pass


async def test_the_command_says_where_rolls_on_sighup_and_drains_on_sigterm(file: Path) -> None:
    core = min(os.sched_getaffinity(0))
    serve = ("--scratch", f"mine={file}", "--listen", "127.0.0.1:0", "--cores", str(core), "--busy-poll")
    process, ready = await start(*serve, "--metrics", "127.0.0.1:0")
    await heard(process, b"SCRATCH: mine is")
    assert (ready["transport"], ready["cores"], ready["scratch"]) == ("native", [core], True)
    assert set(ready) == {
        *("addresses", "control", "metrics", "pids", "transport", "cores", "scratch", "home", "signals"),
    }
    (pid,) = ready["pids"]
    assert os.sched_getaffinity(pid) == {core}
    async with AsyncClient(*ready["addresses"]) as scorer:
        process.send_signal(signal.SIGHUP)
        await heard(process, b"every worker was replaced")
        assert (await scorer.score("mine", features=np.zeros((1, COLUMNS)))).scores.tolist() == [0.0]
    assert not await asyncio.to_thread(Path(f"/proc/{pid}").exists)
    process.terminate()
    assert await process.wait() == 0
    assert not await asyncio.to_thread(Path(ready["home"]).exists)


async def test_scratch_workers_go_with_whoever_started_them(file: Path) -> None:
    process, ready = await start("--scratch", f"mine={file}", "--listen", "127.0.0.1:0")
    (pid,) = ready["pids"]
    worker = os.pidfd_open(pid)
    process.kill()
    await process.wait()
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(worker, gone.set)
    async with asyncio.timeout(20):
        await gone.wait()
    os.close(worker)
    await asyncio.to_thread(_clear_away, Home(Path(ready["home"])))


def _clear_away(home: Home) -> None:
    """What kill -9 left."""
    for folder in (home.ring(0, "").parent, home.root):
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "more", [["--home", "here"], ["--control", "there"], ["--listen", "0.0.0.0:0"], ["--scratch", "mine=again.onnx"]]
)
def test_what_does_not_go_with_scratch_is_a_wrong_call(file: Path, more: list[str]) -> None:
    done = CliRunner().invoke(signalbox, ["serve", "--scratch", f"mine={file}", *more])
    assert (done.exit_code, done.stdout) == (64, "")
    assert "expected" in done.stderr
