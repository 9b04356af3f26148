"""Those who take small releases from a trial to production: the desk of one signal, in tests and in load tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from features.clock import Clock
from loadtests.harness.small_release import SIGNAL, backtest, family_of, linear_model, release_parts
from promotion.config import Config, GatePolicy, Signal
from promotion.home import Home
from promotion.identity import KeyStore
from promotion.ledger.store import SqliteLedger
from promotion.ledger.trials import trial
from promotion.lineage import register_release
from promotion.promote import plan_promotion, promote
from promotion.release.build import ReleaseParts, build_release
from promotion.release.files import read_release
from promotion.rollout import Rollout


@dataclass(frozen=True)
class People:
    """The principal who tries and builds, who validates and registers, who plans and promotes, and who approves."""

    researcher: str
    validator: str
    operator: str
    approver: str


@dataclass
class Desk:
    """A home, its ledger, open and founded, and its people. Lives as long as the ledger is open.

    told: generations that scorers were told of. releases: digests in the order of promotion; the last is live.
    """

    home: Home
    ledger: SqliteLedger
    config: Config
    people: People
    clock: Clock
    told: list[int] = field(default_factory=list)
    releases: tuple[str, ...] = ()

    @cached_property
    def keys(self) -> KeyStore:
        """Of all principals."""
        return KeyStore(self.home.keys)

    @property
    def rollout(self) -> Rollout:
        """Over the ledger."""
        return Rollout(self.ledger, self.keys, self.clock, self.told.append)

    @property
    def signal(self) -> Signal:
        """Its terms."""
        return self.config.signals[SIGNAL]

    def try_once(self) -> str:
        """One finished trial with the returns of the small backtest. The first one's id is the same in every home."""
        signer = self.keys.signer(self.people.researcher)
        with trial(self.ledger, family_of(self.signal), {}, signer=signer, clock=self.clock) as under_way:
            under_way.finish(backtest(self.signal)["net"].tobytes())
        return under_way.name

    def put_policy_in_force(self, policy: GatePolicy | None = None) -> None:
        """`policy`, or the configuration's, for the environment's gates."""
        name = f"gates.{self.config.environment}"
        policy = policy or self.config.gates[self.config.environment]
        proposal = self.rollout.propose_policy(name, policy, as_=self.people.operator)
        self.rollout.approve_policy(proposal, as_=self.people.approver)

    def parts(self, model: bytes | None = None, *, slope: float = 1.0, **changes: Any) -> ReleaseParts:
        """See `release_parts`; model: a linear one of `slope`, unless given. After `try_once`."""
        model = model or linear_model(slope, columns=len(self.signal.features))
        tried = str(next(iter(self.ledger.state().trials)))
        facts = {"tried": tried, "environment": self.config.environment} | changes
        return release_parts(self.signal, model, **facts)

    def build(self, model: bytes | None = None, **changes: Any) -> str:
        """The digest of a release of `parts`, signed by author and validator."""
        author, validator = (self.keys.signer(name) for name in (self.people.researcher, self.people.validator))
        return build_release(self.home, self.parts(model, **changes), author=author, validator=validator)

    def register(self, model: bytes | None = None, **changes: Any) -> str:
        """The same, and its entry in the ledger."""
        digest = self.build(model, **changes)
        manifest = read_release(self.home.releases / digest, digest).manifest
        register_release(self.rollout, manifest, as_=self.people.validator)
        return digest

    def promote(self, model: bytes | None = None, **changes: Any) -> str:
        """The same, and live with weight 1."""
        digest = self.register(model, **changes)
        planned = plan_promotion(self.rollout, self.home, digest, as_=self.people.operator)
        self.rollout.approve(planned.hash, as_=self.people.approver)
        promote(self.rollout, self.home, planned.hash, as_=self.people.operator)
        self.releases = (*self.releases, digest)
        return digest
