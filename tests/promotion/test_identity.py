from __future__ import annotations

from pathlib import Path

import pytest

from promotion.errors import EntryRefused, KeyRefused
from promotion.identity import KeyStore, Principal


def test_a_signature_verifies_for_its_data_and_signer_alone(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    alice, bob = keys.create("alice"), keys.create("bob")
    signature = keys.sign("alice", b"data")
    assert alice.principal("researcher").verifies(signature, b"data")
    assert not alice.principal("researcher").verifies(signature, b"date")
    assert not bob.principal("researcher").verifies(signature, b"data")
    assert not alice.principal("researcher").verifies("zz", b"data")
    assert not alice.principal("researcher").verifies(signature.upper(), b"data")


def test_keys_are_private(tmp_path: Path) -> None:
    KeyStore(tmp_path).create("alice")
    key = tmp_path / "principals" / "alice.key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700


def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    KeyStore(tmp_path).create("alice")
    (tmp_path / "principals" / "alice.key").chmod(0o644)
    with pytest.raises(KeyRefused, match="expected mode 0600, found 0644"):
        KeyStore(tmp_path).signer("alice")


def test_a_missing_key_names_those_that_are_there(tmp_path: Path) -> None:
    KeyStore(tmp_path).create("alice")
    with pytest.raises(KeyRefused, match="keys here: alice"):
        KeyStore(tmp_path).signer("bob")


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    KeyStore(tmp_path).create("alice")
    (tmp_path / "principals" / "alice.key").write_text("not hex")
    with pytest.raises(KeyRefused, match="expected 64 hex digits"):
        KeyStore(tmp_path).signer("alice")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    first = KeyStore(tmp_path).create("alice").public_key
    with pytest.raises(KeyRefused, match="expected no key for 'alice' yet"):
        KeyStore(tmp_path).create("alice")
    assert KeyStore(tmp_path).signer("alice").public_key == first


@pytest.mark.parametrize("name", ["", "../alice", "Alice", "a" * 65, "al ice", "-a"])
def test_names_that_could_be_paths_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(EntryRefused, match="expected a principal's name"):
        KeyStore(tmp_path).create(name)


def test_an_automatic_role_stands_alone() -> None:
    with pytest.raises(EntryRefused, match="expected an automatic role alone"):
        Principal("robot", "ab" * 32, ("monitor", "operator"))


def test_unknown_roles_are_refused() -> None:
    with pytest.raises(EntryRefused, match="expected roles of researcher"):
        Principal("robot", "ab" * 32, ("god",))
