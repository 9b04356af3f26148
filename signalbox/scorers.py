"""The scorers that promotion calls: found through the configuration, told by `Control.Sync` after every commit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from promotion.config import Config
from promotion.errors import ScorerUnreachable
from promotion.home import Home
from protos.client import ControlClient
from protos.errors import CallError


def control_addresses(home: Home, config: Config) -> tuple[str, ...]:
    """Where the scorers' control planes listen: those of `[[scorers]]`, or else this home's own when it runs."""
    if config.scorers:
        return tuple(scorer.control for scorer in config.scorers)
    return (control_socket(home),) if home.control_socket.exists() else ()


def control_socket(home: Home) -> str:
    """The address of this home's own control socket."""
    return f"unix:{Path(home.control_socket).resolve()}"


def notifier(home: Home, config: Config) -> Callable[[int], None]:
    """What a Rollout tells each new generation: every scorer follows the ledger and every worker acknowledges.

    ScorerUnreachable names those that did not answer; the entry stands, and they follow by polling.
    """

    def notify(generation: int) -> None:
        failed = []
        for address in control_addresses(home, config):
            try:
                with ControlClient(address) as control:
                    views = control.sync(generation)
            except CallError as error:
                failed.append(f"{address}: {error}")
            else:
                failed += [f"{address}: {v.signal} is halted: {v.reason}" for v in views if v.reason and not v.latched]
        if failed:
            raise ScorerUnreachable(f"the ledger has it; not served as it says by {'; '.join(failed)}")

    return notify


class Bulletin:
    """A `notify` for a person's command: what the ledger took stands, so a scorer out of reach is told of, not raised.

    unreached: which scorers do not serve what the ledger says, and why; "" when all do.
    """

    def __init__(self, home: Home, config: Config) -> None:
        self._notify = notifier(home, config)
        self.unreached = ""

    def __call__(self, generation: int) -> None:
        """Tells the scorers."""
        try:
            self._notify(generation)
        except ScorerUnreachable as error:
            self.unreached = str(error)
