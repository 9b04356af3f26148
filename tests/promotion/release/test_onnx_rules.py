"""What an ONNX model may contain, by list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from promotion.errors import ModelRefused
from promotion.release.onnx_rules import check_model

Edit = Callable[[ModelProto], None]


def _edited(model: bytes, edit: Edit) -> bytes:
    proto = onnx.load_model_from_string(model)
    edit(proto)
    return bytes(proto.SerializeToString())


def _external(proto: ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../etc/passwd")


def _external_without_the_mark(proto: ModelProto) -> None:
    proto.graph.initializer[0].external_data.add(key="location", value="weights.bin")


def _external_in_an_attribute(proto: ModelProto) -> None:
    tensor = numpy_helper.from_array(np.ones(1, np.float32), "hidden")
    tensor.external_data.add(key="location", value="weights.bin")
    proto.graph.node.append(helper.make_node("Constant", [], ["k"], value=tensor))


def _custom_operator(proto: ModelProto) -> None:
    proto.graph.node[0].domain = "com.evil"


def _unknown_operator(proto: ModelProto) -> None:
    proto.graph.node[0].op_type = "Exec"


def _loop(proto: ModelProto) -> None:
    body = helper.make_graph([helper.make_node("Exec", ["a"], ["b"])], "body", [], [])
    proto.graph.node.append(helper.make_node("Loop", ["", ""], ["o"], body=body))


def _hidden_in_a_subgraph(proto: ModelProto) -> None:
    inner = helper.make_graph([helper.make_node("Exec", ["a"], ["b"], name="deep")], "inner", [], [])
    proto.graph.node.append(helper.make_node("Identity", ["score"], ["copy"], body=inner))


def _local_function(proto: ModelProto) -> None:
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("evil", "F", ["x"], ["y"], [], opsets))


def _training_steps(proto: ModelProto) -> None:
    proto.training_info.add()


def _sparse(proto: ModelProto) -> None:
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [10**9]))


def _bomb(proto: ModelProto) -> None:
    proto.graph.initializer[0].dims[:] = [2**31, 2**31]


def _negative_size(proto: ModelProto) -> None:
    proto.graph.initializer[0].dims[:] = [-1, 3]


def _two_outputs(proto: ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Identity", ["score"], ["copy"]))
    proto.graph.output.append(helper.make_tensor_value_info("copy", TensorProto.FLOAT, ["rows", 1]))


def _double_input(proto: ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_external, "found external data of 'weights'"),
        (_external_without_the_mark, "found external data of 'weights'"),
        (_external_in_an_attribute, "found external data of 'hidden'"),
        (_custom_operator, "'MatMul' of domain 'com.evil'"),
        (_unknown_operator, "'Exec' of domain 'ai.onnx'"),
        (_loop, "'Loop' of domain 'ai.onnx'"),
        (_hidden_in_a_subgraph, r"'Exec' of domain 'ai.onnx' \(node 'deep'\)"),
        (_local_function, "found functions or training steps"),
        (_training_steps, "found functions or training steps"),
        (_sparse, "found a sparse initialiser"),
        (_bomb, "expected tensors of at most"),
        (_negative_size, "expected tensors of at most"),
        (_two_outputs, "expected one input and one output, found 1 and 2"),
        (_double_input, "well-formed|expected float32 at 'features'"),
    ],
)
def test_a_model_that_breaks_a_rule_is_refused_by_name(make_model: Any, edit: Edit, message: str) -> None:
    with pytest.raises(ModelRefused, match=message):
        check_model(_edited(make_model(), edit))


def test_an_ordinary_model_passes(make_model: Any) -> None:
    (inputs,), (outputs,) = check_model(make_model())
    assert (inputs.name, inputs.shape, outputs.name, outputs.shape) == ("features", ("rows", 3), "score", ("rows", 1))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_do_worse_than_being_refused(make_model: Any, data: st.DataObject) -> None:
    model = bytearray(make_model())
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    try:
        check_model(bytes(model[: data.draw(st.integers(1, len(model)))]))
    except ModelRefused as error:
        assert str(error).startswith("model.onnx: expected")  # noqa: PT017 - a mutation may also leave a good model


@given(data=st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ModelRefused, match=r"^model.onnx: expected"):
        check_model(data)


def test_columns_must_be_the_features(desk: Any, make_model: Any) -> None:
    with pytest.raises(ModelRefused, match=r"expected an input of \[n, 3\], found \['rows', 4\]"):
        desk.build(files={"model.onnx": make_model(columns=4)})
