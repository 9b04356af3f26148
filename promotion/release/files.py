"""Reading a release from its directory: every byte is hashed before anyone looks at it, and nothing else may lie there.

What is returned is what was hashed: the bytes are read once, so that a file changed a moment later changes nothing.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from features.canonical import NotCanonicalError, canonical_json, sha256_hex
from promotion.errors import FileAltered, FileMissing, FileUnexpected, ReleaseMissing
from promotion.release.arrays import from_npz
from promotion.release.manifest import MANIFEST, MAX_MANIFEST_BYTES, SIGNATURES, FileFacts, Manifest, read_manifest

_MAX_SIGNATURE_BYTES = 4096


@dataclass(frozen=True)
class Contents:
    """A release's manifest and its verified bytes by path, signature files among them."""

    digest: str
    manifest: Manifest
    files: dict[str, bytes]


def read_release(folder: Path, digest: str) -> Contents:
    """The release `digest` in `folder`. Raises the ReleaseRefused that names the file at fault.

    Signatures are read, not checked: that is `promotion.release.signatures`.
    """
    if not folder.is_dir() or folder.is_symlink():
        raise ReleaseMissing(f"release {digest}: expected a directory {folder}, found none; copy the release in")
    found = dict(_walk(folder))
    body = _read(folder, MANIFEST, MAX_MANIFEST_BYTES, found)
    if sha256_hex(body) != digest:
        raise FileAltered(f"{MANIFEST}: expected SHA-256 {digest}, found {sha256_hex(body)}; restore it from a copy")
    manifest = read_manifest(body)
    _check_listing(manifest, found)
    files = {path: _read_listed(folder, path, facts, found) for path, facts in sorted(manifest.files.items())}
    for path, data in files.items():
        _check_format(path, data)
    signatures = {path: _read(folder, path, _MAX_SIGNATURE_BYTES, found) for path in SIGNATURES if path in found}
    return Contents(digest, manifest, {**files, **signatures})


def _walk(folder: Path, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    for item in sorted(os.scandir(folder), key=lambda item: item.name):
        path = prefix + item.name
        facts = item.stat(follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode) and path in ("reference", "signatures"):
            yield from _walk(folder / item.name, path + "/")
        elif not stat.S_ISREG(facts.st_mode):
            raise FileUnexpected(f"{path}: expected a plain file of the manifest, found a link, folder or device")
        elif facts.st_nlink != 1:
            raise FileUnexpected(f"{path}: expected a file of its own, found a hard link; copy the release anew")
        else:
            yield path, facts


def _check_listing(manifest: Manifest, found: dict[str, os.stat_result]) -> None:
    for path in sorted(set(found) - set(manifest.files) - {MANIFEST, *SIGNATURES}):
        raise FileUnexpected(f"{path}: expected only files that {MANIFEST} lists, found this one; remove it")
    for path in sorted(set(manifest.files) - set(found)):
        raise FileMissing(f"{path}: expected this file of {MANIFEST}, found none; restore it from a copy")


def _read_listed(folder: Path, path: str, facts: FileFacts, found: dict[str, os.stat_result]) -> bytes:
    data = _read(folder, path, facts.size, found)
    if len(data) != facts.size or sha256_hex(data) != facts.sha256:
        raise FileAltered(
            f"{path}: expected {facts.size} bytes of SHA-256 {facts.sha256}, found {len(data)} of {sha256_hex(data)}; "
            "restore it from a copy"
        )
    return data


def _read(folder: Path, path: str, limit: int, found: dict[str, os.stat_result]) -> bytes:
    if path not in found:
        raise FileMissing(f"{path}: expected this file in every release, found none; restore it from a copy")
    if found[path].st_size > limit:
        raise FileAltered(f"{path}: expected at most {limit} bytes, found {found[path].st_size}; restore it")
    descriptor = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(limit + 1)


def _check_format(path: str, data: bytes) -> None:
    if path.endswith(".npz"):
        from_npz(data, path=path)
    elif path.endswith((".html", ".md", ".json")):
        _check_text(path, data)


def _check_text(path: str, data: bytes) -> None:
    try:
        text = data.decode()
        if path.endswith(".json") and canonical_json(json.loads(text)) != data:
            raise FileUnexpected(f"{path}: expected canonical JSON, found other bytes; write it canonically")
    except (ValueError, RecursionError, NotCanonicalError) as error:
        raise FileUnexpected(f"{path}: expected UTF-8 text, canonical where JSON, found: {error}") from error
