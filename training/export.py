"""A fitted model to ONNX bytes: the same model gives the same bytes, and the same answers (see `training.parity`).

The graph takes `features` (float32 [n, F]) to `score` (float32 [n, 1]). Unless the model may see missing values, a
guard in the graph itself turns a row with a NaN into a NaN score, which serving refuses: a tree would otherwise answer
a missing feature with some number.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from training.errors import ExportError
from training.trainer import FittedModel, Fragment

OPSET = 17
ML_OPSET = 3
IR_VERSION = 8  # the oldest that these opsets need: readable by every runtime that can run them
INPUT = "features"
OUTPUT = "score"


def export(model: FittedModel, *, columns: int, nan_ok: bool = False) -> bytes:
    """ONNX bytes of `model` over `columns` features. Raises ExportError when the graph is not well formed."""
    fragment = model.fragment()
    guard = _identity() if nan_ok else _guard(columns)
    graph = helper.make_graph(
        [*fragment.nodes, *guard.nodes],
        "signal",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", columns])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["rows", 1])],
        [*fragment.initialisers, *guard.initialisers],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="signalbox")
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"expected a well-formed ONNX graph, found one that is not: {error}") from error
    return bytes(proto.SerializeToString(deterministic=True))


def _guard(columns: int) -> Fragment:
    """raw + features · 0: adds +0 to a score of complete features and NaN to one with a missing feature."""
    zeros = numpy_helper.from_array(np.zeros((columns, 1), dtype=np.float32), "zeros")
    nodes = (
        helper.make_node("MatMul", [INPUT, "zeros"], ["missing"], name="missing"),
        helper.make_node("Add", ["raw", "missing"], [OUTPUT], name="guard"),
    )
    return Fragment(nodes, (zeros,))


def _identity() -> Fragment:
    return Fragment((helper.make_node("Identity", ["raw"], [OUTPUT], name="score"),))
