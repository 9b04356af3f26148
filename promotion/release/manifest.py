"""A release's manifest: what the release is, and the hash and size of every file in it.

The digest that names a release is the SHA-256 of `manifest.json`, canonical bytes. Nothing in it depends on when,
where or by which run it was made, so that packaging one run twice gives one digest. Numbers that are not integers
are decimal strings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from features.canonical import NotCanonicalError, canonical_json, sha256_hex
from promotion.errors import ManifestRefused

SCHEMA: Literal["signalbox.release.1"] = "signalbox.release.1"
MANIFEST = "manifest.json"
AUTHOR_SIGNATURE = "signatures/author.json"
VALIDATOR_SIGNATURE = "signatures/validator.json"
SIGNATURES = (AUTHOR_SIGNATURE, VALIDATOR_SIGNATURE)
REQUIRED = (
    "backtest.npz",
    "card.md",
    "evidence.json",
    "golden.npz",
    "model.onnx",
    "reference/features.npz",
    "reference/nulls.npz",
    "report.html",
    "trials.npz",
)
OPTIONAL = ("parity.npz",)
MAX_FILE_BYTES = 256 * 2**20
MAX_MANIFEST_BYTES = 2**20

Hex64 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_FILE_BYTES)]


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named piece of the manifest."""


class FileFacts(Part, frozen=True, kw_only=True):
    """A file's content: SHA-256 and size in bytes."""

    sha256: Hex64
    size: Size


class Tensor(Part, frozen=True, kw_only=True):
    """An input or output of the model; a dimension is a length, or the name of one that varies."""

    name: Name
    dtype: Literal["float32"]
    shape: tuple[int | str, ...]


class Column(Part, frozen=True, kw_only=True):
    """One feature, in the order of the model's columns; `nan_ok`: the model was trained to see it missing."""

    name: Name
    nan_ok: bool


class Fingerprints(Part, frozen=True, kw_only=True):
    """What computed the features and the golden scores: equal fingerprints promise equal bits."""

    kernel: Hex64
    runtime: Hex64


class TrialFacts(Part, frozen=True, kw_only=True):
    """The family that the model's trials are counted in; `declared`: by its author, not by this ledger."""

    label: Name
    universe: tuple[Name, ...]
    data: Name
    declared: bool


class Manifest(Part, frozen=True, kw_only=True):
    """What `manifest.json` says.

    config: canonical form of the signal's configuration (promotion.config.Signal). limits: canonical form of its
    limits. golden_tolerance: largest absolute difference of a score where the runtime fingerprint differs.
    as_of_ns: the instant whose knowledge the model was trained with, UTC nanoseconds.
    """

    schema: Literal["signalbox.release.1"]
    signal: Name
    environment: Literal["replay", "paper", "prod"]
    author: Name
    validator: Name
    files: dict[str, FileFacts]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    features: tuple[Column, ...]
    feature_set_id: Hex64
    snapshot_id: Name
    fingerprints: Fingerprints
    golden_tolerance: str
    limits: dict[str, str | int]
    config: dict[str, Any]
    as_of_ns: int
    trials: TrialFacts
    commit: Name
    lock_hash: Name

    def body(self) -> bytes:
        """The canonical bytes: what the digest is taken of."""
        return canonical_json(msgspec.to_builtins(self))

    @property
    def digest(self) -> str:
        """The release's name: SHA-256 of `body()`."""
        return sha256_hex(self.body())

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The features' names, in the order of the model's columns."""
        return tuple(column.name for column in self.features)

    @property
    def max_weight(self) -> float:
        """The largest capital weight the release may be given."""
        return float(self.limits["max_capital_weight"])


def read_manifest(body: bytes) -> Manifest:
    """The manifest whose bytes are `body`. ManifestRefused when they are not canonical, or not a manifest's."""
    try:
        manifest = msgspec.json.decode(body, type=Manifest)
        canonical = manifest.body()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, NotCanonicalError) as error:
        raise ManifestRefused(f"{MANIFEST}: expected a manifest of schema {SCHEMA}, found: {error}") from error
    if canonical != body:
        raise ManifestRefused(f"{MANIFEST}: expected canonical JSON, found other bytes of the same content")
    _check_paths(manifest)
    return manifest


def _check_paths(manifest: Manifest) -> None:
    missing = sorted(set(REQUIRED) - set(manifest.files))
    foreign = sorted(set(manifest.files) - set(REQUIRED) - set(OPTIONAL))
    if missing or foreign:
        raise ManifestRefused(
            f"{MANIFEST}: expected the files {', '.join(REQUIRED)}; missing {missing}, not allowed {foreign}"
        )
