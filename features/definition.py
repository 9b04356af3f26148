"""What a feature is: a pure function of a window, and what is declared about it.

    @feature(inputs=("close_adjusted_final",), window=22, unit="ratio", owner="research")
    def return_21(close):
        return close[:, -1] / close[:, 0] - 1.0

The function's name is the feature's name. Two kinds are there:

- `window`: `f(float64 [entity, window]) -> float64 [entity]`, each row on its own. An entity is one instrument at one
  time; batch passes many times at once, online one.
- `cross_section`: `f(float64 [time, instrument, window]) -> float64 [time, instrument]`; it may look across the
  instruments of a time, never across times.

Arrays arrive C-contiguous with the window last, oldest first, one per input; a kernel must not write into them. NumPy's
reductions over a contiguous last axis give the same bits whoever calls, which is why batch and online agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from features.canonical import identity
from features.errors import DefinitionError
from features.source_identity import function_identity

Floats = npt.NDArray[np.float64]
Kernel = Callable[..., Floats]
Kind = Literal["window", "cross_section"]
Missing = Literal["strict", "latest"]


@dataclass(frozen=True, eq=False)
class Feature:
    """A named pure function of a point-in-time window.

    inputs: names of the panels it reads, in the order of the kernel's arguments.
    window: how many rows, the newest included. min_rows: how many of them must be there.
    kind: see the module. unit: of the result, for people.
    missing: `strict`: NaN wherever any value of the window is missing. `latest`: the kernel sees the NaNs and deals
        with them; the result is NaN where the newest value is missing or fewer than `min_rows` are there. Always: a
        result that is not finite is NaN; at the start of a series the window is filled up with NaN.
    time_to_live_sessions: for how many sessions a value may be served.
    owner: who answers for it.
    """

    name: str
    kernel: Kernel
    inputs: tuple[str, ...]
    window: int
    min_rows: int
    kind: Kind
    unit: str
    missing: Missing
    time_to_live_sessions: int
    owner: str

    @property
    def description(self) -> str:
        """The first line of the kernel's docstring."""
        return (self.kernel.__doc__ or "").strip().partition("\n")[0]

    @cached_property
    def identity(self) -> str:
        """64 hex digits: what the feature computes and how long it holds.

        Hash of the kernel's syntax tree and of every project function it calls (comments, docstrings and layout do
        not count), the inputs' names, window, missing rule, kind, time to live and dtype. Not in it: name, unit,
        owner, and what NumPy does on this machine (`features.fingerprint`). DefinitionError where the kernel is not
        pure as far as can be seen.
        """
        return identity(
            {
                "kernel": function_identity(self.kernel),
                "inputs": list(self.inputs),
                "window": self.window,
                "min_rows": self.min_rows,
                "kind": self.kind,
                "missing": self.missing,
                "time_to_live_sessions": self.time_to_live_sessions,
                "dtype": "float64",
            }
        )


def feature(
    *,
    inputs: tuple[str, ...],
    window: int,
    min_rows: int | None = None,
    kind: Kind = "window",
    unit: str,
    missing: Missing = "strict",
    time_to_live_sessions: int = 1,
    owner: str,
) -> Callable[[Kernel], Feature]:
    """Declares the decorated function a feature of its own name (see `Feature` for what the words mean).

    min_rows: the whole window when left out; less needs `missing="latest"`. DefinitionError when a declaration is
    out of its range; impurity is found when the feature's identity is first asked for.
    """

    def declare(kernel: Kernel) -> Feature:
        declared = Feature(
            name=kernel.__name__,
            kernel=kernel,
            inputs=tuple(inputs),
            window=window,
            min_rows=window if min_rows is None else min_rows,
            kind=kind,
            unit=unit,
            missing=missing,
            time_to_live_sessions=time_to_live_sessions,
            owner=owner,
        )
        _check(declared)
        return declared

    return declare


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """An ordered list of features: the columns of a model's input. Names are distinct."""

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        doubled = sorted({name for name in self.names if self.names.count(name) > 1})
        if doubled or not self.features:
            raise DefinitionError(
                f"feature set: expected one or more distinct features, found {', '.join(doubled) or 'none'}"
                f"{' twice' if doubled else ''}; name each once"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in column order."""
        return tuple(each.name for each in self.features)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs that any of them reads, sorted."""
        return tuple(sorted({name for each in self.features for name in each.inputs}))

    @property
    def max_window(self) -> int:
        """The longest window, in rows."""
        return max(each.window for each in self.features)

    @cached_property
    def feature_set_id(self) -> str:
        """64 hex digits: the identity of the definitions, in order."""
        return identity({"features": [[each.name, each.identity] for each in self.features]})

    def __len__(self) -> int:
        return len(self.features)


def _check(declared: Feature) -> None:
    where = f"feature {declared.name}"
    _one_of(where, "kind", declared.kind, get_args(Kind))
    _one_of(where, "missing", declared.missing, get_args(Missing))
    if not declared.inputs:
        raise DefinitionError(f"{where}: expected at least one input, found none; name the panels it reads")
    if declared.window < 1 or not 1 <= declared.min_rows <= declared.window:
        raise DefinitionError(
            f"{where}: expected 1 <= min_rows <= window, found min_rows {declared.min_rows}, window {declared.window}; "
            "correct the declaration"
        )
    if declared.missing == "strict" and declared.min_rows != declared.window:
        raise DefinitionError(
            f"{where}: expected min_rows = window with missing='strict', found {declared.min_rows} of "
            f"{declared.window}; say missing='latest' to allow gaps"
        )
    if declared.time_to_live_sessions < 1:
        raise DefinitionError(
            f"{where}: expected time_to_live_sessions of at least 1, found {declared.time_to_live_sessions}"
        )


def _one_of(where: str, word: str, found: Any, allowed: tuple[str, ...]) -> None:
    if found not in allowed:
        raise DefinitionError(
            f"{where}: expected {word} to be one of {', '.join(allowed)}, found {found!r}; correct the declaration"
        )
