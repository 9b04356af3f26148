"""Every reply under swaps is held to one release; an operator swaps them through the ledger."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from loadtests.clients.files import Texts
from loadtests.harness.model import COLUMNS, INPUT, BenchModel, make_rows
from loadtests.harness.small_home import SmallHome, make_small_home
from loadtests.serving.swaps import check, take
from protos.signalbox.v1 import scorer_pb2

ROWS = make_rows(50)


def linear(path: Path, slope: float) -> BenchModel:
    """`slope` times the sum of a row's features."""
    weights = numpy_helper.from_array(np.full((COLUMNS, 1), slope, np.float32), "weights")
    graph = helper.make_graph(
        [helper.make_node("MatMul", [INPUT, "weights"], ["score"])],
        "signal",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", COLUMNS])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["rows", 1])],
        [weights],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(proto.SerializeToString())
    return BenchModel(path.stem, path)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BenchModel]:
    folder = tmp_path_factory.mktemp("models")
    return {"a" * 64: linear(folder / "one.onnx", 1.0), "b" * 64: linear(folder / "two.onnx", 2.0)}


@pytest.fixture
def small(tmp_path: Path, models: dict[str, BenchModel]) -> Iterator[SmallHome]:
    files = [model.path.read_bytes() for model in models.values()]
    made = make_small_home(tmp_path / "home", files, columns=COLUMNS, instruments=2)
    yield made
    shutil.rmtree(made.home.ring(0, "0" * 64).parent, ignore_errors=True)


def reply(score: float, *releases: str, generation: int = 1, status: bytes = b"\0") -> bytes:
    scores = np.float32([score]).tobytes()
    message = scorer_pb2.ScoreReply(generation=generation, releases=releases, scores=scores, status=status)
    return bytes(message.SerializeToString())


def test_right_replies_of_both_releases_pass(models: dict[str, BenchModel]) -> None:
    (one, two), numbers = models, range(len(ROWS))
    replies = [reply(score, one) for score in models[one].scores(ROWS)]
    replies += [reply(score, two, generation=2) for score in models[two].scores(ROWS)]

    faults = check(Texts.of([*numbers, *numbers], replies), ROWS, models)

    assert (faults.replies, faults.wrong, faults.examples) == (100, 0, ())


def test_each_kind_of_mixture_is_found(models: dict[str, BenchModel]) -> None:
    one, two = models
    mine, other = float(models[one].scores(ROWS)[7]), float(models[two].scores(ROWS)[7])

    def words(*replies: bytes) -> str:
        faults = check(Texts.of([7] * len(replies), replies), ROWS, models)
        assert faults.wrong == 1
        return faults.examples[0]

    assert "the score of bbbb" in words(reply(other, one))
    assert "the score of none" in words(reply(mine + 1, one))
    assert "expected one release" in words(reply(mine, one, two))
    assert "status OK" in words(reply(mine, one, status=b"\3"))
    assert "one of the home's releases" in words(reply(mine, "c" * 64))
    assert "generation 1: expected aaaa" in words(reply(mine, one), reply(other, two))


def test_an_operator_swaps_while_a_client_asks(small: SmallHome, models: dict[str, BenchModel]) -> None:
    found = take(small, tuple(models.values()), seconds=1.5, every_seconds=0.3)

    assert found.outcome.failures == {}
    assert found.faults.wrong == 0, found.faults.examples
    assert found.faults.replies == found.outcome.in_all > 0
    first, second = small.releases
    assert [swap.release for swap in found.swaps] == [first, second] * (len(found.swaps) // 2)
    assert [swap.generation for swap in found.swaps] == sorted({swap.generation for swap in found.swaps})
