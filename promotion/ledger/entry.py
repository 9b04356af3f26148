"""One entry of the ledger, its bytes, its hash and its signature (contract: docs/contracts.md, "Ledger entry").

An actor signs an `Action`; the ledger gives it a place: a sequence number and the hash of the entry before it. The
signature covers everything but that place, so that an action can be signed, and act, before it is appended.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from features.canonical import NotCanonicalError, canonical_json, sha256_hex
from promotion.errors import EntryRefused
from promotion.identity import Signer

GENESIS = "0" * 64  # the hash before the first entry
NO_GENERATION = -1
_DOMAIN = b"signalbox.ledger.1\n"  # no other signature of Signalbox begins so: none can be passed off as an action


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an actor signs.

    signal: the signal it touches, or "". expected_generation: the generation the actor saw, or -1 for a kind that
    touches none. payload: JSON without floats (numbers are decimal strings). time_ns: the actor's clock, UTC.
    idempotency_key: "" or a name under which the same action is appended once. signature: Ed25519, 128 hex digits.
    """

    kind: str
    signal: str
    expected_generation: int
    payload: dict[str, Any]
    actor: str
    role: str
    time_ns: int
    idempotency_key: str
    signature: str

    def signed_bytes(self) -> bytes:
        """The bytes that `signature` is over."""
        fields = msgspec.structs.asdict(self)
        del fields["signature"]
        return _DOMAIN + canonical_json(fields)

    def same_as(self, other: Action) -> bool:
        """Whether both ask for the same thing: a repeated command, whenever and from whatever generation."""
        return (self.kind, self.signal, self.actor, self.payload) == (
            other.kind,
            other.signal,
            other.actor,
            other.payload,
        )


class Entry(Action, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An action with its place: `sequence` counts from 1, `previous` is the hash of the entry before."""

    sequence: int
    previous: str

    def body(self) -> bytes:
        """The entry's canonical bytes: what is stored and hashed."""
        return canonical_json(msgspec.structs.asdict(self))

    @property
    def hash(self) -> str:
        """SHA-256 of `body()`: what the next entry names as its previous."""
        return sha256_hex(self.body())

    def signed_bytes(self) -> bytes:
        """The bytes that `signature` is over: the action's, without its place."""
        fields = msgspec.structs.asdict(self)
        del fields["signature"], fields["sequence"], fields["previous"]
        return _DOMAIN + canonical_json(fields)


def sign(
    signer: Signer,
    *,
    kind: str,
    role: str,
    time_ns: int,
    payload: Mapping[str, Any],
    signal: str = "",
    expected_generation: int = NO_GENERATION,
    idempotency_key: str = "",
) -> Action:
    """An action signed by `signer`. EntryRefused when the payload has no canonical form (a float, say)."""
    unsigned = Action(
        kind=kind,
        signal=signal,
        expected_generation=expected_generation,
        payload=dict(payload),
        actor=signer.name,
        role=role,
        time_ns=time_ns,
        idempotency_key=idempotency_key,
        signature="",
    )
    try:
        data = unsigned.signed_bytes()
    except NotCanonicalError as error:
        raise EntryRefused(f"{kind}: {error}") from error
    return msgspec.structs.replace(unsigned, signature=signer.sign(data))


def place(action: Action, *, sequence: int, previous: str) -> Entry:
    """`action` as the entry after `previous`."""
    fields = {name: getattr(action, name) for name in Action.__struct_fields__}
    return Entry(**fields, sequence=sequence, previous=previous)


UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what bytes that are no JSON can raise
_DECODER = msgspec.json.Decoder(Entry)


def read_entry(body: bytes) -> Entry:
    """The entry whose canonical bytes are `body`. EntryRefused when they are not an entry's."""
    try:
        return _DECODER.decode(body)
    except UNDECODABLE as error:
        raise EntryRefused(f"expected a ledger entry, found bytes that are none ({error})") from error
