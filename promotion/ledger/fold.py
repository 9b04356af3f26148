"""From entries to state: every rule of the interlocking, applied when an entry is appended and whenever it is read.

    state after n+1 entries = rules(state after n entries, entry n+1)

There is one way in: what the rules refuse can neither be appended nor folded. They hold that every actor has the role
it claims, that an automatic actor only reduces risk, that a promotion carries out a plan which passed its gates and
which another principal approved, and that nothing moves a signal from a generation its actor did not see.
"""

from __future__ import annotations

from collections.abc import Iterable

from promotion.errors import ClockWentBack, Conflict, EntryRefused, NotAllowed, RiskAdded
from promotion.identity import AUTOMATIC
from promotion.ledger.books import Books
from promotion.ledger.entry import NO_GENERATION, Entry
from promotion.ledger.kinds import KINDS, read_payload
from promotion.ledger.rules import REDUCES, RULES
from promotion.ledger.state import LedgerState, PolicyInForce, Proposed, Release, SignalState, Trial

__all__ = ["Books", "LedgerState", "PolicyInForce", "Proposed", "Release", "SignalState", "Trial", "apply", "fold"]

CLOCK_SLACK_NS = 60_000_000_000  # machines that write one ledger agree to within a minute


def fold(entries: Iterable[Entry]) -> LedgerState:
    """The state after `entries`, which begin with the first of a ledger. Raises what the rules refuse.

    Chain and signatures are `verify`'s matter.
    """
    books = Books()
    for entry in entries:
        apply(books, entry)
    return books.state()


def apply(books: Books, entry: Entry) -> None:
    """Takes `entry` in. Raises the rule's error and stays as it was when a rule refuses it."""
    payload = read_payload(entry)
    if entry.kind == "opened" or books.sequence == 0:
        _check_first(books, entry)
    else:
        _check_actor(books, entry)
    _check_generation(books, entry)
    reduces = entry.kind in REDUCES and REDUCES[entry.kind](books, entry, payload)
    if entry.role in AUTOMATIC and not reduces:
        raise RiskAdded(
            f"{entry.kind} on {entry.signal}: expected an automatic actor to reduce risk, but {entry.actor} "
            f"({entry.role}) would not; ask a person who holds role operator"
        )
    if not reduces:
        _check_clock(books, entry)
    RULES[entry.kind](books, entry, payload)
    if not reduces:
        books.latest_ns = max(books.latest_ns, entry.time_ns)
    if KINDS[entry.kind].moves:
        books.move(entry)
    books.sequence, books.head = entry.sequence, entry.hash


def _check_first(books: Books, entry: Entry) -> None:
    if books.sequence or entry.kind != "opened":
        raise EntryRefused(f"expected a ledger's first entry, and no other, to be 'opened', found {entry.kind!r}")
    founders = {grant["name"] for grant in entry.payload["principals"]}
    if entry.actor not in founders:
        raise NotAllowed(f"opened: expected an actor among the founding principals, found {entry.actor!r}")


def _check_actor(books: Books, entry: Entry) -> None:
    principal = books.principals.get(entry.actor)
    if principal is None:
        raise NotAllowed(f"expected a principal of this ledger, found {entry.actor!r}; propose and approve it first")
    if entry.role not in principal.roles:
        held = ", ".join(principal.roles) or "none"
        raise NotAllowed(f"{entry.kind}: expected {entry.actor} to hold role {entry.role}, found {held}")
    allowed = KINDS[entry.kind].roles
    if entry.role not in allowed:
        wanted = ", ".join(sorted(allowed))
        error = RiskAdded if entry.role in AUTOMATIC else NotAllowed
        raise error(f"{entry.kind}: expected a role of {wanted}, found {entry.role}; ask a principal who holds one")


def _check_clock(books: Books, entry: Entry) -> None:
    if entry.time_ns < books.latest_ns - CLOCK_SLACK_NS:
        raise ClockWentBack(
            f"{entry.kind}: expected a time of at least {books.latest_ns - CLOCK_SLACK_NS} ns, found {entry.time_ns}; "
            f"set the clock of {entry.actor}'s machine, then repeat"
        )


def _check_generation(books: Books, entry: Entry) -> None:
    if not KINDS[entry.kind].moves:
        if entry.expected_generation != NO_GENERATION:
            raise EntryRefused(
                f"{entry.kind}: expected generation -1 (it moves none), found {entry.expected_generation}"
            )
        return
    state = books.signals.get(entry.signal)
    if state is None:
        known = ", ".join(sorted(books.signals)) or "none"
        raise EntryRefused(f"{entry.kind}: expected a signal of this ledger ({known}), found {entry.signal!r}")
    if entry.expected_generation != state.generation:
        winner = books.movers.get((entry.signal, entry.expected_generation), "nothing yet")
        raise Conflict(
            f"{entry.kind} on {entry.signal}: expected generation {entry.expected_generation}, found "
            f"{state.generation}; moved by {winner}: look at `signalbox history`, then decide again"
        )
