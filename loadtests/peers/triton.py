"""Triton from its PyPI wheel: the real `tritonserver` 2.51, with the Python backend running ONNX Runtime.

The wheel `nvidia-pytriton` carries the server and the Python backend alone; Triton's C++ ONNX Runtime backend is not in
it, so it is not measured here: the bench quotes what was measured elsewhere. PyTriton's own `Triton()` adds a proxy
process and is not used: this is the bare binary.

The backend's stub process embeds Python, so it must find the interpreter's own libpython and standard library first
(LD_LIBRARY_PATH, PYTHONHOME), else it takes another of the same minor version and fails. It does not read PYTHONPATH,
but it looks for modules in its working directory first: so it runs in the environment's site-packages.
"""

from __future__ import annotations

import shutil
import sys
import sysconfig
from functools import partial
from pathlib import Path

from loadtests.harness.cache import cache
from loadtests.harness.counters import metric
from loadtests.harness.model import COLUMNS, INPUT, BenchModel
from loadtests.harness.servers import HOST, Launch, PeerMissing, free_port
from loadtests.peers.environment import HERE, virtual_environment

REQUIREMENTS = ("nvidia-pytriton==0.7.0", "onnxruntime==1.31.1")
MAX_BATCH = 256
_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: {max_batch}
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: [ {columns} ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ 1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
{batching}
"""


def triton(model: BenchModel, *, batching: bool) -> Launch:
    """Triton serving `model`. batching: its dynamic batcher, without a delay, beside none. PeerMissing where the wheel
    cannot be installed.
    """
    venv = virtual_environment("triton", REQUIREMENTS)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = venv / "lib" / f"python{version}" / "site-packages"
    wheel = packages / "pytriton" / "tritonserver"
    repository = _repository(model, batching=batching)
    port, http, page = free_port(), free_port(), free_port()
    return Launch(
        name=f"triton-{'batching' if batching else 'plain'}",
        command=(
            str(wheel / "bin" / "tritonserver"),
            f"--backend-directory={_backends(wheel, version)}",
            f"--model-repository={repository}",
            "--model-control-mode=explicit",
            f"--load-model={model.name}",
            f"--grpc-address={HOST}",
            f"--grpc-port={port}",
            f"--http-address={HOST}",
            f"--http-port={http}",
            f"--metrics-address={HOST}",
            f"--metrics-port={page}",
        ),
        port=port,
        counted=partial(metric, page, "nv_inference_request_success_total", {"model": model.name}),
        environment={
            "LD_LIBRARY_PATH": f"{_library_folder(version)}:{packages / 'nvidia_pytriton.libs'}",
            "PYTHONHOME": sys.base_prefix,
        },
        folder=packages,
    )


def _repository(model: BenchModel, *, batching: bool) -> Path:
    root = cache("peers", "triton", f"models-{'batching' if batching else 'plain'}")
    folder = root / model.name / "1"
    folder.mkdir(parents=True, exist_ok=True)
    config = _CONFIG.format(
        name=model.name,
        max_batch=MAX_BATCH,
        input=INPUT,
        columns=COLUMNS,
        output=model.output,
        batching="dynamic_batching { }" if batching else "",
    )
    (folder.parent / "config.pbtxt").write_text(config)
    shutil.copy(HERE / "triton_model" / "model.py", folder / "model.py")
    shutil.copy(model.path, folder / "model.onnx")
    return root


def _backends(wheel: Path, version: str) -> Path:
    """A backend folder in which the stub of this Python version lies beside the backend's library."""
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        raise PeerMissing(f"triton: expected a backend stub for Python {version} in the wheel, found none; use 3.11")
    folder = cache("peers", "triton") / "backends"
    shutil.copytree(wheel / "backends" / "python", folder / "python", dirs_exist_ok=True)
    shutil.copy(stub, folder / "python" / stub.name)
    return folder


def _library_folder(version: str) -> Path:
    """Where the interpreter's shared library lies."""
    library = f"libpython{version}.so.1.0"
    for folder in map(Path, (sysconfig.get_config_var("LIBDIR"), f"/usr/lib/{sys.implementation._multiarch}")):
        if (folder / library).exists():
            return folder
    raise PeerMissing(f"triton: expected {library}, found none; run: sudo apt-get install libpython{version}")
