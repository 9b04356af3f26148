"""The same parts give the same bytes; a release is there whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promotion.errors import FileUnexpected, GoldenRowsDiffer, ManifestRefused, ModelRefused, SignatureRefused
from promotion.home import Home
from promotion.identity import KeyStore
from promotion.release.arrays import from_npz, to_npz
from promotion.release.build import build_release
from promotion.release.files import read_release

ROOT = Path(__file__).resolve().parents[3]


def test_the_same_parts_give_one_digest_in_two_homes(desk: Any, tmp_path: Path) -> None:
    elsewhere, keys = Home(tmp_path / "elsewhere"), KeyStore(tmp_path / "elsewhere" / "keys")
    digest = build_release(elsewhere, desk.parts(), author=keys.create("alice"), validator=keys.create("bob"))
    assert digest == desk.build()
    ours, theirs = (read_release(home.releases / digest, digest) for home in (desk.home, elsewhere))
    assert ours.manifest == theirs.manifest
    signatures = {path for path in ours.files if ours.files[path] != theirs.files[path]}
    assert signatures == {"signatures/author.json", "signatures/validator.json"}  # other keys, the same content


def test_building_again_changes_nothing(desk: Any) -> None:
    digest = desk.build()
    before = {path: path.stat().st_mtime_ns for path in (desk.home.releases / digest).rglob("*")}
    assert desk.build() == digest
    assert {path: path.stat().st_mtime_ns for path in (desk.home.releases / digest).rglob("*")} == before
    assert [path.name for path in desk.home.releases.iterdir()] == [digest]


@pytest.mark.parametrize(
    "changes",
    [
        {"slope": 2.0},
        {"environment": "paper"},
        {"signal": "other"},
        {"snapshot_id": "ef" * 32},
        {"commit": "fff"},
        {"as_of_ns": 1},
        {"golden_tolerance": 1e-4},
        {"files": {"card.md": b"# another\n"}},
        {"nan_ok": frozenset({"momentum"})},
        {"declared": True},
    ],
)
def test_whatever_differs_shows_in_the_digest(desk: Any, changes: dict[str, Any]) -> None:
    assert desk.build(**changes) != desk.build()


def test_no_path_host_or_time_is_in_any_byte(desk: Any) -> None:
    digest = desk.build()
    for path, data in read_release(desk.home.releases / digest, digest).files.items():
        for secret in (str(desk.home.root), str(desk.clock.now)[:6], f'"{os.uname().nodename}"'):
            assert secret.encode() not in data, path


def test_files_are_read_only(desk: Any) -> None:
    for path in (desk.home.releases / desk.build()).rglob("*"):
        assert path.is_dir() or path.stat().st_mode & 0o222 == 0


def test_author_and_validator_are_two(desk: Any) -> None:
    alice = desk.keys.signer("alice")
    with pytest.raises(SignatureRefused, match="expected another principal than the author alice"):
        build_release(desk.home, desk.parts(), author=alice, validator=alice)
    assert not desk.home.releases.exists()


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"report.html": None}, ManifestRefused, r"missing \['report.html'\]"),
        ({"model.onnx": None}, ManifestRefused, "expected a model among the parts"),
        ({"notes.txt": b"hello"}, ManifestRefused, r"not allowed \['notes.txt'\]"),
        ({"../escape.md": b"hello"}, ManifestRefused, "not allowed"),
        ({"model.pkl": b"\x80\x04."}, ManifestRefused, r"not allowed \['model.pkl'\]"),
        ({"model.onnx": b"\x80\x04\x95no model."}, ModelRefused, "expected an ONNX model|well-formed|one input"),
        ({"card.md": b"\xff\xfe"}, FileUnexpected, "card.md: expected UTF-8 text"),
        ({"evidence.json": b'{"b": 1}'}, FileUnexpected, "evidence.json: expected canonical JSON"),
        ({"evidence.json": b'{"b":1.5}'}, FileUnexpected, "evidence.json: expected UTF-8 text, canonical"),
        ({"reference/nulls.npz": b"PK nothing"}, FileUnexpected, "reference/nulls.npz: expected an .npz"),
    ],
)
def test_parts_that_no_release_may_have_are_refused_and_leave_nothing(
    desk: Any, make_parts: Any, files: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        desk.build(files=files)
    assert not desk.home.releases.exists() or list(desk.home.releases.iterdir()) == []


def test_golden_scores_that_the_model_does_not_give_are_refused(desk: Any) -> None:
    features = np.ones((4, 3), dtype=np.float32)
    golden = to_npz({"features": features, "scores": np.zeros(4, dtype=np.float32)})
    with pytest.raises(GoldenRowsDiffer, match=r"golden.npz: expected scores within 0.0"):
        desk.build(files={"golden.npz": golden})


@pytest.mark.parametrize(
    "arrays",
    [
        {"features": np.ones((4, 2), np.float32), "scores": np.ones(4, np.float32)},
        {"features": np.ones((4, 3), np.float64), "scores": np.ones(4, np.float32)},
        {"features": np.ones((4, 3), np.float32)},
        {"features": np.ones((0, 3), np.float32), "scores": np.ones(0, np.float32)},
    ],
)
def test_golden_rows_of_another_shape_are_refused(desk: Any, arrays: dict[str, Any]) -> None:
    with pytest.raises(ModelRefused, match=r"golden.npz: expected"):
        desk.build(files={"golden.npz": to_npz(arrays)})


def test_a_build_killed_at_any_moment_shows_no_half_release(desk: Any) -> None:
    """A child builds releases one after another until it is killed: every directory with a digest's name is whole."""
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from promotion.home import Home
        from promotion.identity import KeyStore
        from promotion.release.build import build_release
        from tests.desks import make_parts
        home = Home(Path(sys.argv[1]))
        keys = KeyStore(home.keys)
        number = 0
        while True:
            number += 1
            parts = make_parts(commit=f"c{number}")
            print(build_release(home, parts, author=keys.signer("alice"), validator=keys.signer("bob")), flush=True)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(desk.home.root)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as builder:
        assert builder.stdout is not None
        acknowledged = {builder.stdout.readline().strip() for _ in range(8)}
        os.kill(builder.pid, signal.SIGKILL)
    named = {path.name for path in desk.home.releases.iterdir() if not path.name.startswith(".")}
    assert acknowledged <= named
    for digest in named:
        assert read_release(desk.home.releases / digest, digest).digest == digest


