"""The state while it is being folded: plain dictionaries, which the rules read and the fold alone hands out frozen."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

from promotion.identity import Principal
from promotion.ledger.entry import GENESIS, Entry
from promotion.ledger.state import LedgerState, PolicyInForce, Proposed, Release, SignalState, Trial


class Books:
    """What the entries so far say.

    latest_ns: time of the newest entry that did not reduce risk. movers: by (signal, generation), who moved it on.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.head = GENESIS
        self.environment = ""
        self.latest_ns = 0
        self.principals: dict[str, Principal] = {}
        self.grants: dict[str, Proposed] = {}
        self.policies: dict[str, PolicyInForce] = {}
        self.policy_proposals: dict[str, Proposed] = {}
        self.signals: dict[str, SignalState] = {}
        self.trials: dict[str, Trial] = {}
        self.declared: dict[tuple[str, str, str], int] = {}
        self.declarations: dict[str, tuple[str, str, str]] = {}
        self.releases: dict[str, Release] = {}
        self.plans: dict[str, Proposed] = {}
        self.lineage: dict[tuple[str, str], dict[str, Any]] = {}
        self.movers: dict[tuple[str, int], str] = {}

    def state(self) -> LedgerState:
        """The state now, as a frozen value of its own."""
        return LedgerState(
            sequence=self.sequence,
            head=self.head,
            environment=self.environment,
            principals=MappingProxyType(dict(self.principals)),
            policies=MappingProxyType(dict(self.policies)),
            signals=MappingProxyType(dict(self.signals)),
            trials=MappingProxyType(dict(self.trials)),
            declared=MappingProxyType(dict(self.declared)),
            declarations=MappingProxyType(dict(self.declarations)),
            releases=MappingProxyType(dict(self.releases)),
            plans=MappingProxyType(dict(self.plans)),
            lineage=MappingProxyType(dict(self.lineage)),
        )

    def put(self, signal: str, **changes: Any) -> None:
        """Changes what stands for `signal`."""
        self.signals[signal] = replace(self.signals[signal], **changes)

    def move(self, entry: Entry) -> None:
        """Takes the entry's signal one generation on."""
        state = self.signals[entry.signal]
        self.movers[entry.signal, state.generation] = f"entry {entry.sequence} ({entry.kind} by {entry.actor})"
        self.put(entry.signal, generation=state.generation + 1, sequence=entry.sequence)
