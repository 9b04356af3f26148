"""The kinds of entries: what each must say, who may write it, and whether it touches a signal's generation.

An entry's payload is checked against its kind before it is appended and again whenever the ledger is folded. Numbers
that are not integers are decimal strings; digests and hashes are 64 hex digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from promotion.errors import EntryRefused
from promotion.ledger.entry import Action

Hex64 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
Decimal = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?$")]
Posture = Literal["NORMAL", "NO_NEW_RISK", "HALTED"]
Stage = Literal["live", "shadow"]
Outcome = Literal["finished", "crashed", "abandoned"]
SEVERITY: dict[str, int] = {"NORMAL": 0, "NO_NEW_RISK": 1, "HALTED": 2}


class Payload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an entry says beside who, when and about which signal."""


class Grant(Payload, frozen=True, kw_only=True):
    """A principal and the roles it is to hold; no roles: revoked."""

    name: Text
    public_key: Hex64
    roles: tuple[str, ...]


class Opened(Payload, frozen=True, kw_only=True):
    """The ledger's first entry: its environment and its founding principals."""

    environment: Literal["replay", "paper", "prod"]
    principals: tuple[Grant, ...]


class Approval(Payload, frozen=True, kw_only=True):
    """Another principal's consent to a proposal, by the hash of what was proposed."""

    proposal: Hex64


class PolicyProposal(Payload, frozen=True, kw_only=True):
    """A policy to come into force under `name` (`gates.prod`, `action`); `form` is its canonical form."""

    name: Text
    form: dict[str, Any]


class TrialOpened(Payload, frozen=True, kw_only=True):
    """A model about to be tried. Trials count by (label, universe, data): what is predicted, of whom, from what."""

    trial: Text
    label: Text
    universe: Hex64
    data: Text
    parameters: dict[str, Any]


class TrialClosed(Payload, frozen=True, kw_only=True):
    """How a trial ended; `returns` is the SHA-256 of its out-of-sample returns, or "" when it has none."""

    trial: Text
    outcome: Outcome
    returns: str = ""


class TrialsDeclared(Payload, frozen=True, kw_only=True):
    """Trials of a handed-over model, as its author declares them: how many, and the hash of their returns."""

    label: Text
    universe: Hex64
    data: Text
    count: Annotated[int, msgspec.Meta(ge=1)]
    returns: Hex64


class Lineage(Payload, frozen=True, kw_only=True):
    """Something that releases are made from: a snapshot or a feature set, and facts about it."""

    subject: Literal["snapshot", "feature_set", "run"]
    id: Text
    facts: dict[str, Any]


class Registered(Payload, frozen=True, kw_only=True):
    """A release that was built, verified and signed by its author and a validator."""

    release: Hex64
    environment: Text
    author: Text
    validator: Text
    snapshot_id: Text
    feature_set_id: Hex64
    max_weight: Decimal
    as_of_ns: int


class Plan(Payload, frozen=True, kw_only=True):
    """What a promotion would do, to be approved by its hash.

    generation: the signal's, when the plan was made; a plan whose signal has moved since is void. policy: hash of the
    gate policy it was judged under. trials: how many the ledger counted. weight: the capital weight it sets. measured:
    the recomputed evidence, as decimal strings.
    """

    signal: Text
    release: Hex64
    stage: Stage
    environment: Text
    generation: Annotated[int, msgspec.Meta(ge=0)]
    replaces: str
    weight: Decimal
    policy: Hex64
    trials: Annotated[int, msgspec.Meta(ge=0)]
    passed: bool
    measured: dict[str, str]


class PlanRefused(Payload, frozen=True, kw_only=True):
    """A promotion that the gates refused, with their reasons."""

    release: Hex64
    policy: Hex64
    reasons: tuple[str, ...]


class Promoted(Payload, frozen=True, kw_only=True):
    """An approved plan, carried out."""

    plan: Hex64
    release: Hex64
    stage: Stage


class RolledBack(Payload, frozen=True, kw_only=True):
    """Back to a release that was live before."""

    to: Hex64
    why: Text


class WeightSet(Payload, frozen=True, kw_only=True):
    """The signal's capital weight from now on, 0 to 1."""

    weight: Decimal
    why: Text


class PostureSet(Payload, frozen=True, kw_only=True):
    """A stricter posture from now on; `resumed` is the way back."""

    posture: Posture
    why: Text


class Why(Payload, frozen=True, kw_only=True):
    """An act that needs nothing but its reason: halt, resume, freeze, thaw."""

    why: Text


class Retired(Payload, frozen=True, kw_only=True):
    """A shadow release that is served no more."""

    release: Hex64
    why: Text


@dataclass(frozen=True)
class Kind:
    """A kind's payload, the roles that may write it, and whether it moves a signal's generation."""

    payload: type[Payload]
    roles: frozenset[str]
    moves: bool = False


def _kind(payload: type[Payload], *roles: str, moves: bool = False) -> Kind:
    return Kind(payload, frozenset(roles), moves)


KINDS: dict[str, Kind] = {
    "opened": _kind(Opened, "approver"),
    "principal_proposed": _kind(Grant, "approver", "operator"),
    "principal_approved": _kind(Approval, "approver"),
    "policy_proposed": _kind(PolicyProposal, "researcher", "validator", "operator", "approver"),
    "policy_approved": _kind(Approval, "approver"),
    "trial_opened": _kind(TrialOpened, "researcher"),
    "trial_closed": _kind(TrialClosed, "researcher"),
    "trials_declared": _kind(TrialsDeclared, "researcher"),
    "lineage": _kind(Lineage, "researcher", "validator", "operator"),
    "release_registered": _kind(Registered, "validator"),
    "plan_proposed": _kind(Plan, "researcher", "operator"),
    "plan_refused": _kind(PlanRefused, "researcher", "operator", "validator"),
    "plan_approved": _kind(Approval, "approver"),
    "promoted": _kind(Promoted, "operator", moves=True),
    "rolled_back": _kind(RolledBack, "operator", "monitor", moves=True),
    "weight": _kind(WeightSet, "operator", "monitor", moves=True),
    "posture": _kind(PostureSet, "operator", "monitor", "kill_switch", moves=True),
    "halted": _kind(Why, "operator", "monitor", "kill_switch", "approver", moves=True),
    "resumed": _kind(Why, "operator", moves=True),
    "frozen": _kind(Why, "operator", "monitor", "approver", moves=True),
    "thawed": _kind(Why, "operator", moves=True),
    "retired": _kind(Retired, "operator", moves=True),
}


def read_payload(action: Action) -> Payload:
    """The action's payload as its kind's value. EntryRefused for an unknown kind, key or type."""
    kind = KINDS.get(action.kind)
    if kind is None:
        raise EntryRefused(f"expected a kind of {', '.join(KINDS)}, found {action.kind[:80]!r}; upgrade the older side")
    try:
        return msgspec.convert(action.payload, kind.payload)
    except msgspec.ValidationError as error:
        raise EntryRefused(f"{action.kind}: {error}; see docs/contracts.md") from error
