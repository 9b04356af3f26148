"""The keys that feature rows are signed with: one file each, `HOME/keys/rows/ID.key`, mode 0600.

The publisher signs with one; every worker verifies with all of them, so that a key is replaced without a gap: add the
new one, publish with it, remove the old one.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from promotion.home import Home
from serving.errors import KeyRingRefused

KEY_BYTES = 32


def create_row_key(home: Home, key_id: int = 1) -> bytes:
    """A new random key under `key_id` (0 to 255). KeyRingRefused when there is one: a key is never overwritten."""
    path = _path(home, key_id)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise KeyRingRefused(f"{path}: expected no key yet, found one; choose another id, 0 to 255") from error
    key = secrets.token_bytes(KEY_BYTES)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.hex())
        file.flush()
        os.fsync(file.fileno())
    return key


def read_row_keys(home: Home) -> dict[int, bytes]:
    """Key id → key; empty when there is none. KeyRingRefused for a file that is damaged or readable by others."""
    files = sorted((home.keys / "rows").glob("*.key"))
    return {_key_id(path): _read(path) for path in files}


def _path(home: Home, key_id: int) -> Path:
    if not 0 <= key_id <= 255:
        raise KeyRingRefused(f"row key: expected an id of 0 to 255, found {key_id}")
    return home.keys / "rows" / f"{key_id}.key"


def _key_id(path: Path) -> int:
    if not path.stem.isdecimal() or int(path.stem) > 255:
        raise KeyRingRefused(f"{path}: expected a name like 1.key, with an id of 0 to 255; rename or remove it")
    return int(path.stem)


def _read(path: Path) -> bytes:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise KeyRingRefused(f"{path}: expected mode 0600, found {mode:04o}; the key may have been read: replace it")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii"))
    except ValueError as error:
        raise KeyRingRefused(
            f"{path}: expected {2 * KEY_BYTES} hex digits, found something else; restore it"
        ) from error
    if len(key) != KEY_BYTES:
        raise KeyRingRefused(f"{path}: expected {2 * KEY_BYTES} hex digits, found {2 * len(key)}; restore it")
    return key
