"""What a feature is: a pure function of a window, and what is declared about it.

    @feature(inputs=("close_adjusted_final",), window=22, unit="share", owner="research")
    def return_21(close):
        return close[:, -1] / close[:, 0] - 1.0

The function's name is the feature's name. There are four kinds:

- `window`: `f(float64 [entity, window]) -> float64 [entity]`, each row on its own. An entity is one instrument at one
  time; batch passes many times at once, online one.
- `exact_accum`: `f(float64 [entity, contribution_rows]) -> int64 [terms, entity]`: what one row adds. The value is the
  sum of the window's contributions, or with two terms the ratio of their sums. Sums of integers are exact, so that
  they may be kept by adding and subtracting.
- `scan`: `f(float64 [states, entity], float64 [entity]) -> float64 [states, entity]`: a recursion from an anchor on,
  row by row, element by element. States are NaN at the anchor; the first one is the value.
- `cross_section`: `f(float64 [time, instrument]) -> float64 [time, instrument]`: across the instruments of a universe
  at one cut-off, never across times. It reads panels or other features.

One array per input, in their order, C-contiguous, oldest value first; a kernel must not write into them. NumPy's
reductions over a contiguous last axis give the same bits whoever calls, which is why batch and online agree. A kernel
gets its window and nothing else: there is no way to what lies outside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, Union

import numpy as np
import numpy.typing as npt

from features.anchor import Anchor
from features.canonical import identity
from features.declared import check
from features.errors import DefinitionError
from features.source_identity import function_identity

Floats = npt.NDArray[np.float64]
Kernel = Callable[..., npt.NDArray[Any]]
Kind = Literal["window", "exact_accum", "scan", "cross_section"]
Missing = Literal["strict", "latest"]
Clock = Literal["session", "event"]
CutOff = Literal["decision"]
Input: TypeAlias = Union[str, "Feature"]

WHOLE_PANEL = "panel"  # the universe of all instruments of the panel


@dataclass(frozen=True, eq=False, kw_only=True)
class Feature:
    """A named pure function of a point-in-time window.

    inputs: names of the panels it reads, in the order of the kernel's arguments; of a cross-section also features.
    window: how many rows, the newest included; of a scan, the most there may be since its anchor.
    span_ns: where given, rows whose event time is older than the newest by this or more count as missing: a window of
        time, capped to `window` rows.
    min_rows: how many rows of the window must be there.
    kind: see the module. unit: of the result, for people.
    missing: `strict`: NaN wherever any value of the window is missing. `latest`: the kernel sees the NaNs and deals
        with them (an accumulation and a scan pass such rows over); the result is NaN where the newest value is missing
        or fewer than `min_rows` are there. Always: a result that is not finite is NaN; at the start of a series the
        window is filled up with NaN.
    clock: what a row is: a `session`'s close, or an `event` such as a quote or a bar.
    time_to_live_sessions: for how many sessions a value may be served.
    freshness_sessions: how old the newest input may be, in sessions of its source's calendar, before the value is
        stale, whatever its time to live.
    contribution_rows: of an accumulation, how many rows a contribution is made of.
    anchor, states: of a scan, where the recursion starts and how many numbers it carries along.
    universe: of a cross-section, who takes part: `panel`, or the name of an input that is above 0 for members.
    cut_off: of a cross-section, when it is taken: `decision`, the row's knowledge time. What comes later is not in it.
    owner: who answers for it. version: `name@v3` is the alias of version 3; whoever changes the identity raises it.
    formula, source, tested_on: for people: what is computed, who says so, and on what real data it was tested.
    """

    name: str
    kernel: Kernel
    inputs: tuple[Input, ...]
    window: int
    min_rows: int
    unit: str
    owner: str
    kind: Kind = "window"
    span_ns: int | None = None
    missing: Missing = "strict"
    clock: Clock = "session"
    time_to_live_sessions: int = 1
    freshness_sessions: int = 1
    contribution_rows: int = 1
    anchor: Anchor | None = None
    states: int = 0
    universe: str = ""
    cut_off: CutOff | Literal[""] = ""
    version: int = 1
    formula: str = ""
    source: str = ""
    tested_on: str = ""

    def __post_init__(self) -> None:
        check(self)

    @property
    def description(self) -> str:
        """The first line of the kernel's docstring."""
        return (self.kernel.__doc__ or "").strip().partition("\n")[0]

    @property
    def alias(self) -> str:
        """`name@vN`."""
        return f"{self.name}@v{self.version}"

    @cached_property
    def parents(self) -> tuple[Feature, ...]:
        """The features among its inputs."""
        return tuple(each for each in self.inputs if isinstance(each, Feature))

    @cached_property
    def depth(self) -> int:
        """1, or one more than its deepest parent's: what it reads comes before it in this order."""
        return 1 + max((each.depth for each in self.parents), default=0)

    @property
    def across(self) -> bool:
        """Whether it looks across instruments."""
        return self.kind == "cross_section"

    @cached_property
    def read(self) -> tuple[Input, ...]:
        """What it reads itself: its inputs, then the panel of its universe where that is none of them."""
        return self.inputs if self.universe in ("", WHOLE_PANEL, *self.inputs) else (*self.inputs, self.universe)

    @property
    def read_names(self) -> tuple[str, ...]:
        """The names of what it reads itself, panels and features."""
        return tuple(each if isinstance(each, str) else each.name for each in self.read)

    @cached_property
    def panels(self) -> tuple[str, ...]:
        """The panels among what it reads, in that order."""
        return tuple(each for each in self.read if isinstance(each, str))

    @cached_property
    def reach(self) -> int:
        """How many rows of its panels a value depends on, its parents' included."""
        own = {
            "window": self.window,
            "exact_accum": self.window + self.contribution_rows - 1,
            "scan": self.window + 1,  # the row before the anchor shows that it is one
            "cross_section": 1,
        }[self.kind]
        return max([own, *(each.reach for each in self.parents)])

    @cached_property
    def identity(self) -> str:
        """64 hex digits: what the feature computes and how long it holds.

        Hash of the kernel's syntax tree and of every project function it calls (comments, docstrings and layout do
        not count), of the inputs (a feature's by its identity), and of all that is declared but name, unit, owner,
        version and the words for people. What NumPy does on this machine is not in it (`features.fingerprint`).
        DefinitionError where the kernel is not pure as far as can be seen.
        """
        return identity(
            {
                "kernel": function_identity(self.kernel),
                "inputs": [each if isinstance(each, str) else {"feature": each.identity} for each in self.inputs],
                "window": self.window,
                "span_ns": self.span_ns,
                "min_rows": self.min_rows,
                "kind": self.kind,
                "missing": self.missing,
                "clock": self.clock,
                "time_to_live_sessions": self.time_to_live_sessions,
                "freshness_sessions": self.freshness_sessions,
                "contribution_rows": self.contribution_rows,
                "anchor": None if self.anchor is None else [self.anchor.period, self.anchor.before],
                "states": self.states,
                "universe": self.universe,
                "cut_off": self.cut_off,
                "dtype": "float64",
            }
        )


