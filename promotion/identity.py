"""Who acts: principals with roles, and their Ed25519 keys.

Public keys and roles live in the ledger, where everyone can check a signature; private keys live in the key store of
the machine whose principal uses them. Roles `monitor` and `kill_switch` are those of automatic actors: they may only
reduce risk, and a principal that holds one holds no other.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from promotion.errors import EntryRefused, KeyRefused

Role = Literal["researcher", "validator", "approver", "operator", "monitor", "kill_switch"]
ROLES: tuple[str, ...] = get_args(Role)
AUTOMATIC = frozenset({"monitor", "kill_switch"})
_NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX128 = re.compile(r"[0-9a-f]{128}")


@dataclass(frozen=True)
class Principal:
    """Someone who signs, as the ledger knows them.

    public_key: Ed25519, 64 hex digits. roles: held now; () after a revocation. held: every role ever held, so that
    what was signed rightly stays valid.
    """

    name: str
    public_key: str
    roles: tuple[str, ...]
    held: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        check_name(self.name)
        if not _HEX64.fullmatch(self.public_key):
            raise EntryRefused(f"principal {self.name}: expected a public key of 64 hex digits")
        unknown = sorted(set(self.roles) - set(ROLES))
        if unknown:
            raise EntryRefused(f"principal {self.name}: expected roles of {', '.join(ROLES)}, found {unknown}")
        if set(self.roles) & AUTOMATIC and len(set(self.roles)) > 1:
            raise EntryRefused(
                f"principal {self.name}: expected an automatic role alone, found {list(self.roles)}; "
                "give the person a principal of their own"
            )
        object.__setattr__(self, "held", self.held | frozenset(self.roles))

    def verifies(self, signature: str, data: bytes) -> bool:
        """Whether `signature` (128 lower-case hex digits: one writing only) is this principal's over `data`."""
        if not _HEX128.fullmatch(signature):
            return False
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
            key.verify(bytes.fromhex(signature), data)
        except (InvalidSignature, ValueError):
            return False
        return True


class Signer:
    """A principal's name together with its private key."""

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self.name = check_name(name)
        self._key = key

    @property
    def public_key(self) -> str:
        """The public half, 64 hex digits."""
        return self._key.public_key().public_bytes_raw().hex()

    def sign(self, data: bytes) -> str:
        """The Ed25519 signature over `data`, 128 hex digits. The same data always gives the same signature."""
        return self._key.sign(data).hex()

    def principal(self, *roles: str) -> Principal:
        """This signer as a principal that holds `roles`."""
        return Principal(self.name, self.public_key, tuple(roles))


class KeyStore:
    """The private keys of this machine's principals: one file each, mode 0600, in a folder of mode 0700."""

    def __init__(self, root: Path) -> None:
        self.root = root / "principals"

    def create(self, name: str) -> Signer:
        """A new key for `name`. KeyRefused when there is one: a key is never overwritten."""
        key = Ed25519PrivateKey.generate()
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as error:
            raise KeyRefused(f"{path}: expected no key for {name!r} yet, found one; choose another name") from error
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key.private_bytes_raw().hex())
            file.flush()
            os.fsync(file.fileno())
        return Signer(name, key)

    def signer(self, name: str) -> Signer:
        """The signer called `name`. KeyRefused when its key is missing, damaged or readable by others."""
        path = self._path(name)
        try:
            mode = path.stat().st_mode & 0o777
            raw = bytes.fromhex(path.read_text(encoding="ascii"))
            key = Ed25519PrivateKey.from_private_bytes(raw)
        except FileNotFoundError as error:
            known = ", ".join(self.names()) or "none"
            raise KeyRefused(f"{path}: expected a private key of {name!r}, found none; keys here: {known}") from error
        except ValueError as error:
            raise KeyRefused(f"{path}: expected 64 hex digits, found something else; restore the key") from error
        if mode & 0o077:
            raise KeyRefused(f"{path}: expected mode 0600, found {mode:04o}; the key may have been read: replace it")
        return Signer(name, key)

    def sign(self, name: str, data: bytes) -> str:
        """The signature of `name` over `data`, 128 hex digits."""
        return self.signer(name).sign(data)

    def names(self) -> tuple[str, ...]:
        """Whose keys are here, in alphabetical order."""
        return tuple(sorted(path.name.removesuffix(".key") for path in self.root.glob("*.key")))

    def _path(self, name: str) -> Path:
        return self.root / f"{check_name(name)}.key"


def check_name(name: str) -> str:
    """`name`, if a principal may be called so; EntryRefused otherwise."""
    if not _NAME.fullmatch(name):
        raise EntryRefused(f"expected a principal's name like 'alice' (a-z, 0-9, _ . -), found {name[:80]!r}")
    return name
