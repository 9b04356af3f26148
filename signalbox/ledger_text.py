"""Ledger entries for people: one line each, and one JSON document each."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from promotion.ledger.entry import Entry

_SHORT = 12  # digits of a digest that a line shows


def entry_document(entry: Entry) -> dict[str, Any]:
    """The entry as JSON types, with its hash and its time in words."""
    return {**msgspec.structs.asdict(entry), "hash": entry.hash, "time": when(entry.time_ns)}


def entry_row(entry: Entry) -> tuple[object, ...]:
    """The entry as the cells entry, time, kind, signal, actor, what."""
    signal = f"{entry.signal} g{entry.expected_generation + 1}" if entry.expected_generation >= 0 else entry.signal
    return entry.sequence, when(entry.time_ns), entry.kind, signal, entry.actor, _what(entry.payload)


def when(time_ns: int) -> str:
    """UTC, to the second."""
    return str(np.datetime64(time_ns, "ns").astype("datetime64[s]")).replace("T", " ")


def _what(payload: dict[str, Any]) -> str:
    if "why" in payload:
        head = [_shown(payload[key]) for key in ("to", "weight", "posture", "release") if key in payload]
        return " ".join([*head, f"({payload['why']})"])
    return " ".join(f"{key}={_shown(value)}" for key, value in payload.items())[:160]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value[:_SHORT] if len(value) == 64 else value
    if isinstance(value, (dict, list)):
        return f"{len(value)} entries" if value else "none"
    return str(value)
