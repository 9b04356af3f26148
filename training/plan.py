"""What a sweep tries and how it is judged: plain values, decided before the first model is trained.

A plan's identity goes into the ledger with every trial, so that "we tried three" cannot mean "we tried three hundred".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

import msgspec
import numpy as np

from promotion.config import Count, Frozen, canonical_form
from training.trainer import Parameter

NonNegativeCount = Annotated[int, msgspec.Meta(ge=0)]


class Candidate(Frozen, frozen=True, kw_only=True):
    """One model to try: a trainer's name, its parameters and the seed. A baseline is tried and shown, never chosen."""

    trainer: str
    parameters: dict[str, Parameter] = msgspec.field(default_factory=dict)
    seed: int = 1
    baseline: bool = False

    def canonical(self) -> dict[str, Any]:
        """As canonical JSON types."""
        form = canonical_form(self)
        assert isinstance(form, dict)
        return form


class Plan(Frozen, frozen=True, kw_only=True):
    """A walk-forward over one signal's samples, and the candidates that go through it.

    as_of: the last day of knowledge; nothing known after the end of that day (UTC) is seen. first_test: from this day
    on every session is scored out of sample. step_sessions: a model scores so many sessions before it is trained anew.
    embargo_sessions: a gap between the last label trained on and the first session scored. train_sessions: how many
    sessions are trained on at most; None = all. reference_sessions: the newest so many make the reference for drift.
    """

    label: str
    as_of: date
    first_test: date
    candidates: tuple[Candidate, ...]
    step_sessions: Count = 504
    embargo_sessions: NonNegativeCount = 5
    train_sessions: Count | None = None
    reference_sessions: Count = 1260

    def canonical(self) -> dict[str, Any]:
        """As canonical JSON types; dates as YYYY-MM-DD."""
        return {**self.protocol(), "candidates": [candidate.canonical() for candidate in self.candidates]}

    def protocol(self) -> dict[str, Any]:
        """How every candidate is judged: the plan without its candidates, as canonical JSON types."""
        plain = {field: getattr(self, field) for field in self.__struct_fields__ if field != "candidates"}
        plain |= {"as_of": self.as_of.isoformat(), "first_test": self.first_test.isoformat()}
        form = canonical_form(plain)
        assert isinstance(form, dict)
        return form

    @property
    def as_of_ns(self) -> int:
        """The last instant of `as_of`, UTC nanoseconds: what is known at or before it may be used."""
        return _midnight_ns(self.as_of) + 86_400_000_000_000 - 1

    @property
    def first_test_ns(self) -> int:
        """The first instant of `first_test`, UTC nanoseconds."""
        return _midnight_ns(self.first_test)


def honest_plan(as_of: date, *, first_test: date, label: str) -> Plan:
    """A handful of plain candidates: the ridge baseline and LightGBM around its defaults."""
    candidates = (
        Candidate(trainer="ridge", baseline=True),
        Candidate(trainer="lightgbm"),
        Candidate(trainer="lightgbm", parameters={"num_leaves": 4, "trees": 120}),
        Candidate(trainer="lightgbm", parameters={"num_leaves": 16, "trees": 60}),
    )
    return Plan(label=label, as_of=as_of, first_test=first_test, candidates=candidates)


def overfitted_plan(as_of: date, *, first_test: date, label: str, trials: int = 48, seed: int = 7) -> Plan:
    """How to fool oneself: many deep models on little history, a short test, and the best one picked.

    Kept in the product because a gate that has never been seen to refuse is not trusted.
    """
    generator = np.random.default_rng(seed)
    candidates = tuple(_deep_candidate(generator, trial) for trial in range(trials))
    return Plan(
        label=label,
        as_of=as_of,
        first_test=first_test,
        candidates=candidates,
        step_sessions=252,
        train_sessions=504,
        reference_sessions=756,
    )


def _deep_candidate(generator: np.random.Generator, seed: int) -> Candidate:
    parameters: Mapping[str, Parameter] = {
        "trees": int(generator.choice([30, 60])),
        "num_leaves": int(generator.choice([15, 31, 63])),
        "learning_rate": float(generator.choice([0.05, 0.1, 0.2])),
        "min_data_in_leaf": int(generator.choice([10, 20, 40])),
        "feature_fraction": float(generator.choice([0.3, 0.5, 0.8])),
        "bagging_fraction": 0.7,
        "lambda_l2": 0.0,
    }
    return Candidate(trainer="lightgbm", parameters=dict(parameters), seed=seed + 1)


def _midnight_ns(day: date) -> int:
    return int(np.datetime64(day, "ns").astype(np.int64))
