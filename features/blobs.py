"""Bytes kept under the hash of their content, and names that point at them.

A blob is written to a temporary file, flushed to the disk, renamed into place and made read-only: it is there whole
or not at all. Every read is verified.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from features.canonical import sha256_hex
from features.errors import BlobAlteredError, BlobError, BlobMissingError

_HEX64 = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """A directory of content-addressed blobs. Safe for several writers: equal content has an equal name.

    root: created at the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Keeps `data` and returns its SHA-256, 64 hex digits. Keeping it twice is the same as once.

        A blob that was altered on the disk is mended.
        """
        digest = sha256_hex(data)
        if not self._holds(digest, data):
            _write(self._blob(digest), data)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes kept under `digest`, verified.

        BlobMissingError when there are none, BlobAlteredError when they are other bytes.
        """
        path = self._blob(digest)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise BlobMissingError(
                f"blob {digest}: expected a file at {path}, found none; copy it in, or ingest again"
            ) from error
        if sha256_hex(data) != digest:
            raise BlobAlteredError(
                f"blob {path}: expected content of SHA-256 {digest}, found {sha256_hex(data)} ({len(data)} bytes); "
                "the file was truncated or altered: restore it from a copy"
            )
        return data

    def has(self, digest: str) -> bool:
        """Whether something is kept under `digest`; its bytes are not read."""
        return self._blob(digest).is_file()

    def point(self, name: str, digest: str) -> None:
        """Lets `name` (64 hex digits, of any meaning) point at blob `digest`, whatever it pointed at before."""
        _check_name(digest, "blob")
        _write(self._pointer(name), digest.encode())

    def pointed(self, name: str) -> str | None:
        """The digest that `name` points at, or None. What it points at is to be verified by the caller."""
        try:
            text = self._pointer(name).read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise BlobAlteredError(
                f"pointer {self._pointer(name)}: expected 64 hex digits, found other bytes"
            ) from error
        _check_name(text, f"pointer {self._pointer(name)}")
        return text

    def _holds(self, digest: str, data: bytes) -> bool:
        try:
            return self._blob(digest).read_bytes() == data
        except FileNotFoundError:
            return False

    def _blob(self, digest: str) -> Path:
        _check_name(digest, "blob")
        return self.root / digest[:2] / digest

    def _pointer(self, name: str) -> Path:
        _check_name(name, "pointer")
        return self.root / "pointers" / name[:2] / name


def _check_name(name: str, what: str) -> None:
    if not _HEX64.fullmatch(name):
        raise BlobError(f"{what}: expected 64 lower-case hex digits, found {name[:80]!r}; give the full digest")


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o444)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
