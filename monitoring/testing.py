"""Doubles that belong to the product: whoever tests against the monitor needs no scorer, ledger or sleep."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from monitoring.decision import Planned
from monitoring.policy import Action, Standing
from monitoring.scorer import Answer


class ScriptedScorer:
    """Answers with whatever `script(release)` gives; None for no answer. `standing` is read for each reply."""

    def __init__(self, script: Callable[[str], Sequence[float] | None], standing: Callable[[], Standing]) -> None:
        self._script = script
        self._standing = standing

    async def ask(self, signal: str, instruments: Sequence[str], release: str) -> Answer | None:
        """The script's scores; a NaN among them is REFUSED."""
        scores = self._script(release)
        if scores is None:
            return None
        values = np.asarray(scores, dtype=np.float32)
        standing = self._standing()
        weight = standing.weight if release == standing.live else 0.0
        status = np.where(np.isnan(values), 3, 0).astype(np.uint8)
        return Answer(standing.generation, standing.posture, weight, values, status)


class MemoryActuator:
    """A ledger of one signal in memory: it takes an action once a key, and only from the generation it was decided on.

    A person's acts are assignments to `state`.
    """

    def __init__(self, state: Standing) -> None:
        self.state = state
        self.taken: dict[str, Action] = {}

    def standing(self, signal: str) -> Standing:
        """The signal as it stands."""
        return self.state

    async def act(self, planned: Planned) -> str:
        """Takes the action, or says why it no longer applies."""
        if planned.key in self.taken:
            return "done: before"
        if planned.generation != self.state.generation:
            return f"superseded: expected generation {planned.generation}, found {self.state.generation}"
        self.taken[planned.key] = planned.action
        self.move(**_change(planned.action, planned.session_ns))
        return f"done: generation {self.state.generation}"

    def move(self, **fields: object) -> None:
        """Moves the signal on by one generation."""
        self.state = msgspec.structs.replace(self.state, generation=self.state.generation + 1, **fields)


def _change(action: Action, session_ns: int) -> dict[str, object]:
    if action.kind == "cut":
        return {"weight": float(action.after)}
    if action.kind == "rollback":
        return {"live": action.after, "previous": "", "rolled_back_ns": session_ns}
    return {"posture": action.after} if action.kind == "posture" else {"frozen": True}
