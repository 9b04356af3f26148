"""Clients that a bench can measure with. Each is a function from a running server, a question and a load to a Reading.

`repeated` is h2load: a C client that sends one row again and again. `varied` is our own, whose rows all differ; its
questions are `ManyQuestions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from loadtests import h2load, varied
from loadtests.h2load import Load, Reading
from loadtests.questions import Question
from loadtests.servers import Server


class Measure(Protocol):
    """One measured run of about `seconds`, warm-up discarded; ReadingRefused when its number must not be believed."""

    def __call__(self, server: Server, question: Question, load: Load, *, seconds: float) -> Reading:
        """See the class."""
        ...


CLIENTS: Mapping[str, Measure] = {"repeated": h2load.measure, "varied": varied.measure}
