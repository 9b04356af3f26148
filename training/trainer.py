"""What a trainer is: one `fit`, and a fitted model that can answer, be exported exactly and say where it jumps.

A project outside this repository adds one under the entry-point group `signalbox.trainers`; the name of the entry point
is the trainer's name, its object a class without arguments.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, runtime_checkable

import numpy as np
import onnx
from numpy.typing import NDArray

from training.errors import TrainerError

GROUP = "signalbox.trainers"
BUILT_IN = {
    "lightgbm": "training.trainers.lightgbm:LightGBMTrainer",
    "ridge": "training.trainers.ridge:RidgeTrainer",
}

Parameter = bool | int | float | str
Parameters = Mapping[str, Parameter]


@dataclass(frozen=True)
class Rows:
    """What a model learns from: features float32 [n, F] without NaN, targets float64 [n], the F column names."""

    features: NDArray[np.float32]
    targets: NDArray[np.float64]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Fragment:
    """A piece of an ONNX graph: from the tensor `features` (float32 [n, F]) to the tensor `raw` (float32 [n, 1])."""

    nodes: tuple[onnx.NodeProto, ...]
    initialisers: tuple[onnx.TensorProto, ...] = ()


@runtime_checkable
class FittedModel(Protocol):
    """A model after `fit`."""

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64 [n] for float32 [n, F]; rows do not influence one another."""
        ...

    def fragment(self) -> Fragment:
        """The model as ONNX, exact up to float32 sums. Raises ExportError when there is no such form."""
        ...

    def thresholds(self) -> Mapping[int, NDArray[np.float64]]:
        """Column → where the model jumps, so that parity is tested on both sides of each; empty if it never does."""
        ...

    def native(self) -> bytes:
        """The model in its library's own text format: what a person opens later."""
        ...


@runtime_checkable
class Trainer(Protocol):
    """Learns a model from rows. Same rows, parameters and seed: same model, to the byte of its export."""

    def fit(self, rows: Rows, parameters: Parameters, *, seed: int) -> FittedModel:
        """Raises TrainerError for a parameter it does not know."""
        ...

    def load(self, native: bytes) -> FittedModel:
        """The model that said `native()`: what a validator opens to compare the export with."""
        ...


def predict(model: FittedModel, features: NDArray[np.float32], *, nan_ok: bool = False) -> NDArray[np.float64]:
    """float64 [n]: the model's answers; unless `nan_ok`, a row with a missing feature is answered NaN (no score)."""
    scores = np.full(len(features), np.nan)
    answered = np.ones(len(features), dtype=np.bool_) if nan_ok else ~np.isnan(features).any(axis=1)
    if answered.any():
        scores[answered] = model.predict(features[answered])
    return scores


def load_trainer(name: str) -> Trainer:
    """The trainer called `name`, built in or installed. Raises TrainerError for an unknown or doubled name."""
    known = available()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise TrainerError(f"expected one of the trainers {sorted(known)}, found {name!r}; did you mean {near}?")
    trainer = known[name].load()()
    if not isinstance(trainer, Trainer):
        raise TrainerError(f"expected {known[name].value} to make an object with fit(rows, parameters, seed=...)")
    return trainer


def available() -> dict[str, EntryPoint]:
    """Every trainer by name. Two of one name are refused: which one trained would be a matter of install order."""
    known = {name: EntryPoint(name, value, GROUP) for name, value in BUILT_IN.items()}
    for point in entry_points(group=GROUP):
        if point.name in known and known[point.name].value != point.value:
            raise TrainerError(
                f"expected one trainer called {point.name!r}, found {known[point.name].value} and {point.value}; "
                "rename or uninstall one"
            )
        known[point.name] = point
    return known


def choose(parameters: Parameters, defaults: Parameters, trainer: str) -> dict[str, Parameter]:
    """`defaults` with `parameters` over them. Raises TrainerError that names an unknown one."""
    unknown = sorted(set(parameters) - set(defaults))
    if unknown:
        raise TrainerError(f"expected parameters of {trainer} among {sorted(defaults)}, found {unknown}; remove them")
    return {**defaults, **parameters}
