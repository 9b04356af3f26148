"""What a worker serves: one frozen route per signal, swapped as one assignment.

A request takes its route once, when it comes in; release, weight, posture and generation of its reply are those of
that route, so that no reply mixes two generations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from serving.errors import NoLiveRelease, UnknownRelease
from serving.runtime.backend import Model

Posture = Literal["NORMAL", "NO_NEW_RISK", "HALTED"]
_CAUTION: tuple[Posture, ...] = ("NORMAL", "NO_NEW_RISK", "HALTED")  # each more careful than the one before


def more_careful(one: Posture, other: Posture) -> Posture:
    """The one that allows less."""
    return max(one, other, key=_CAUTION.index)


@dataclass(frozen=True, eq=False)
class Route:
    """One signal as it is served at one generation.

    weight: capital weight, 0..1, of the live release. models: what may be asked for by digest: live, previous, shadow.
    universe: the signal's instruments, in its order. places: per feature set, where the table keeps each of them.
    reason: why it is halted here although the ledger has it otherwise, or "".
    """

    signal: str
    generation: int
    posture: Posture
    weight: float
    live: str | None
    models: Mapping[str, Model]
    universe: tuple[str, ...]
    places: Mapping[bytes, Mapping[str, int]]
    reason: str = ""

    @property
    def halted(self) -> bool:
        """Whether every score of this signal is refused."""
        return self.posture == "HALTED"

    def model(self, release: str) -> Model:
        """The model of `release`, "" for the live one. NoLiveRelease or UnknownRelease when there is none."""
        live = None if self.live is None else self.models.get(self.live)
        if not release and live is not None:
            return live
        if not release:
            raise NoLiveRelease(
                f"signal {self.signal!r}: expected a live release, found none at generation {self.generation}"
                f"{': ' + self.reason if self.reason else ''}; promote one"
            )
        if release not in self.models:
            loaded = ", ".join(digest[:12] for digest in self.models) or "none"
            raise UnknownRelease(
                f"signal {self.signal!r}: expected a loaded release ({loaded}), found {release[:80]!r}"
            )
        return self.models[release]

    def weight_of(self, model: Model) -> float:
        """The capital weight that leaves with scores of `model`: none unless it is the live release."""
        return min(self.weight, model.max_weight) if model.digest == self.live else 0.0


class Releases(Protocol):
    """Whatever says which releases a signal has."""

    @property
    def live(self) -> str | None:
        """The release that is served."""
        ...

    @property
    def previous(self) -> str | None:
        """The release that a rollback goes to."""
        ...

    @property
    def shadow(self) -> tuple[str, ...]:
        """Releases that are scored on request alone."""
        ...


def wanted_releases(state: Releases) -> tuple[str, ...]:
    """The releases that a worker keeps loaded for a signal: live, the one a rollback goes to, and shadows."""
    wanted = (state.live, state.previous, *state.shadow)
    return tuple(dict.fromkeys(digest for digest in wanted if digest))
