"""What the ledger says at one point: frozen values, made by folding its entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from promotion.errors import EntryRefused
from promotion.identity import Principal
from promotion.ledger.kinds import Plan, Posture, Registered


@dataclass(frozen=True)
class SignalState:
    """One signal as the ledger has it.

    generation: 0 before the first entry that touches the signal. live: digest of the release that is served, or None.
    good: releases that were live before it, oldest first, and were not rolled back from. weight: capital weight, 0..1.
    weight_limit: the most a person may raise the weight to (from the live release's limits). posture: NORMAL,
    NO_NEW_RISK or HALTED. frozen: takes no more risk until thawed. sequence: the entry that moved it last.
    rolled_back_ns: when an automatic actor last rolled it back (its clock, UTC), or None.
    """

    signal: str
    generation: int = 0
    live: str | None = None
    good: tuple[str, ...] = ()
    shadow: tuple[str, ...] = ()
    weight: float = 0.0
    weight_limit: float = 1.0
    posture: Posture = "NORMAL"
    frozen: bool = False
    sequence: int = 0
    rolled_back_ns: int | None = None

    @property
    def previous(self) -> str | None:
        """The release that a rollback goes to, or None."""
        return self.good[-1] if self.good else None


@dataclass(frozen=True)
class Trial:
    """A trial; `outcome` is "open" until it is closed, and an open one counts like any other."""

    trial: str
    label: str
    universe: str
    data: str
    opened: int
    actor: str
    outcome: str = "open"
    returns: str = ""


@dataclass(frozen=True)
class Release:
    """A registered release: for which signal, and the entry that says so."""

    signal: str
    facts: Registered
    sequence: int


@dataclass(frozen=True)
class Proposed:
    """A proposal (of a plan, policy or principal) by `proposer`, approved by `approver` or not yet."""

    proposal: Any
    proposer: str
    sequence: int
    approver: str | None = None


@dataclass(frozen=True)
class PolicyInForce:
    """A policy that was approved: its hash, its canonical form, who approved it."""

    identity: str
    form: Mapping[str, Any]
    approver: str
    sequence: int


@dataclass(frozen=True)
class LedgerState:
    """The whole ledger, folded.

    sequence, head: the last entry's number and hash. environment: "" for an empty ledger. policies: what is in force,
    by name. declared: how many trials of handed-over models, by (label, universe, data); declarations: that family by
    the hash of the declared returns. plans: by hash.
    """

    sequence: int
    head: str
    environment: str
    principals: Mapping[str, Principal]
    policies: Mapping[str, PolicyInForce]
    signals: Mapping[str, SignalState]
    trials: Mapping[str, Trial]
    declared: Mapping[tuple[str, str, str], int]
    declarations: Mapping[str, tuple[str, str, str]]
    releases: Mapping[str, Release]
    plans: Mapping[str, Proposed]
    lineage: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)

    def signal(self, name: str) -> SignalState:
        """The state of signal `name`; EntryRefused when the ledger has never heard of it."""
        if name not in self.signals:
            known = ", ".join(sorted(self.signals)) or "none"
            raise EntryRefused(f"expected a signal of this ledger ({known}), found {name!r}; register a release first")
        return self.signals[name]

    def plan(self, plan_hash: str) -> Plan:
        """The plan of that hash; EntryRefused when there is none."""
        if plan_hash not in self.plans:
            raise EntryRefused(f"expected a plan of this ledger, found {plan_hash[:80]!r}; make the plan first")
        plan: Plan = self.plans[plan_hash].proposal
        return plan
