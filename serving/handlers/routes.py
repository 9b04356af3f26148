"""What a worker serves: one frozen route per signal, swapped as one assignment.

A request takes its route once, when it comes in; release, weight, posture and generation of its reply are those of
that route, so that no reply mixes two generations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from serving.errors import CanaryRefused, NoLiveRelease, UnknownRelease
from serving.runtime.backend import Model

Posture = Literal["NORMAL", "NO_NEW_RISK", "HALTED"]
Kind = Literal["cross_sectional", "time_series"]
_HASHES = 2**64
_CAUTION: tuple[Posture, ...] = ("NORMAL", "NO_NEW_RISK", "HALTED")  # each more careful than the one before


def more_careful(one: Posture, other: Posture) -> Posture:
    """The one that allows less."""
    return max(one, other, key=_CAUTION.index)


@dataclass(frozen=True)
class Canary:
    """A release that scores a share, 0..1, of a time-series signal's instruments in the live one's place."""

    release: str
    share: float


@dataclass(frozen=True, eq=False)
class Split:
    """Which release scores which row of a request.

    models: in the order of the reply's releases. index: uint8 [n], each row's among them; None for the first. weight:
    the capital weight of every OK score; weights: float32 [n] where it differs by row.
    """

    models: tuple[Model, ...]
    weight: float = 0.0
    weights: npt.NDArray[np.float32] | None = None
    index: npt.NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Route:
    """One signal as it is served at one generation.

    weight: capital weight, 0..1, of the live release. models: what may be asked for by digest: live, previous, shadow.
    universe: the signal's instruments, in its order. places: per feature set, where the table keeps each of them.
    reason: why it is halted here although the ledger has it otherwise, or "". shadow: releases that score, unasked and
    unseen, what the live one scores. canary: only for a time-series signal: the scores of two models do not rank
    together, so a cross-section is never split (CanaryRefused).
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
    kind: Kind = "cross_sectional"
    shadow: tuple[str, ...] = ()
    canary: Canary | None = None

    def __post_init__(self) -> None:
        if self.canary is None:
            return
        if self.kind != "time_series":
            raise CanaryRefused(
                f"signal {self.signal!r}: expected a time-series signal to split, found a {self.kind} one; ramp its "
                "capital weight, with the new release in shadow"
            )
        if not 0 <= self.canary.share <= 1:
            raise CanaryRefused(f"signal {self.signal!r}: expected a share of 0 to 1, found {self.canary.share}")

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
        """The capital weight that leaves with scores of `model`: none unless it is the live release or the canary."""
        serves = model.digest == self.live or model is self._canary_model
        return min(self.weight, model.max_weight) if serves else 0.0

    def shadows_of(self, model: Model) -> tuple[Model, ...]:
        """The shadow releases that score the rows that `model` does: none unless it is live and they take its rows."""
        if model.digest != self.live:
            return ()
        shadows = (self.models[digest] for digest in self.shadow if digest in self.models and digest != self.live)
        return tuple(each for each in shadows if each.feature_set_id == model.feature_set_id)

    def split(self, names: Sequence[str], release: str = "", *, inline: bool = False) -> Split:
        """Who scores rows of instruments `names` (none: rows without a name) when `release` ("": none) is asked for.

        inline: the rows come with the request, in the live release's order: a canary of other features gets none.
        Weight leaves with a row only where the release that scores it is the one that the instrument belongs to.
        NoLiveRelease or UnknownRelease as in `model`.
        """
        model, canary = self.model(release), self._canary_model
        if canary is None or not names or (inline and canary.feature_set_id != model.feature_set_id):
            return Split((model,), self.weight_of(model) if model.digest == self.live else 0.0)
        theirs = np.fromiter(map(self._is_canary, names), np.bool_, len(names))
        if release:
            belongs = theirs == (model is canary)
            return Split((model,), weights=np.where(belongs, self.weight_of(model), 0).astype(np.float32))
        if theirs.all() or not theirs.any():
            model = canary if theirs.all() else model
            return Split((model,), self.weight_of(model))
        weights = np.where(theirs, self.weight_of(canary), self.weight_of(model)).astype(np.float32)
        return Split((model, canary), weights=weights, index=theirs.astype(np.uint8))

    @cached_property
    def _canary_model(self) -> Model | None:
        if self.canary is None or self.canary.release == self.live:
            return None
        return self.models.get(self.canary.release)

    def _is_canary(self, instrument: str) -> bool:
        """Sticky: an instrument that is in a share is in every bigger one."""
        digest = blake2b(f"{self.signal}\0{instrument}".encode(), digest_size=8).digest()
        return self.canary is not None and int.from_bytes(digest) < self.canary.share * _HASHES


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
