"""From parts to a release: a directory named by its digest, signed, whole or not there at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from features.canonical import decimal, sha256_hex
from promotion.config import Environment, Signal, canonical_form
from promotion.errors import ManifestRefused
from promotion.home import Home
from promotion.identity import Signer
from promotion.ledger.trials import Family
from promotion.release.files import read_release
from promotion.release.golden import PATH as GOLDEN
from promotion.release.golden import check_golden, read_golden
from promotion.release.manifest import (
    AUTHOR_SIGNATURE,
    MANIFEST,
    SCHEMA,
    VALIDATOR_SIGNATURE,
    Column,
    FileFacts,
    Fingerprints,
    Manifest,
    TrialFacts,
    read_manifest,
)
from promotion.release.onnx_rules import MODEL, check_model
from promotion.release.open import check_tensors
from promotion.release.session import make_session, run, runtime_fingerprint
from promotion.release.signatures import check_signatures, sign_release


@dataclass(frozen=True)
class ReleaseParts:
    """What a release is made of.

    config: the signal's configuration; its limits and features go into the manifest. files: bytes by path, every
    required path of promotion.release.manifest. nan_ok: the features that the model was trained to see missing.
    golden_tolerance: largest absolute difference of a golden score on another runtime. as_of_ns: UTC nanoseconds.
    trials: the family the model's trials are counted in; declared: by its author, for a handed-over model.
    """

    signal: str
    environment: Environment
    config: Signal
    files: Mapping[str, bytes]
    feature_set_id: str
    snapshot_id: str
    kernel_fingerprint: str
    as_of_ns: int
    trials: Family
    commit: str
    lock_hash: str
    golden_tolerance: float = 1e-5
    nan_ok: frozenset[str] = field(default_factory=frozenset)
    declared: bool = False


def build_release(home: Home, parts: ReleaseParts, *, author: Signer, validator: Signer) -> str:
    """Builds, signs and proves a release of `parts` and returns its digest, 64 hex digits.

    The same parts give the same digest, whenever and wherever. Building it again leaves the one that is there. The
    directory appears under its digest whole, by one rename; a build that was cut short leaves nothing under it.
    Raises ReleaseRefused for parts that no release may have.
    """
    manifest = _manifest(parts, author.name, validator.name)
    read_manifest(manifest.body())
    check_tensors(manifest, parts.files[MODEL])
    _prove(manifest, parts.files)
    files = {
        **parts.files,
        MANIFEST: manifest.body(),
        AUTHOR_SIGNATURE: sign_release(author, "author", manifest),
        VALIDATOR_SIGNATURE: sign_release(validator, "validator", manifest),
    }
    principals = {signer.name: signer.principal("researcher", "validator") for signer in (author, validator)}
    check_signatures(manifest, files, principals)  # that they hold these roles is the ledger's to say, at registration
    _publish(home.releases, manifest.digest, files)
    return manifest.digest


def _manifest(parts: ReleaseParts, author: str, validator: str) -> Manifest:
    if MODEL not in parts.files:
        raise ManifestRefused(f"{MODEL}: expected a model among the parts, found {sorted(parts.files)}")
    inputs, outputs = check_model(parts.files[MODEL])
    return Manifest(
        schema=SCHEMA,
        signal=parts.signal,
        environment=parts.environment,
        author=author,
        validator=validator,
        files={path: FileFacts(sha256=sha256_hex(data), size=len(data)) for path, data in parts.files.items()},
        inputs=inputs,
        outputs=outputs,
        features=tuple(Column(name=name, nan_ok=name in parts.nan_ok) for name in parts.config.features),
        feature_set_id=parts.feature_set_id,
        snapshot_id=parts.snapshot_id,
        fingerprints=Fingerprints(kernel=parts.kernel_fingerprint, runtime=runtime_fingerprint()),
        golden_tolerance=decimal(parts.golden_tolerance),
        limits=canonical_form(parts.config.limits),
        config=canonical_form(parts.config),
        as_of_ns=parts.as_of_ns,
        trials=TrialFacts(
            label=parts.trials.label,
            universe=tuple(sorted(parts.trials.universe)),
            data=parts.trials.data,
            declared=parts.declared,
        ),
        commit=parts.commit,
        lock_hash=parts.lock_hash,
    )


def _prove(manifest: Manifest, files: Mapping[str, bytes]) -> None:
    features, scores = read_golden(files[GOLDEN], len(manifest.features))
    found = run(make_session(files[MODEL]), manifest.inputs[0], manifest.outputs[0], features)
    check_golden(manifest, scores, found, runtime=runtime_fingerprint())


def _publish(releases: Path, digest: str, files: Mapping[str, bytes]) -> None:
    releases.mkdir(parents=True, exist_ok=True)
    final = releases / digest
    building = Path(tempfile.mkdtemp(dir=releases, prefix=".building-"))
    try:
        for path, data in files.items():
            _write(building / path, data)
        read_release(building, digest)
        for folder in (building / "reference", building / "signatures", building):
            _sync(folder)
        if not final.exists():
            building.rename(final)
            _sync(releases)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o444)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
