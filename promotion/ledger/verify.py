"""Is the history what was written? Chain, canonical bytes and signatures, entry by entry.

What it cannot see alone is a chain cut short or written anew from some entry on by someone who holds the keys: that
takes a head (sequence and hash) kept elsewhere, which `verify` compares when it is given one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from features.canonical import NotCanonicalError, sha256_hex
from promotion.errors import BrokenChain, EntryRefused, PromotionError
from promotion.identity import Principal
from promotion.ledger.books import Books
from promotion.ledger.entry import GENESIS, Entry, read_entry
from promotion.ledger.fold import apply
from promotion.ledger.state import LedgerState


@dataclass(frozen=True)
class Head:
    """How long a ledger is, and the hash of its last entry: enough to recognise the same history later."""

    sequence: int
    hash: str


class Verifier:
    """Takes a ledger's stored entries in order, checks each, and folds it.

    `books` is the state of what was taken in so far. After an error it is of no more use.
    """

    def __init__(self) -> None:
        self.books = Books()

    def take(self, stored_sequence: int, body: bytes) -> Entry:
        """The entry stored as `body`, checked and folded. BrokenChain, which names it, when anything is wrong."""
        entry = self._decode(stored_sequence, body)
        self._check_link(entry)
        self._check_signature(entry)
        try:
            apply(self.books, entry)
        except PromotionError as error:
            raise BrokenChain(entry.sequence, f"the rules refuse it: {error}") from error
        return entry

    def _decode(self, stored_sequence: int, body: bytes) -> Entry:
        expected = self.books.sequence + 1
        if stored_sequence != expected:
            raise BrokenChain(expected, f"expected sequence {expected}, found {stored_sequence}: entries are missing")
        try:
            entry = read_entry(body)
            canonical = entry.body()
        except (EntryRefused, NotCanonicalError) as error:
            raise BrokenChain(expected, str(error)) from error
        if canonical != body:
            raise BrokenChain(expected, "expected canonical bytes, found others: the entry was altered")
        return entry

    def _check_link(self, entry: Entry) -> None:
        if entry.sequence != self.books.sequence + 1:
            raise BrokenChain(self.books.sequence + 1, f"expected this sequence inside, found {entry.sequence}")
        if entry.previous != self.books.head:
            raise BrokenChain(
                entry.sequence,
                f"expected previous hash {self.books.head[:16]}..., found {entry.previous[:16]}...: this entry or the "
                "one before was altered or replaced",
            )

    def _check_signature(self, entry: Entry) -> None:
        if not signature_holds(self.books, entry):
            raise BrokenChain(entry.sequence, f"expected {entry.actor}'s signature, found one that does not verify")


def signature_holds(books: Books, entry: Entry) -> bool:
    """Whether `entry` is signed with its actor's key: as the state before it has it, or a first entry itself."""
    principal = books.principals.get(entry.actor) or _founder(entry)
    return principal is not None and principal.verifies(entry.signature, entry.signed_bytes())


def _founder(entry: Entry) -> Principal | None:
    """The actor as the first entry itself names them: who founds a ledger signs for its founding principals."""
    if entry.kind != "opened":
        return None
    grants = entry.payload.get("principals", [])
    for grant in grants if isinstance(grants, list) else []:
        if isinstance(grant, dict) and grant.get("name") == entry.actor:
            return _principal(entry.actor, str(grant.get("public_key")))
    return None


def _principal(name: str, public_key: str) -> Principal | None:
    try:
        return Principal(name, public_key, ())
    except EntryRefused:
        return None  # no name or no key that anyone could sign with


def verify(stored: Iterable[tuple[int, bytes]], *, expected_head: Head | None = None) -> LedgerState:
    """Checks a whole ledger: (stored sequence, body) in order. Returns its state.

    expected_head: a head seen earlier and kept elsewhere; with it truncation and a rewritten history are found too.
    Raises BrokenChain, which names the first bad entry.
    """
    verifier = Verifier()
    seen = expected_head is None or expected_head == Head(0, GENESIS)
    for sequence, body in stored:
        entry = verifier.take(sequence, body)
        if expected_head and entry.sequence == expected_head.sequence:
            seen = sha256_hex(body) == expected_head.hash
            if not seen:
                raise BrokenChain(
                    entry.sequence, f"expected hash {expected_head.hash[:16]}...: the history was rewritten"
                )
    if not seen and expected_head is not None:
        raise BrokenChain(
            verifier.books.sequence + 1, f"expected {expected_head.sequence} entries or more: the end was cut off"
        )
    return verifier.books.state()
