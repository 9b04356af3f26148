"""Whom the monitor asks for scores: the scorer itself, as any client would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from protos.client import AsyncClient
from protos.errors import CallError

OK = 0  # the status of a score that counts


@dataclass(frozen=True, eq=False)
class Answer:
    """What a scorer replied: one value an instrument, in the order asked.

    scores: float32, NaN where status is not OK. status: uint8 (docs/contracts.md, "Score"). weight: the capital weight
    that OK scores carry, 0 when there is none.
    """

    generation: int
    posture: str
    weight: float
    scores: npt.NDArray[np.float32]
    status: npt.NDArray[np.uint8]


class Scorer(Protocol):
    """Answers, or does not."""

    async def ask(self, signal: str, instruments: Sequence[str], release: str) -> Answer | None:
        """The scores that `release` (a digest) gives now; None when nobody answered in time or the scorer refused."""
        ...


class ClientScorer:
    """Asks over the wire, within `timeout` seconds. A call that fails is no answer: silence is judged elsewhere."""

    def __init__(self, client: AsyncClient, *, timeout: float = 2.0) -> None:
        self._client = client
        self._timeout = timeout

    async def ask(self, signal: str, instruments: Sequence[str], release: str) -> Answer | None:
        """The scores that `release` gives now; None when the call failed."""
        try:
            score = await self._client.score(signal, instruments, release=release, timeout=self._timeout)
        except CallError:
            return None
        weight = float(score.weights.max(initial=0.0))
        return Answer(score.generation, score.posture, weight, score.scores, score.status)
