import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.blobs import BlobStore
from features.errors import BlobAlteredError, BlobError, BlobMissingError


def blob_path(store: BlobStore, digest: str) -> Path:
    return store.root / digest[:2] / digest


def overwrite(path: Path, data: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(data)


def test_what_is_put_comes_back_under_its_hash(store: BlobStore) -> None:
    digest = store.put(b"prices")
    assert digest == hashlib.sha256(b"prices").hexdigest()
    assert store.get(digest) == b"prices"
    assert store.has(digest)
    assert store.put(b"prices") == digest


def test_a_blob_is_read_only_and_leaves_no_temporary_file(store: BlobStore) -> None:
    path = blob_path(store, store.put(b"prices"))
    assert path.stat().st_mode & 0o777 == 0o444
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@settings(max_examples=30, deadline=None)
@given(data=st.binary(min_size=1, max_size=200), at=st.integers(0, 199), flip=st.integers(1, 255))
def test_any_altered_byte_is_found(tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, flip: int) -> None:
    store = BlobStore(tmp_path_factory.mktemp("blobs"))
    digest = store.put(data)
    altered = bytearray(data)
    altered[at % len(data)] ^= flip
    overwrite(blob_path(store, digest), bytes(altered))
    with pytest.raises(BlobAlteredError, match=digest):
        store.get(digest)


def test_a_truncated_blob_is_refused_and_putting_it_again_mends_it(store: BlobStore) -> None:
    digest = store.put(b"prices")
    overwrite(blob_path(store, digest), b"pri")
    with pytest.raises(BlobAlteredError, match="truncated or altered"):
        store.get(digest)
    store.put(b"prices")
    assert store.get(digest) == b"prices"


def test_a_missing_blob_says_where_it_was_looked_for(store: BlobStore) -> None:
    with pytest.raises(BlobMissingError, match=r"expected a file at .*00"):
        store.get("00" * 32)
    assert not store.has("00" * 32)


@pytest.mark.parametrize("name", ["", "abc", "../../etc/passwd", "A" * 64, "0" * 65])
def test_a_name_that_is_no_digest_reaches_no_file(store: BlobStore, name: str) -> None:
    with pytest.raises(BlobError, match="64 lower-case hex digits"):
        store.get(name)
    with pytest.raises(BlobError, match="64 lower-case hex digits"):
        store.point("00" * 32, name)


def test_pointers_lead_to_blobs(store: BlobStore) -> None:
    digest, name = store.put(b"prices"), "ab" * 32
    assert store.pointed(name) is None
    store.point(name, digest)
    assert store.pointed(name) == digest
    overwrite(store.root / "pointers" / "ab" / name, b"\xff")
    with pytest.raises(BlobAlteredError, match="pointer"):
        store.pointed(name)
