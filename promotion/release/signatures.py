"""The two signatures of a release: its author's, and that of the validator who vouches for its evidence.

Both are Ed25519 over the digest together with the environment, the signer's part and name, so that neither can stand
in for the other, nor for a signature on another release or in another environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from features.canonical import canonical_json
from promotion.errors import SignatureRefused
from promotion.identity import Principal, Signer
from promotion.release.manifest import AUTHOR_SIGNATURE, VALIDATOR_SIGNATURE, Manifest

_DOMAIN = b"signalbox.release.1\n"
Part = Literal["author", "validator"]
_ROLE: dict[Part, str] = {"author": "researcher", "validator": "validator"}
_PATH: dict[Part, str] = {"author": AUTHOR_SIGNATURE, "validator": VALIDATOR_SIGNATURE}


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signature file: who signed as what."""

    part: Part
    principal: str
    public_key: str
    signature: str


def sign_release(signer: Signer, part: Part, manifest: Manifest) -> bytes:
    """The signature file of `signer` as the release's `part`."""
    signature = Signature(
        part=part,
        principal=signer.name,
        public_key=signer.public_key,
        signature=signer.sign(_message(part, signer.name, manifest)),
    )
    return _body(signature)


def check_signatures(manifest: Manifest, files: Mapping[str, bytes], principals: Mapping[str, Principal]) -> None:
    """Raises SignatureRefused unless author and validator, two principals with two keys, have signed this release.

    principals: as the ledger has them; a role since taken away does not undo a signature.
    """
    author = _check_part("author", manifest.author, manifest, files, principals)
    validator = _check_part("validator", manifest.validator, manifest, files, principals)
    if author.name == validator.name or author.public_key == validator.public_key:
        raise SignatureRefused(
            f"{VALIDATOR_SIGNATURE}: expected another principal than the author {author.name}; "
            "have the evidence validated by someone else"
        )


def _check_part(
    part: Part, name: str, manifest: Manifest, files: Mapping[str, bytes], principals: Mapping[str, Principal]
) -> Principal:
    path = _PATH[part]
    if path not in files:
        raise SignatureRefused(f"{path}: expected the {part}'s signature, found none")
    try:
        signature = msgspec.json.decode(files[path], type=Signature)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SignatureRefused(f"{path}: expected a signature file, found: {error}") from error
    if _body(signature) != files[path]:
        raise SignatureRefused(f"{path}: expected canonical JSON, found other bytes of the same content")
    if (signature.part, signature.principal) != (part, name):
        raise SignatureRefused(
            f"{path}: expected {name} as {part}, found {signature.principal} as {signature.part}; "
            "signatures were swapped"
        )
    principal = principals.get(name)
    if principal is None or _ROLE[part] not in principal.held:
        raise SignatureRefused(f"{path}: expected {name} to be a {_ROLE[part]} of this ledger, found none")
    if signature.public_key != principal.public_key:
        raise SignatureRefused(f"{path}: expected the key that the ledger has for {name}, found another")
    if not principal.verifies(signature.signature, _message(part, name, manifest)):
        raise SignatureRefused(f"{path}: expected {name}'s signature over {manifest.digest[:12]}, found another")
    return principal


def _body(signature: Signature) -> bytes:
    return canonical_json(msgspec.to_builtins(signature))


def _message(part: Part, name: str, manifest: Manifest) -> bytes:
    said = {"digest": manifest.digest, "environment": manifest.environment, "part": part, "principal": name}
    return _DOMAIN + canonical_json(said)
