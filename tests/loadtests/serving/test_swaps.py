"""Every reply under swaps is held to one release; an operator swaps them through the ledger."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from loadtests.clients.files import Texts
from loadtests.harness.model import COLUMNS, BenchModel, make_rows
from loadtests.harness.small_home import SmallHome, make_small_home
from loadtests.serving.swaps import check, take
from protos.signalbox.v1 import scorer_pb2

ROWS = make_rows(50)


@pytest.fixture(scope="module")
def models(linear: Callable[[str, float], BenchModel]) -> dict[str, BenchModel]:
    return {"a" * 64: linear("one", 1.0), "b" * 64: linear("two", 2.0)}


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
