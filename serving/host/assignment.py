"""What every worker is to serve: the ledger's word, cut down by what was latched or could not be proven."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from promotion.ledger.state import LedgerState
from serving.handlers.routes import more_careful, wanted_releases
from serving.host.halts import EVERY
from serving.host.pipe import Assign, PublicPrincipal, Served, public, served
from serving.host.proofs import Proofs

_NO_LEDGER = "no readable ledger since the supervisor started"


class Assignment:
    """The supervisor's word to its workers. It starts with every signal that is known here HALTED.

    A release that is new here is proven in the background. Until then its signal is served as before, with no more
    weight and no less caution than the ledger says now; no other signal waits for it, and a halt waits for nothing.

    latched: signal (EVERY: all) → why it is halted here, whatever the ledger says. Until the ledger has the halt too,
    its replies carry the generation after the one it was latched at. sequence: the last ledger entry
    that was taken in, 0 for none. ledger_error: why the ledger could not be read last time, or "".
    """

    def __init__(self, signals: Collection[str], proofs: Proofs) -> None:
        self.latched: dict[str, str] = {}
        self.sequence = 0
        self.ledger_error = ""
        self._known = signals
        self._proofs = proofs
        self._principals: tuple[PublicPrincipal, ...] = ()
        self._said = {name: _halted(name, _NO_LEDGER) for name in signals}  # by the ledger
        self._settled: dict[str, Served] = {}  # what it said last of which the live release is judged
        self._failures: dict[str, str] = {}
        self._latched_at: dict[str, int] = {}  # signal → the generation at which a latch found it

    def take(self, state: LedgerState) -> None:
        """Takes in what the ledger says, and begins to prove what is new."""
        self._settled |= {name: each for name, each in self._said.items() if not each.reason and self._judged(each)}
        said = {name: _unborn(name) for name in self._known}
        self._said = said | {name: served(each) for name, each in state.signals.items()}
        self._proofs.want(self._wanted(), state.principals)
        self._principals = public(state.principals)
        self.sequence, self.ledger_error = state.sequence, ""
        for signal in self.latched:
            self._note_generations(signal)

    async def settled(self, signal: str = EVERY) -> None:
        """Waits until every release of `signal` (EVERY: of all) is judged."""
        await self._proofs.settled(self._wanted(signal))

    def latch(self, signal: str, reason: str) -> None:
        """Halts `signal`, EVERY for all of them, until `unlatch`."""
        self.latched[signal] = reason or "halted by the operator"
        self._note_generations(signal)

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
        """The order that brings a worker to where it should be: of proven releases alone."""
        proven = self._proofs.proven
        return Assign(
            signals=tuple(_only(self._now(each), proven) for each in self._said.values()), principals=self._principals
        )

    def signals(self) -> tuple[Served, ...]:
        """The signals as they are served, in the order of their names."""
        every = (self._now(self._said[name]) for name in sorted(self._said))
        return tuple(
            _stop(each, self._failures[each.signal]) if each.signal in self._failures else each for each in every
        )

    def _wanted(self, signal: str = EVERY) -> tuple[str, ...]:
        said = (each for each in self._said.values() if signal in (EVERY, each.signal))
        return tuple(sorted({digest for each in said for digest in wanted_releases(each)}))

    def _note_generations(self, signal: str) -> None:
        for name, each in self._said.items():
            if signal in (EVERY, name) and each.posture != "HALTED":
                self._latched_at.setdefault(name, each.generation)

    def _now(self, said: Served) -> Served:
        """What is to be served of a signal of which the ledger says `said`."""
        each = said if self._judged(said) else self._meanwhile(said)
        latched = self.latched.get(each.signal) or self.latched.get(EVERY)
        if latched:
            at = self._latched_at.get(each.signal, -1)
            return _stop(msgspec.structs.replace(said, generation=max(said.generation, at + 1)), latched)
        if each.live in self._proofs.refused:
            return _stop(each, self._proofs.refused[each.live])
        if each.signal not in self._known:
            return _stop(each, "signalbox.toml does not name this signal: its universe is not known here")
        return each

    def _judged(self, said: Served) -> bool:
        """Whether nothing needs to be proven before `said` can be carried out."""
        return said.live is None or said.posture == "HALTED" or self._proofs.judged(said.live)

    def _meanwhile(self, said: Served) -> Served:
        """While the live release of `said` is being proven: what was before, no heavier and no less careful."""
        before = self._settled.get(said.signal)
        if before is None:
            return msgspec.structs.replace(_stop(said, "its release is being proven"), proving=True)
        posture = more_careful(before.posture, said.posture)
        return msgspec.structs.replace(before, posture=posture, weight=min(before.weight, said.weight))


def _halted(signal: str, reason: str) -> Served:
    return Served(signal=signal, generation=0, posture="HALTED", weight=0.0, reason=reason)


def _unborn(signal: str) -> Served:
    """A signal that the ledger has not heard of: nothing is live."""
    return Served(signal=signal, generation=0, posture="NORMAL", weight=0.0)


def _stop(each: Served, reason: str) -> Served:
    return msgspec.structs.replace(each, posture="HALTED", reason=reason)


def _only(each: Served, proven: Collection[str]) -> Served:
    """`each` without the releases that are not proven: no worker is to touch them."""
    live = each.live if each.live in proven else None
    previous = each.previous if each.previous in proven else None
    shadow = tuple(digest for digest in each.shadow if digest in proven)
    return msgspec.structs.replace(each, live=live, previous=previous, shadow=shadow)
