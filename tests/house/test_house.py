"""The house rules that no linter holds."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from blockbuster import BlockingError, blockbuster_ctx

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("features", "monitoring", "promotion", "protos", "serving", "signalbox", "training")


async def test_a_coroutine_that_blocks_the_loop_fails() -> None:
    with blockbuster_ctx(), pytest.raises(BlockingError):
        time.sleep(0.001)  # noqa: ASYNC251 - the fault under test


def test_a_rooms_init_is_a_docstring_and_nothing_else() -> None:
    for room in ROOMS:
        for init in (ROOT / room).rglob("__init__.py"):
            text = init.read_text()
            assert re.fullmatch(r'""".*?"""\n', text, re.DOTALL), f"{init.relative_to(ROOT)}: more than a docstring"


def test_the_lock_holds_hashes_and_no_registry_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"https?://|--index-url|--find-links", lock)
    for requirement in re.split(r"\n(?=[a-z0-9])", lock.strip()):
        assert "--hash=sha256:" in requirement, f"no hash: {requirement.splitlines()[0]}"


def test_torch_stands_outside_the_lock() -> None:
    assert not re.search(r"^(torch|nvidia)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert (ROOT / "requirements-deep.txt").read_text().strip() == "torch==2.13.0"


def test_no_pickle_loader_and_no_environment_read_in_the_rooms() -> None:
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            text = file.read_text()
            assert not re.search(r"^\s*(import|from) (pickle|joblib|cloudpickle|dill)\b", text, re.MULTILINE), file
            assert "allow_pickle=True" not in text, file


def test_the_runtime_stays_light() -> None:
    heavy = {"pandas", "sklearn", "mlflow", "click", "grpc", "polars", "matplotlib", "lightgbm"}
    modules = "print(*sorted({m.split('.')[0] for m in sys.modules}))"
    code = f"import sys, serving.runtime.engine, serving.runtime.loader; {modules}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not heavy & set(done.stdout.split())


def test_every_make_verb_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for verb in ("demo", "test", "check", "long", "bench", "serve", "clean"):
        assert re.search(rf"^{verb}:.*## \S", makefile, re.MULTILINE), verb
