"""What a scorer says of itself, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from protos.score import Posture, posture_name


@dataclass(frozen=True)
class Description:
    """A signal as a scorer serves it. features: names in the model's order. instruments: the universe in its order."""

    signal: str
    generation: int
    posture: Posture
    weight: float
    live: str
    releases: tuple[str, ...]
    feature_set_id: str
    features: tuple[str, ...]
    instruments: tuple[str, ...]


@dataclass(frozen=True)
class Pushed:
    """What became of pushed rows. refused: (index among the rows pushed, why)."""

    accepted: int
    refused: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class SignalView:
    """A signal as the control plane sees it. latched: halted there, whatever the ledger says; reason: why, or ""."""

    signal: str
    generation: int
    posture: Posture
    weight: float
    live: str
    previous: str
    latched: bool
    reason: str


@dataclass(frozen=True)
class WorkerView:
    """A worker's address and counts since it started."""

    worker: int
    pid: int
    address: str
    restarts: int
    requests: int
    rows_scored: int
    batches: int
    rows_pushed: int
    refused: int
    stale: int
    expired: int


@dataclass(frozen=True)
class StatusView:
    """A scorer as a whole. ledger_error: why the ledger could not be read when last looked at, or ""."""

    signals: tuple[SignalView, ...]
    workers: tuple[WorkerView, ...]
    ledger_sequence: int
    ledger_error: str


def description(each: Any) -> Description:
    """The Description in a `SignalDescription`."""
    return Description(
        signal=each.signal,
        generation=each.generation,
        posture=posture_name(each.posture),
        weight=each.weight,
        live=each.live,
        releases=tuple(each.releases),
        feature_set_id=each.feature_set_id.hex(),
        features=tuple(each.features),
        instruments=tuple(each.instruments),
    )


def signal_view(each: Any) -> SignalView:
    """The SignalView in a `SignalStatus`."""
    return SignalView(
        signal=each.signal,
        generation=each.generation,
        posture=posture_name(each.posture),
        weight=each.weight,
        live=each.live,
        previous=each.previous,
        latched=each.latched,
        reason=each.reason,
    )


def status_view(reply: Any) -> StatusView:
    """The StatusView in a `StatusReply`."""
    counts = list(WorkerView.__dataclass_fields__)
    return StatusView(
        signals=tuple(signal_view(each) for each in reply.signals),
        workers=tuple(WorkerView(**{name: getattr(each, name) for name in counts}) for each in reply.workers),
        ledger_sequence=reply.ledger_sequence,
        ledger_error=reply.ledger_error,
    )
