"""The model's runtime writes nothing about what it runs, and sends nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ("features", "monitoring", "promotion", "serving", "signalbox", "training")
MAKE_SESSION = """
from onnx import TensorProto, helper
from promotion.release.session import make_session
tensor = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1])
graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [tensor("x")], [tensor("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
make_session(model.SerializeToString()).run(None, {"x": [[1.0]]})
"""


def test_a_session_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", MAKE_SESSION], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_it_is_imported_in_one_place() -> None:
    importing = re.compile(r"^\s*(import|from) onnxruntime\b", re.MULTILINE)
    files = [file for room in ROOMS for file in (ROOT / room).rglob("*.py") if importing.search(file.read_text())]
    assert files == [ROOT / "promotion/release/runtime.py"]
