"""The model and the rows that every serving bench uses: gradient-boosted trees over 32 float32 features, as ONNX.

`m100` is 100 trees of 31 leaves, `m500` is 500 of 63, `m100_next` is as big as `m100` and gives other scores. Trained
on seeded rows with one thread and exported by onnxmltools, so every machine of one kind makes the same trees; the files
are kept in the benches' cache.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from loadtests.harness.cache import cache
from loadtests.harness.progress import say

Float32s = npt.NDArray[np.float32]

COLUMNS = 32
INPUT = "features"
SEED = 20_240
_TRAINING_ROWS = 20_000
_OPSET = 15


@dataclass(frozen=True)
class Shape:
    """How big a model is, and the seed that its training rows come from."""

    trees: int
    leaves: int
    seed: int = SEED


SHAPES: Mapping[str, Shape] = {
    "m100": Shape(100, 31),
    "m500": Shape(500, 63),
    "m100_next": Shape(100, 31, seed=SEED + 100),
}


@dataclass(frozen=True)
class BenchModel:
    """An ONNX file to serve, and the oracle of its scores. name: what servers call it."""

    name: str
    path: Path

    @cached_property
    def session(self) -> Any:
        """ONNX Runtime over the file, with the settings that Signalbox serves with."""
        from promotion.release.session import make_session

        return make_session(self.path.read_bytes())

    @property
    def output(self) -> str:
        """The name of the score tensor."""
        return str(self.session.get_outputs()[0].name)

    def scores(self, rows: Float32s) -> Float32s:
        """float32 [n]: what ONNX Runtime says of `rows`, float32 [n, 32]; every server's answer is held to it."""
        (scores,) = self.session.run(None, {INPUT: rows})
        return np.asarray(scores, np.float32).reshape(-1)


def bench_model(name: str) -> BenchModel:
    """The model `name` of SHAPES, trained and exported on first use. KeyError for another name."""
    shape = SHAPES[name]
    path = cache("models") / f"{name}-{shape.seed}.onnx"
    if not path.exists():
        say(f"training {name} ({shape.trees} trees, {shape.leaves} leaves)")
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(_export(_train(shape)))
        unfinished.rename(path)
    return BenchModel(name, path)


def make_rows(count: int, *, seed: int = SEED) -> Float32s:
    """float32 [count, 32], standard normal, no two alike: rows the branch predictor cannot learn."""
    return np.random.default_rng(seed).normal(size=(count, COLUMNS)).astype(np.float32)


def _train(shape: Shape) -> Any:
    import lightgbm

    rows = make_rows(_TRAINING_ROWS, seed=shape.seed + 1)
    noise = np.random.default_rng(shape.seed + 2).normal(scale=0.5, size=len(rows))
    targets = rows[:, 0] * rows[:, 1] + np.sin(3 * rows[:, 2]) + rows[:, 3:12].sum(axis=1) * 0.2 + noise
    parameters = {
        "objective": "regression",
        "num_leaves": shape.leaves,
        "learning_rate": 0.05,
        "min_data_in_leaf": 20,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "seed": shape.seed,
        "verbosity": -1,
    }
    return lightgbm.train(parameters, lightgbm.Dataset(rows, targets), num_boost_round=shape.trees)


def _export(booster: Any) -> bytes:
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    inputs = [(INPUT, FloatTensorType([None, COLUMNS]))]
    # zipmap: an option for classifiers; the graph has one float32 output [n, 1]
    proto = convert_lightgbm(booster, initial_types=inputs, target_opset=_OPSET, zipmap=False)
    return bytes(proto.SerializeToString(deterministic=True))
