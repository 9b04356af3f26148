"""Run in a process of its own by test_inference.py: our messages and tritonclient's, of one name, in one process.

A descriptor pool takes a name once: were ours in the default pool, the second import would raise.
"""

from __future__ import annotations

from typing import Any

from tritonclient.grpc import model_config_pb2, service_pb2

from protos.inference import open_inference_pb2

SUBSETS = {"ModelConfig", "ModelInput", "ModelOutput"}  # Triton's have more fields than anybody here reads


def facts(field: Any) -> tuple[Any, ...]:
    """What a field is on the wire, and in a program that names it."""
    kind = field.message_type or field.enum_type
    oneof = field.containing_oneof
    return field.number, field.type, field.is_repeated, kind and kind.full_name, oneof and oneof.name


def compare(ours: Any, theirs: Any) -> None:
    mine = {field.name: facts(field) for field in ours.fields}
    known = {field.name: facts(field) for field in theirs.fields}
    if ours.name in SUBSETS:
        known = {name: known[name] for name in mine}
    assert mine == known, f"{ours.full_name}: {mine} is not {known}"
    for name, nested in ours.nested_types_by_name.items():
        compare(nested, theirs.nested_types_by_name[name])


def compare_service() -> None:
    ours = open_inference_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    theirs = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert ours.full_name == theirs.full_name
    for method in ours.methods:
        their = theirs.methods_by_name[method.name]
        for mine, known in ((method.input_type, their.input_type), (method.output_type, their.output_type)):
            assert mine.full_name == known.full_name, method.full_name


def compare_bytes() -> None:
    request = service_pb2.ModelInferRequest(model_name="s", model_version="3", id="i", raw_input_contents=[b"\0\1"])
    request.parameters["timeout"].int64_param = 5
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1.0, float("nan")])
    request.outputs.add(name="y").parameters["classification"].uint64_param = 1
    body = request.SerializeToString(deterministic=True)
    assert open_inference_pb2.ModelInferRequest.FromString(body).SerializeToString(deterministic=True) == body


def main() -> None:
    both = (service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)
    theirs = {name: kind for file in both for name, kind in file.message_types_by_name.items()}
    for name, ours in open_inference_pb2.DESCRIPTOR.message_types_by_name.items():
        compare(ours, theirs[name])
    types = model_config_pb2.DESCRIPTOR.enum_types_by_name["DataType"]
    assert dict(open_inference_pb2.DataType.items()) == {each.name: each.number for each in types.values}
    compare_service()
    compare_bytes()


if __name__ == "__main__":
    main()
