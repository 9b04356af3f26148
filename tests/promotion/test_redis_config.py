"""`[redis]` of `signalbox.toml`: what is refused, and passwords that stand in files of their own."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from features.redis_server import RedisServer
from promotion.config import ConfigError, Redis

PASSWORD = "s3cret words"


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "reader.password"
    path.write_text(PASSWORD + "\n")
    path.chmod(0o600)
    return path


def test_readers_and_writers_log_in_as_two_users(tmp_path: Path, password: Path) -> None:
    writer = tmp_path / "writer.password"
    writer.write_text("other")
    writer.chmod(0o600)
    redis = Redis(
        url="rediss://host",
        ca_file="ca.pem",
        user="reader",
        password_file=password.name,
        writer_user="writer",
        writer_password_file=writer.name,
    )
    ca_file = str(tmp_path / "ca.pem")
    assert redis.reader(tmp_path) == RedisServer("rediss://host", ca_file, "reader", PASSWORD)
    assert redis.writer(tmp_path) == RedisServer("rediss://host", ca_file, "writer", "other")


def test_without_a_writer_of_its_own_the_one_user_writes(tmp_path: Path, password: Path) -> None:
    redis = Redis(url="redis://host", user="both", password_file=str(password))
    assert redis.writer(tmp_path) == redis.reader(tmp_path)
    assert Redis(url="redis://host").reader(tmp_path) == RedisServer("redis://host")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "url"),
        ({"url": "host"}, "expected redis://HOST:PORT/DB"),
        ({"url": "redis://user:s3cret@host"}, "no user and no password"),
        ({"url": "redis://host", "password": "s3cret"}, "unknown field `password`"),
        ({"url": "redis://host", "ca_file": "ca.pem"}, "expected a rediss:// url beside ca_file"),
        ({"url": "redis://host", "user": "reader"}, "expected a password_file"),
        ({"url": "redis://host", "writer_user": "writer"}, "expected a writer_password_file"),
    ],
)
def test_what_is_no_redis_table(table: dict[str, str], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words) as refused:
        msgspec.convert(table, Redis)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (PASSWORD, 0o640, "expected mode 0600, found 0640"),
        ("", 0o600, "expected one line"),
        (f"{PASSWORD}\n{PASSWORD}", 0o600, "expected one line"),
        (None, 0o600, "none that can be read"),
    ],
)
def test_a_password_file_that_is_not_one(password: Path, content: str | None, mode: int, words: str) -> None:
    if content is None:
        password.unlink()
    else:
        password.write_text(content)
        password.chmod(mode)
    redis = Redis(url="redis://host", user="reader", password_file=str(password))
    with pytest.raises(ConfigError, match=words) as refused:
        redis.reader(password.parent)
    assert PASSWORD not in str(refused.value)
