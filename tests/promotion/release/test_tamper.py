"""An altered byte anywhere, a file more or less, a link, a swapped signature: refused, and named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.canonical import canonical_json
from promotion.errors import (
    EnvironmentRefused,
    FileAltered,
    FileMissing,
    FileUnexpected,
    GoldenRowsDiffer,
    ManifestRefused,
    ReleaseMissing,
    ReleaseRefused,
    SignatureRefused,
)
from promotion.release import build
from promotion.release.arrays import to_npz
from promotion.release.child import prove_in_child
from promotion.release.golden import check_golden
from promotion.release.manifest import MANIFEST, OPTIONAL, REQUIRED, SIGNATURES, read_manifest
from promotion.release.open import open_release, verify_release
from promotion.release.signatures import sign_release

PATHS = (*REQUIRED, *SIGNATURES, MANIFEST)


def _open(desk: Any, digest: str, environment: str = "replay") -> Any:
    principals = desk.ledger.state().principals
    return open_release(desk.home, digest, environment=environment, principals=principals)


def _rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    data = change(path.read_bytes())
    path.unlink()
    path.write_bytes(data)


def test_a_release_opens_and_answers(desk: Any) -> None:
    release = _open(desk, desk.build(slope=2.0))
    features = np.array([[1, 2, 3], [0, 0, 1]], dtype=np.float32)
    np.testing.assert_array_equal(release.predict(features), np.array([12, 2], dtype=np.float32))
    assert release.golden_difference == 0.0
    assert release.manifest.feature_names == ("momentum", "reversal", "volatility")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_an_altered_byte_is_refused_by_name(desk: Any, path: str, where: str) -> None:
    digest = desk.build()

    def flip(data: bytes) -> bytes:
        at = {"first": 0, "middle": len(data) // 2, "last": len(data) - 1}[where]
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    _rewrite(desk.home.releases / digest / path, flip)
    with pytest.raises((FileAltered, SignatureRefused), match=f"^{path}: expected"):
        _open(desk, digest)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_altered_byte_anywhere_is_refused_by_name(desk: Any, data: st.DataObject) -> None:
    digest = desk.build()
    path = data.draw(st.sampled_from(PATHS))
    file = desk.home.releases / digest / path
    good = file.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    _rewrite(file, lambda _: bytes(bad))
    try:
        with pytest.raises((FileAltered, SignatureRefused), match=f"^{path}: expected"):
            verify_release(desk.home, digest, environment="replay", principals=desk.ledger.state().principals)
    finally:
        _rewrite(file, lambda _: good)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("keep", [0, 7])
def test_a_truncated_file_is_refused_by_name(desk: Any, path: str, keep: int) -> None:
    digest = desk.build()
    _rewrite(desk.home.releases / digest / path, lambda data: data[:keep])
    with pytest.raises((FileAltered, SignatureRefused), match=f"^{path}: expected"):
        _open(desk, digest)


@pytest.mark.parametrize("path", PATHS)
def test_a_longer_file_is_refused_by_name(desk: Any, path: str) -> None:
    digest = desk.build()
    _rewrite(desk.home.releases / digest / path, lambda data: data + b" " * 5000)
    with pytest.raises((FileAltered, SignatureRefused), match=f"^{path}: expected"):
        _open(desk, digest)


@pytest.mark.parametrize("path", PATHS)
def test_a_missing_file_is_refused_by_name(desk: Any, path: str) -> None:
    digest = desk.build()
    (desk.home.releases / digest / path).unlink()
    with pytest.raises((FileMissing, SignatureRefused), match=f"^{path}: expected"):
        _open(desk, digest)


@pytest.mark.parametrize("path", ["extra.txt", "model.pkl", "reference/extra.npz", "signatures/more.json", ".hidden"])
def test_an_extra_file_is_refused_by_name(desk: Any, path: str) -> None:
    digest = desk.build()
    (desk.home.releases / digest / path).write_bytes(b"x")
    with pytest.raises(FileUnexpected, match=f"^{path}: expected"):
        _open(desk, digest)


def test_an_optional_file_that_is_not_listed_is_extra(desk: Any) -> None:
    digest = desk.build(files={OPTIONAL[0]: None})
    (desk.home.releases / digest / OPTIONAL[0]).write_bytes(b"x")
    with pytest.raises(FileUnexpected, match=f"^{OPTIONAL[0]}: expected only files that manifest.json lists"):
        _open(desk, digest)


def test_an_extra_folder_is_refused_by_name(desk: Any) -> None:
    digest = desk.build()
    (desk.home.releases / digest / "code").mkdir()
    with pytest.raises(FileUnexpected, match=r"^code: expected"):
        _open(desk, digest)


@pytest.mark.parametrize("path", ["model.onnx", "manifest.json", "reference/nulls.npz", "signatures/author.json"])
def test_links_are_refused_though_the_bytes_are_right(desk: Any, tmp_path: Path, path: str) -> None:
    digest = desk.build()
    file = desk.home.releases / digest / path
    shutil.copy(file, tmp_path / "same")
    file.unlink()
    file.symlink_to(tmp_path / "same")
    with pytest.raises(FileUnexpected, match=f"^{path}: expected a plain file"):
        _open(desk, digest)
    file.unlink()
    os.link(tmp_path / "same", file)
    with pytest.raises(FileUnexpected, match=f"^{path}: expected a file of its own, found a hard link"):
        _open(desk, digest)


def test_a_linked_folder_is_refused(desk: Any, tmp_path: Path) -> None:
    digest = desk.build()
    folder = desk.home.releases / digest / "reference"
    shutil.move(folder, tmp_path / "reference")
    folder.symlink_to(tmp_path / "reference")
    with pytest.raises(FileUnexpected, match=r"^reference: expected a plain file"):
        _open(desk, digest)


def test_a_linked_release_is_refused(desk: Any, tmp_path: Path) -> None:
    digest = desk.build()
    shutil.move(desk.home.releases / digest, tmp_path / digest)
    (desk.home.releases / digest).symlink_to(tmp_path / digest)
    with pytest.raises(ReleaseMissing, match="expected a directory"):
        _open(desk, digest)


def test_a_pipe_is_refused_without_waiting_for_it(desk: Any) -> None:
    digest = desk.build()
    os.mkfifo(desk.home.releases / digest / "pipe")
    with pytest.raises(FileUnexpected, match=r"^pipe: expected a plain file"):
        _open(desk, digest)


def test_a_release_that_is_not_there_is_named(desk: Any) -> None:
    with pytest.raises(ReleaseMissing, match="ab" * 32):
        _open(desk, "ab" * 32)


def test_another_release_under_the_digest_is_refused(desk: Any) -> None:
    one, two = desk.build(slope=1.0), desk.build(slope=2.0)
    shutil.rmtree(desk.home.releases / one)
    shutil.copytree(desk.home.releases / two, desk.home.releases / one)
    with pytest.raises(FileAltered, match=r"^manifest.json: expected SHA-256 " + one):
        _open(desk, one)


def test_a_release_for_another_environment_is_refused(desk: Any) -> None:
    digest = desk.build()
    with pytest.raises(EnvironmentRefused, match="expected one signed for prod, found replay"):
        _open(desk, digest, environment="prod")


def test_swapped_signatures_are_refused(desk: Any) -> None:
    digest = desk.build()
    author, validator = (desk.home.releases / digest / path for path in SIGNATURES)
    one, two = author.read_bytes(), validator.read_bytes()
    _rewrite(author, lambda _: two)
    _rewrite(validator, lambda _: one)
    with pytest.raises(SignatureRefused, match="signatures were swapped"):
        _open(desk, digest)


def test_a_signature_from_another_release_is_refused(desk: Any) -> None:
    one, two = desk.build(slope=1.0), desk.build(slope=2.0)
    other = (desk.home.releases / two / SIGNATURES[1]).read_bytes()
    _rewrite(desk.home.releases / one / SIGNATURES[1], lambda _: other)
    with pytest.raises(SignatureRefused, match=r"^signatures/validator.json: expected bob's signature over"):
        _open(desk, one)


def test_an_author_s_signature_relabelled_as_the_validator_s_is_refused(desk: Any) -> None:
    digest = desk.build()
    author, validator = (desk.home.releases / digest / path for path in SIGNATURES)
    key = desk.keys.signer("bob").public_key
    relabelled = canonical_json(
        {**json.loads(author.read_bytes()), "part": "validator", "principal": "bob", "public_key": key}
    )
    _rewrite(validator, lambda _: relabelled)
    with pytest.raises(SignatureRefused, match="expected bob's signature over"):
        _open(desk, digest)


def test_a_signer_unknown_to_the_ledger_is_refused(desk: Any) -> None:
    digest = desk.build()
    principals = {k: v for k, v in desk.ledger.state().principals.items() if k != "bob"}
    with pytest.raises(SignatureRefused, match="expected bob to be a validator of this ledger, found none"):
        open_release(desk.home, digest, environment="replay", principals=principals)


def test_a_validator_without_the_role_is_refused(desk: Any) -> None:
    manifest = read_manifest((desk.home.releases / desk.build() / MANIFEST).read_bytes())
    carol = desk.keys.signer("carol")  # an approver, no validator
    folder = desk.home.releases / manifest.digest
    _rewrite(folder / SIGNATURES[1], lambda _: sign_release(carol, "validator", manifest))
    with pytest.raises(SignatureRefused, match="expected bob as validator, found carol as validator"):
        _open(desk, manifest.digest)


@pytest.mark.parametrize(("name", "roles"), [("bob", ("approver",)), ("alice", ("operator",)), ("bob", ())])
def test_signers_who_never_held_the_role_are_refused(desk: Any, name: str, roles: tuple[str, ...]) -> None:
    digest = desk.build()
    principals = {**desk.ledger.state().principals, name: desk.keys.signer(name).principal(*roles)}
    with pytest.raises(SignatureRefused, match=f"expected {name} to be a (validator|researcher) of this ledger"):
        open_release(desk.home, digest, environment="replay", principals=principals)


def test_golden_scores_that_this_machine_does_not_give_are_refused(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release signed where the model answered otherwise: opened nowhere else, in the child neither."""
    monkeypatch.setattr(build, "_prove", lambda *_: None)
    features = np.ones((4, 3), dtype=np.float32)
    digest = desk.build(files={"golden.npz": to_npz({"features": features, "scores": features[:, 0]})})
    with pytest.raises(GoldenRowsDiffer, match=r"^golden.npz: expected scores within 0.0"):
        _open(desk, digest)
    principals = desk.ledger.state().principals
    with pytest.raises(GoldenRowsDiffer, match=r"^golden.npz: expected scores within 0.0"):
        prove_in_child(desk.home, digest, environment="replay", principals=principals)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("signalbox.release.1", "signalbox.release.9"),
        lambda text: text.replace('"signal":', '"surprise":1,"signal":'),
        lambda text: text.replace(":", ": ", 1),
        lambda text: text[:-1],
        lambda text: text.replace('"environment":"replay"', '"environment":"moon"'),
        lambda text: text.replace('"card.md"', '"/etc/passwd"'),
        lambda text: "[" * 100_000,
        lambda text: "",
    ],
)
def test_a_manifest_that_is_none_is_refused(desk: Any, change: Callable[[str], str]) -> None:
    text = (desk.home.releases / desk.build() / MANIFEST).read_text()
    with pytest.raises(ManifestRefused, match=r"^manifest.json: expected"):
        read_manifest(change(text).encode())