def feature(
    *,
    inputs: tuple[Input, ...],
    window: int = 1,
    span_ns: int | None = None,
    min_rows: int | None = None,
    kind: Kind = "window",
    unit: str,
    missing: Missing = "strict",
    clock: Clock = "session",
    time_to_live_sessions: int = 1,
    freshness_sessions: int = 1,
    contribution_rows: int = 1,
    anchor: Anchor | None = None,
    states: int = 0,
    universe: str = "",
    cut_off: CutOff | Literal[""] = "",
    owner: str,
    version: int = 1,
    formula: str = "",
    source: str = "",
    tested_on: str = "",
) -> Callable[[Kernel], Feature]:
    """Declares the decorated function a feature of its own name (see `Feature` for what the words mean).

    min_rows: the whole window when left out; less needs `missing="latest"`. DefinitionError when a declaration is
    out of its range, such as a scan without an anchor; impurity is found when the feature's identity is first asked
    for.
    """

    def declare(kernel: Kernel) -> Feature:
        return Feature(
            name=kernel.__name__,
            kernel=kernel,
            inputs=tuple(inputs),
            window=window,
            span_ns=span_ns,
            min_rows=window if min_rows is None else min_rows,
            kind=kind,
            unit=unit,
            missing=missing,
            clock=clock,
            time_to_live_sessions=time_to_live_sessions,
            freshness_sessions=freshness_sessions,
            contribution_rows=contribution_rows,
            anchor=anchor,
            states=states,
            universe=universe,
            cut_off=cut_off,
            owner=owner,
            version=version,
            formula=formula,
            source=source,
            tested_on=tested_on,
        )

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

    @cached_property
    def computed(self) -> tuple[Feature, ...]:
        """The set's features in column order, then those that only others of them read; each once."""
        return tuple(dict.fromkeys([*self.features, *_ancestors(self.features)]))

    @cached_property
    def cross_sections(self) -> tuple[Feature, ...]:
        """The computed ones that look across instruments, each after what it reads."""
        return tuple(sorted((each for each in self.computed if each.across), key=lambda each: each.depth))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The panels that any of them reads, itself or through another, sorted."""
        return tuple(sorted({name for each in self.computed for name in each.panels}))

    @cached_property
    def max_window(self) -> int:
        """How many rows of the panels the furthest-reaching of them depends on."""
        return max(each.reach for each in self.features)

    @cached_property
    def feature_set_id(self) -> str:
        """64 hex digits: the identity of the definitions, in order."""
        return identity({"features": [[each.name, each.identity] for each in self.features]})

    def __len__(self) -> int:
        return len(self.features)


def _ancestors(features: tuple[Feature, ...]) -> Iterator[Feature]:
    for each in features:
        yield from each.parents
        yield from _ancestors(each.parents)
