"""Where a Redis is: URLs that can be used, those that cannot, and passwords that show nowhere."""

from __future__ import annotations

import pytest

from features.errors import FeedAddressError
from features.redis_server import RedisAddress, RedisServer, parse_url


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host", RedisAddress(host="host")),
        ("redis://host:7000/3", RedisAddress(host="host", port=7000, database=3)),
        ("rediss://[::1]:7000/", RedisAddress(host="::1", port=7000, tls=True)),
        ("unix:///run/redis/redis.sock", RedisAddress(path="/run/redis/redis.sock")),
        ("unix:///run/a%20b.sock", RedisAddress(path="/run/a b.sock")),
    ],
)
def test_what_a_url_says(url: str, address: RedisAddress) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:6379",
        "http://host",
        "redis://",
        "redis://host:99999",
        "redis://host/x",
        "redis://host/²",
        "redis://host?db=1",
        "rediss://host#x",
        "redis://[::1",
        "unix://",
        "unix:///",
        "unix://relative.sock",
    ],
)
def test_a_url_that_cannot_be_used_is_shown_with_what_was_expected(url: str) -> None:
    with pytest.raises(FeedAddressError, match=r"expected .*unix:///PATH.*found ") as refused:
        parse_url(url)
    assert repr(url) in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:s3cret@host",
        "redis://:s3cret@host",
        "redis://s3cret@host",
        "unix://:s3cret@/run/redis.sock",
        "redis://user:s3cret/x@host",
        "redis://user:1?s3cret@host",
        "redis://user:s3cret#@host",
    ],
)
def test_a_url_with_a_password_is_refused_without_a_word_of_it(url: str) -> None:
    with pytest.raises(FeedAddressError, match="no user and no password") as refused:
        parse_url(url)
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_servers_password_does_not_show() -> None:
    assert "s3cret" not in repr(RedisServer("redis://host", user="reader", password="s3cret"))