def test_golden_rows_are_held_to_bits_here_and_to_a_tolerance_elsewhere(desk: Any) -> None:
    manifest = read_manifest((desk.home.releases / desk.build() / MANIFEST).read_bytes())
    here, elsewhere = manifest.fingerprints.runtime, "ab" * 32
    expected = np.array([1.0, 2.0], dtype=np.float32)
    one_bit = np.nextafter(expected, np.float32(9))
    far = expected + np.float32(0.001)
    assert check_golden(manifest, expected, expected.copy(), runtime=here) == 0.0
    assert 0 < check_golden(manifest, expected, one_bit, runtime=elsewhere) < 1e-5
    for found, runtime in ((one_bit, here), (far, here), (far, elsewhere), (expected * np.nan, elsewhere)):
        with pytest.raises(GoldenRowsDiffer, match="this machine must not serve the release"):
            check_golden(manifest, expected, found, runtime=runtime)
    with pytest.raises(GoldenRowsDiffer):
        check_golden(manifest, np.zeros(1, np.float32), -np.zeros(1, np.float32), runtime=here)


def test_every_refusal_is_one_of_the_family(desk: Any) -> None:
    for error in (FileAltered, FileMissing, FileUnexpected, SignatureRefused, EnvironmentRefused, ManifestRefused):
        assert issubclass(error, ReleaseRefused)
