"""What every worker is to serve: the ledger's word, cut down by what was latched or could not be proven."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from promotion.config import Config
from promotion.errors import ReleaseRefused
from promotion.home import Home
from promotion.ledger.state import LedgerState
from promotion.release.child import prove_in_child
from serving.host.kill import EVERY
from serving.host.pipe import Assign, PublicPrincipal, Served, public, served
from serving.handlers.routes import wanted_releases

LOG = logging.getLogger("signalbox.supervisor")

_NO_LEDGER = "no readable ledger since the supervisor started"


class Assignment:
    """The supervisor's word to its workers. It starts with every signal of the configuration HALTED.

    latched: signal (EVERY: all) → why it is halted here, whatever the ledger says. Until the ledger has the halt too,
    its replies carry the generation after the one it was latched at. sequence: the last ledger entry
    that was taken in, 0 for none. ledger_error: why the ledger could not be read last time, or "".
    """

    def __init__(self, home: Home, config: Config) -> None:
        self.latched: dict[str, str] = {}
        self.sequence = 0
        self.ledger_error = ""
        self._home = home
        self._config = config
        self._principals: tuple[PublicPrincipal, ...] = ()
        self._signals = {name: _halted(name, _NO_LEDGER) for name in config.signals}
        self._unproven: dict[str, str] = {}
        self._proven: set[str] = set()
        self._failures: dict[str, str] = {}
        self._latched_at: dict[str, int] = {}  # signal → the generation at which a latch found it

    async def take(self, state: LedgerState) -> None:
        """Takes in what the ledger says. A release that is new here is first opened in a process that may die of it."""
        signals = {name: _unborn(name) for name in self._config.signals}
        signals |= {name: served(each) for name, each in state.signals.items()}
        wanted = {digest for each in signals.values() for digest in wanted_releases(each)}
        await asyncio.gather(*(self._prove(digest, state) for digest in sorted(wanted - self._proven)))
        self._signals = signals
        self._principals = public(state.principals)
        self.sequence, self.ledger_error = state.sequence, ""

    def latch(self, signal: str, reason: str) -> None:
        """Halts `signal`, EVERY for all of them, until `unlatch`."""
        self.latched[signal] = reason or "halted by the operator"
        for name, each in self._signals.items():
            if signal in (EVERY, name) and each.posture != "HALTED":
                self._latched_at.setdefault(name, each.generation)

    def unlatch(self, signal: str) -> None:
        """Takes a latched halt back; EVERY takes all of them back."""
        if signal == EVERY:
            self.latched.clear()
        self.latched.pop(signal, None)
        if EVERY not in self.latched:
            self._latched_at = {name: at for name, at in self._latched_at.items() if name in self.latched}

    def note(self, failures: dict[str, str]) -> None:
        """Signal → why a worker does not serve it as it should."""
        self._failures = failures

    def order(self) -> Assign:
        """The order that brings a worker to where it should be."""
        return Assign(
            signals=tuple(_without(self._cut_down(each), self._unproven) for each in self._signals.values()),
            principals=self._principals,
        )

    def signals(self) -> tuple[Served, ...]:
        """The signals as they are served, in the order of their names."""
        every = (self._cut_down(self._signals[name]) for name in sorted(self._signals))
        return tuple(
            _stop(each, self._failures[each.signal]) if each.signal in self._failures else each for each in every
        )

    def _cut_down(self, each: Served) -> Served:
        latched = self.latched.get(each.signal) or self.latched.get(EVERY)
        if latched:
            at = self._latched_at.get(each.signal, -1)
            return _stop(msgspec.structs.replace(each, generation=max(each.generation, at + 1)), latched)
        if each.live in self._unproven:
            return _stop(each, self._unproven[each.live])
        if each.signal not in self._config.signals:
            return _stop(each, "signalbox.toml does not name this signal: its universe is not known here")
        return each

    async def _prove(self, digest: str, state: LedgerState) -> None:
        try:
            await asyncio.to_thread(
                prove_in_child,
                self._home,
                digest,
                environment=self._config.environment,
                principals=state.principals,
            )
        except ReleaseRefused as error:
            LOG.error("release %s is not served: %s", digest[:12], error)
            self._unproven[digest] = str(error)
        else:
            self._unproven.pop(digest, None)
            self._proven.add(digest)


def _halted(signal: str, reason: str) -> Served:
    return Served(signal=signal, generation=0, posture="HALTED", weight=0.0, reason=reason)


def _unborn(signal: str) -> Served:
    """A signal that the ledger has not heard of: nothing is live."""
    return Served(signal=signal, generation=0, posture="NORMAL", weight=0.0)


def _stop(each: Served, reason: str) -> Served:
    return msgspec.structs.replace(each, posture="HALTED", reason=reason)


def _without(each: Served, unproven: dict[str, str]) -> Served:
    """`each` without the releases that could not be proven: no worker is to touch them."""
    live = None if each.live in unproven else each.live
    previous = None if each.previous in unproven else each.previous
    shadow = tuple(digest for digest in each.shadow if digest not in unproven)
    return msgspec.structs.replace(each, live=live, previous=previous, shadow=shadow)
