"""What an ONNX model may contain: operators of a list, everything inside the file, bounded sizes.

Formats are allowed by list, never refused by pattern. External data is refused outright wherever a tensor can stand
(initialisers, attributes, subgraphs, functions): several published attacks on ONNX begin there.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from promotion.errors import ModelRefused
from promotion.release.manifest import Tensor

MODEL = "model.onnx"
MAX_TENSOR_BYTES = 128 * 2**20
_STANDARD = """
Abs Add ArgMax ArgMin BatchNormalization Cast Clip Concat Constant Div Elu Equal Erf Exp Flatten Gather Gelu Gemm
Greater GreaterOrEqual HardSigmoid Identity IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
MatMul Max Mean Min Mul Neg Not Or And Pow Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum Relu Reshape Round Selu
Sigmoid Sign Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh Transpose Unsqueeze Where
"""
_CLASSIC = """
ArrayFeatureExtractor FeatureVectorizer Imputer LinearRegressor Normalizer Scaler SVMRegressor TreeEnsemble
TreeEnsembleRegressor
"""
OPERATORS = {"": frozenset(_STANDARD.split()), "ai.onnx.ml": frozenset(_CLASSIC.split())}
_DTYPES = {TensorProto.FLOAT: "float32"}


def check_model(model: bytes) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The model's input and output tensors. ModelRefused, which names the fault, when it breaks a rule."""
    proto = _parse(model)
    if proto.functions or proto.training_info:
        raise ModelRefused(f"{MODEL}: expected a plain graph, found functions or training steps of its own")
    for graph in _graphs(proto.graph):
        _check_graph(graph)
    try:
        onnx.checker.check_model(proto, full_check=False)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelRefused(f"{MODEL}: expected a well-formed model, found: {error}") from error
    inputs, outputs = tuple(map(_tensor, proto.graph.input)), tuple(map(_tensor, proto.graph.output))
    if len(inputs) != 1 or len(outputs) != 1:
        raise ModelRefused(
            f"{MODEL}: expected one input and one output, found {len(inputs)} and {len(outputs)}; export scores alone"
        )
    return inputs, outputs


def _parse(model: bytes) -> ModelProto:
    try:
        return onnx.load_model_from_string(model)
    except (DecodeError, RuntimeError, ValueError) as error:
        raise ModelRefused(f"{MODEL}: expected an ONNX model, found bytes that are none ({error})") from error


def _graphs(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _graphs(inner)


def _check_graph(graph: GraphProto) -> None:
    for tensor in graph.initializer:
        _check_tensor(tensor)
    if graph.sparse_initializer:
        raise ModelRefused(f"{MODEL}: expected dense tensors, found a sparse initialiser; store it dense")
    for node in graph.node:
        _check_node(node)


def _check_node(node: NodeProto) -> None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    if node.op_type not in OPERATORS.get(domain, frozenset()):
        raise ModelRefused(
            f"{MODEL}: expected operators of the list, found {node.op_type!r} of domain {node.domain or 'ai.onnx'!r} "
            f"(node {node.name!r}); export the model without it, or have the list reviewed"
        )
    for attribute in node.attribute:
        _check_attribute(attribute)


def _check_attribute(attribute: AttributeProto) -> None:
    for tensor in (attribute.t, *attribute.tensors):
        _check_tensor(tensor)
    if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
        raise ModelRefused(f"{MODEL}: expected dense tensors, found a sparse one in attribute {attribute.name!r}")


def _check_tensor(tensor: TensorProto) -> None:
    if tensor.external_data or tensor.data_location != TensorProto.DEFAULT:
        raise ModelRefused(
            f"{MODEL}: expected every tensor inside the file, found external data of {tensor.name!r}; "
            "save the model in one file"
        )
    elements = 1
    for length in tensor.dims:
        elements *= length
    if not 0 <= elements * 8 <= MAX_TENSOR_BYTES:
        raise ModelRefused(f"{MODEL}: expected tensors of at most {MAX_TENSOR_BYTES} bytes, found {tensor.name!r}")


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    if kind.elem_type not in _DTYPES:
        raise ModelRefused(f"{MODEL}: expected float32 at {value.name!r}, found another type; cast inside the model")
    shape = tuple(size.dim_value if size.HasField("dim_value") else size.dim_param for size in kind.shape.dim)
    return Tensor(name=value.name, dtype="float32", shape=shape)
