"""The ledger entry of docs/contracts.md, byte for byte: whoever reads or writes ledgers must agree with these."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from promotion.identity import Principal, Signer
from promotion.ledger.entry import Entry, place, read_entry, sign

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"  # RFC 8032's algorithm on that key
SIGNED = (
    b"signalbox.ledger.1\n"
    b'{"actor":"monitor","expected_generation":7,"idempotency_key":"cut-2016-01-20","kind":"weight",'
    b'"payload":{"weight":"0.5","why":"Sharpe \xe2\x88\x921.9, below \xe2\x88\x921.4"},"role":"monitor",'
    b'"signal":"large_caps","time_ns":1453323600000000000}'
)
SIGNATURE = (
    "59d2bdfb945a585a8e0c1c34a93def7f166cae13e62867c1f3c7f7ffcec25c6c"
    "20e419ab50cbf0cb3aad16f1f38e5a74dc88588ec90023f3202252e7f2d7810f"
)
BODY = (
    b'{"actor":"monitor","expected_generation":7,"idempotency_key":"cut-2016-01-20","kind":"weight",'
    b'"payload":{"weight":"0.5","why":"Sharpe \xe2\x88\x921.9, below \xe2\x88\x921.4"},'
    b'"previous":"' + b"ab" * 32 + b'","role":"monitor","sequence":42,"signal":"large_caps",'
    b'"signature":"' + SIGNATURE.encode() + b'","time_ns":1453323600000000000}'
)
HASH = "4f3a65e8b3263e2bb756d777a9a3a34d47d2fba11a35740a39ea0a5b615efc6d"


def _entry() -> Entry:
    action = sign(
        Signer("monitor", KEY),
        kind="weight",
        role="monitor",
        time_ns=1_453_323_600_000_000_000,
        payload={"why": "Sharpe −1.9, below −1.4", "weight": "0.5"},
        signal="large_caps",
        expected_generation=7,
        idempotency_key="cut-2016-01-20",
    )
    return place(action, sequence=42, previous="ab" * 32)


def test_what_is_signed() -> None:
    assert _entry().signed_bytes() == SIGNED
    assert _entry().signature == SIGNATURE
    assert Principal("monitor", PUBLIC_KEY, ("monitor",)).verifies(SIGNATURE, SIGNED)


def test_what_is_stored_and_hashed() -> None:
    assert _entry().body() == BODY
    assert _entry().hash == HASH


def test_what_is_stored_reads_back() -> None:
    assert read_entry(BODY) == _entry()
