"""What scores rows: one protocol, whatever runs the model behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from promotion.release.manifest import Tensor
from serving.runtime.allowance import Allowance
from serving.runtime.cost import RunCost
from serving.runtime.memo import Memo

Float32s = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

# What a model without a file takes and gives.
ROWS = Tensor(name="features", dtype="float32", shape=("rows", "features"))
SCORES = Tensor(name="score", dtype="float32", shape=("rows",))


class Backend(Protocol):
    """A model that is ready to run."""

    def predict(self, rows: Float32s) -> Float32s:
        """Scores of `rows`: C-contiguous float32 [n, feature] → float32 [n].

        A row's score has the same bits whatever batch it comes in. Raises ModelFailed when the runtime does.
        """
        ...


@dataclass(frozen=True, eq=False)
class Model:
    """A release as it is served, from its load to its retirement.

    digest: the release's. feature_set_id: 32 bytes. features: names, in the model's order. takes_nan: bool [feature].
    max_abs_score: a score beyond it is refused. max_weight: the most capital weight that may leave with its scores.
    allowance: how many rows a second it may score in this worker. memo: the scores of the table's present rows.
    cost: what its runs should take. input, output: the model file's tensors; their first dimension is the rows.
    """

    digest: str
    feature_set_id: bytes
    features: tuple[str, ...]
    takes_nan: Bools
    backend: Backend
    max_abs_score: float = float("inf")
    max_weight: float = 1.0
    allowance: Allowance = field(default_factory=Allowance)
    memo: Memo = field(default_factory=Memo)
    cost: RunCost = field(default_factory=RunCost)
    input: Tensor = ROWS
    output: Tensor = SCORES

    @property
    def columns(self) -> int:
        """How many features a row has."""
        return len(self.features)

    @cached_property
    def score_limit(self) -> float:
        """The largest absolute score that may leave: the release's limit as float32 has it, and finite in any case."""
        largest = float(np.finfo(np.float32).max)
        return float(np.float32(min(self.max_abs_score, largest)))


@dataclass(frozen=True, eq=False)
class LinearBackend:
    """The fake one, for tests and trials without a model file: score = Σ weight · feature, summed left to right.

    >>> LinearBackend(np.array([1, 10], np.float32)).predict(np.array([[1, 2], [3, 4]], np.float32)).tolist()
    [21.0, 43.0]
    """

    weights: Float32s

    def predict(self, rows: Float32s) -> Float32s:
        """See Backend.predict."""
        score = np.zeros(len(rows), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # an infinite score is an answer, to be refused
            for column, weight in enumerate(self.weights):
                score += rows[:, column] * weight
        return score
