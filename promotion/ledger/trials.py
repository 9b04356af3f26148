"""Trials: every model tried is opened in the ledger before it is trained, and closed whatever becomes of it.

How many models were tried decides how good the best of them must look (Bailey and López de Prado, "The Deflated
Sharpe Ratio", 2014). So trials count by label, universe and data, never by name, and crashed and abandoned ones count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from features.canonical import identity, sha256_hex
from features.clock import Clock
from promotion.errors import EntryRefused
from promotion.identity import Signer
from promotion.ledger.entry import sign
from promotion.ledger.kinds import Outcome
from promotion.ledger.state import LedgerState
from promotion.ledger.store import Ledger

ROLE = "researcher"


@dataclass(frozen=True)
class Family:
    """What trials are counted by: what is predicted (`label`), of whom, and from which data (a snapshot id)."""

    label: str
    universe: tuple[str, ...]
    data: str

    @property
    def universe_id(self) -> str:
        """The universe's identity: the order of its instruments does not matter."""
        return identity(sorted(self.universe))

    @property
    def key(self) -> tuple[str, str, str]:
        """(label, universe id, data), as the ledger's state has it."""
        return self.label, self.universe_id, self.data


@dataclass(frozen=True)
class TrialCount:
    """How many models were tried in one family; `total` is what deflation takes."""

    open: int
    finished: int
    crashed: int
    abandoned: int
    declared: int

    @property
    def total(self) -> int:
        """Every trial: open, finished, crashed, abandoned and declared ones."""
        return self.open + self.finished + self.crashed + self.abandoned + self.declared


def count(state: LedgerState, family: Family) -> TrialCount:
    """The trials of `family` so far."""
    outcomes = Counter(
        trial.outcome for trial in state.trials.values() if (trial.label, trial.universe, trial.data) == family.key
    )
    return TrialCount(
        open=outcomes["open"],
        finished=outcomes["finished"],
        crashed=outcomes["crashed"],
        abandoned=outcomes["abandoned"],
        declared=state.declared.get(family.key, 0),
    )


def open_trial(ledger: Ledger, family: Family, parameters: Mapping[str, Any], *, signer: Signer, clock: Clock) -> str:
    """Opens a trial and returns its name: the same in every home that does the same things in the same order.

    parameters: what is tried, as JSON without floats (write them with features.canonical.decimal).
    """
    content = {"family": list(family.key), "parameters": dict(parameters)}
    known = ledger.state().trials
    repeat = 0
    while (name := identity({**content, "repeat": repeat})[:16]) in known:
        repeat += 1
    payload = {
        "trial": name,
        "label": family.label,
        "universe": family.universe_id,
        "data": family.data,
        "parameters": dict(parameters),
    }
    ledger.append(sign(signer, kind="trial_opened", role=ROLE, time_ns=clock.now_ns(), payload=payload))
    return name


def close_trial(
    ledger: Ledger, trial: str, *, outcome: Outcome, returns: bytes = b"", signer: Signer, clock: Clock
) -> None:
    """Closes `trial`. returns: the bytes of its out-of-sample returns, of which the ledger keeps the hash."""
    if outcome == "finished" and not returns:
        raise EntryRefused(f"trial {trial}: expected the returns of a finished trial, found none; close it as crashed")
    payload = {"trial": trial, "outcome": outcome, "returns": sha256_hex(returns) if returns else ""}
    ledger.append(sign(signer, kind="trial_closed", role=ROLE, time_ns=clock.now_ns(), payload=payload))


def declare_trials(
    ledger: Ledger, family: Family, *, number: int, returns: bytes, signer: Signer, clock: Clock
) -> None:
    """Declares `number` trials of a model made elsewhere, with the bytes of their out-of-sample returns."""
    payload = {
        "label": family.label,
        "universe": family.universe_id,
        "data": family.data,
        "count": number,
        "returns": sha256_hex(returns),
    }
    ledger.append(sign(signer, kind="trials_declared", role=ROLE, time_ns=clock.now_ns(), payload=payload))


@dataclass
class OpenTrial:
    """A trial under way. `finish` hands over its out-of-sample returns; without that it counts as crashed."""

    name: str
    returns: bytes = field(default=b"", repr=False)

    def finish(self, returns: bytes) -> None:
        """The trial's out-of-sample returns, as bytes; they are hashed into the ledger when the trial closes."""
        self.returns = returns


@contextmanager
def trial(
    ledger: Ledger, family: Family, parameters: Mapping[str, Any], *, signer: Signer, clock: Clock
) -> Iterator[OpenTrial]:
    """A trial from its opening to its closing, which comes whatever happens inside.

    Finished when `finish` was called, crashed when an exception left it or no returns came. KeyboardInterrupt and
    the like close it as abandoned. A process that is killed leaves it open, and open trials count.
    """
    under_way = OpenTrial(open_trial(ledger, family, parameters, signer=signer, clock=clock))
    outcome: Outcome = "abandoned"
    try:
        yield under_way
        outcome = "finished" if under_way.returns else "crashed"
    except Exception:
        outcome = "crashed"
        raise
    finally:
        returns = under_way.returns if outcome == "finished" else b""
        close_trial(ledger, under_way.name, outcome=outcome, returns=returns, signer=signer, clock=clock)


def families(state: LedgerState) -> Sequence[tuple[str, str, str]]:
    """Every (label, universe id, data) that something was tried in, in order of their first trial."""
    found = dict.fromkeys((trial.label, trial.universe, trial.data) for trial in state.trials.values())
    return tuple(dict.fromkeys((*found, *state.declared)))
