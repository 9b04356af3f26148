"""A new home: its configuration, its principals' keys, and the first entries of its ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from features.clock import Clock
from promotion.config import read_config
from promotion.errors import KeyRefused
from promotion.gates import check_policy
from promotion.home import Home
from promotion.identity import KeyStore
from promotion.ledger.store import SqliteLedger
from promotion.rollout import Rollout, found_ledger
from serving.feed.row_keys import create_row_key

# One principal a role, two with role approver: the least with which four eyes can be kept.
PRINCIPALS: Mapping[str, Sequence[str]] = {
    "researcher": ("researcher",),
    "validator": ("validator",),
    "approver": ("approver",),
    "second-approver": ("approver",),
    "operator": ("operator",),
    "monitor": ("monitor",),
    "kill-switch": ("kill_switch",),
}


def demo_config_text() -> str:
    """The demo's `signalbox.toml`: what a new home starts from."""
    return (files("signalbox") / "demo" / "signalbox.toml").read_text(encoding="utf-8")


def found_home(root: Path, *, config_text: str, clock: Clock) -> Home:
    """Founds a home in `root`: writes the configuration, makes keys, opens the ledger, puts the policies in force.

    ConfigError for a configuration that is wrong, PolicyRefused for a gate on a metric that does not exist; then
    nothing but the configuration file is there. KeyRefused when there is a home already.
    """
    home = Home(root)
    if home.ledger.exists():
        raise KeyRefused(f"{root}: expected no home yet, found a ledger; choose another directory")
    root.mkdir(parents=True, exist_ok=True)
    home.config.write_text(config_text, encoding="utf-8")
    config = read_config(home.config)
    for gate in config.gates.values():
        check_policy(gate)
    keys = KeyStore(home.keys)
    create_row_key(home)
    with SqliteLedger(home.ledger) as ledger:
        found_ledger(ledger, keys, environment=config.environment, principals=PRINCIPALS, clock=clock)
        rollout = Rollout(ledger, keys, clock)
        policies = {f"gates.{environment}": gate for environment, gate in config.gates.items()}
        for name, policy in {**policies, "action": config.action}.items():
            proposal = rollout.propose_policy(name, policy, as_="operator")
            rollout.approve_policy(proposal, as_="approver")
    return home
