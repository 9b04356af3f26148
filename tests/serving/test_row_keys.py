"""The keys that rows are signed with."""

from __future__ import annotations

from pathlib import Path

import pytest

from promotion.home import Home
from serving.errors import KeyRingRefused
from serving.feed.row_keys import create_row_key, read_row_keys


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_keys_are_made_private_and_read_back(home: Home) -> None:
    assert read_row_keys(home) == {}
    keys = {1: create_row_key(home), 255: create_row_key(home, 255)}
    assert read_row_keys(home) == keys
    assert keys[1] != keys[255]
    assert (home.keys / "rows" / "1.key").stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_overwritten(home: Home) -> None:
    key = create_row_key(home)
    with pytest.raises(KeyRingRefused, match="found one"):
        create_row_key(home)
    assert read_row_keys(home) == {1: key}


@pytest.mark.parametrize("key_id", [-1, 256])
def test_an_id_is_one_byte(home: Home, key_id: int) -> None:
    with pytest.raises(KeyRingRefused, match="0 to 255"):
        create_row_key(home, key_id)


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [("00" * 32, 0o644, "mode 0600"), ("no hex", 0o600, "64 hex digits"), ("00" * 31, 0o600, "found 62")],
)
def test_a_damaged_or_open_key_is_refused(home: Home, text: str, mode: int, words: str) -> None:
    create_row_key(home)
    path = home.keys / "rows" / "1.key"
    path.write_text(text)
    path.chmod(mode)
    with pytest.raises(KeyRingRefused, match=words):
        read_row_keys(home)


def test_a_stray_file_is_refused(home: Home) -> None:
    create_row_key(home)
    (home.keys / "rows" / "old.key").write_text("00" * 32)
    with pytest.raises(KeyRingRefused, match=r"a name like 1\.key"):
        read_row_keys(home)