def test_arrays_come_back_bit_for_bit_and_read_only() -> None:
    arrays = {
        "a": np.array([1.5, np.nan, -0.0]),
        "b": np.arange(6, dtype=np.int64).reshape(2, 3).T,
        "c": np.array(["x", "yy"]),
        "d": np.array(3.0),
    }
    found = from_npz(to_npz(arrays))
    assert sorted(found) == sorted(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == np.ascontiguousarray(array).tobytes()
    with pytest.raises(ValueError, match="read-only"):
        found["a"][0] = 1


def test_the_bytes_of_arrays_do_not_depend_on_their_order_or_layout() -> None:
    block = np.arange(12.0).reshape(3, 4)
    assert to_npz({"a": block, "b": block}) == to_npz({"b": block.copy(), "a": np.asfortranarray(block)})


def test_objects_are_never_written_or_read() -> None:
    with pytest.raises(FileUnexpected, match="expected an array of numbers or text"):
        to_npz({"a": np.array([object()])})


def test_a_pickled_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", a=np.array([{"a": 1}], dtype=object))
    with pytest.raises(FileUnexpected, match="evil"):
        from_npz((tmp_path / "evil.npz").read_bytes(), path="evil.npz")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(1_000_000))
    with pytest.raises(FileUnexpected, match=r"expected uncompressed .npy members"):
        from_npz((tmp_path / "bomb.npz").read_bytes(), path="bomb.npz")


def test_a_header_that_promises_more_than_there_is_is_refused() -> None:
    good = to_npz({"a": np.zeros(3)})
    bomb = good.replace(b"(3,), }          ", b"(9999999999999,), }"[:19].ljust(17))
    claimed = good.replace(b"'shape': (3,)", b"'shape': (7,)")
    for data in (claimed, bomb):
        with pytest.raises(FileUnexpected, match=r"^x.npz: expected an \.npz of plain arrays"):
            from_npz(data, path="x.npz")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_bytes_do_worse_than_being_refused(data: st.DataObject) -> None:
    archive = bytearray(to_npz({"a": np.arange(3.0), "b": np.array(["x"])}))
    for _ in range(data.draw(st.integers(1, 4))):
        archive[data.draw(st.integers(0, len(archive) - 1))] = data.draw(st.integers(0, 255))
    try:
        from_npz(bytes(archive[: data.draw(st.integers(1, len(archive)))]), path="x.npz")
    except FileUnexpected as error:
        assert str(error).startswith("x.npz: expected")  # noqa: PT017 - a mutation may also leave good arrays
