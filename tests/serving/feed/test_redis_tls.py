"""Redis by TLS: the authority that is named is trusted, and no other; the certificate must name the host."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from features.errors import FeedAddressError, FeedUnreachableError
from features.redis_feed import AsyncRedisSender
from features.redis_server import RedisServer
from loadtests.harness.redis_process import RedisProcess, free_port, redis_process

if TYPE_CHECKING:
    from tests.serving.feed.conftest import Encoded, Open


@dataclass(frozen=True)
class Authority:
    """Whoever signs certificates. ca_file: its own."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    ca_file: Path


@dataclass(frozen=True)
class TlsRedis:
    process: RedisProcess
    port: int
    authority: Authority

    @property
    def url(self) -> str:
        return f"rediss://127.0.0.1:{self.port}"

    @property
    def ca_file(self) -> str:
        return str(self.authority.ca_file)


@pytest.fixture
def tls_redis(short_path: Path) -> Iterator[TlsRedis]:
    """A redis-server whose certificate, for 127.0.0.1, comes from an authority made here."""
    authority = make_authority(short_path / "ca.pem")
    issue(authority, short_path / "redis.pem", short_path / "redis.key")
    port = free_port()
    options = [
        f"tls-port {port}",
        f"tls-cert-file {short_path}/redis.pem",
        f"tls-key-file {short_path}/redis.key",
        f"tls-ca-cert-file {authority.ca_file}",
        "tls-auth-clients no",
    ]
    with redis_process(short_path, options) as process:
        yield TlsRedis(process, port, authority)


def make_authority(path: Path) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of this test")])
    builder = begin(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(key, certificate, path)


def issue(authority: Authority, certificate_path: Path, key_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        begin(name, authority.certificate.subject, key)
        .add_extension(names, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def begin(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
    )


async def test_rows_come_by_tls(tls_redis: TlsRedis, encoded: Encoded, feeding: Open) -> None:
    server = RedisServer(tls_redis.url, ca_file=tls_redis.ca_file)
    async with AsyncRedisSender(server) as sender:
        await sender.push([encoded("AAA", 1)])
        async with feeding(tls_redis.url, ca_file=tls_redis.ca_file, user="", password="") as here:
            assert here.sequences() == [1]
            await sender.push([encoded("AAA", 2)])
            said = await here.until_sequence(2)
            assert said.failures == {}


async def test_another_authority_is_not_believed(
    tls_redis: TlsRedis, tmp_path: Path, encoded: Encoded, feeding: Open
) -> None:
    other = make_authority(tmp_path / "other.pem")
    for ca_file in (str(other.ca_file), ""):  # "": the authorities that the system trusts
        async with AsyncRedisSender(RedisServer(tls_redis.url, ca_file=ca_file)) as sender:
            with pytest.raises(FeedUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
                await sender.push([encoded("AAA", 1)])
        async with feeding(tls_redis.url, ca_file=ca_file, user="", password="") as here:
            said = here.feed.statistics()
            assert (set(said.failures), said.connected) == ({"FeedUnreachableError"}, 0)


async def test_the_systems_authorities_are_not_believed_beside_the_named_one(
    tls_redis: TlsRedis, tmp_path: Path, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", tls_redis.ca_file)  # the system now trusts the server's authority
    other = make_authority(tmp_path / "other.pem")
    async with AsyncRedisSender(RedisServer(tls_redis.url)) as sender:
        assert (await sender.push([encoded("AAA", 1)])).accepted == 1
    async with AsyncRedisSender(RedisServer(tls_redis.url, ca_file=str(other.ca_file))) as sender:
        with pytest.raises(FeedUnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
            await sender.push([encoded("AAA", 2)])


async def test_a_certificate_must_name_the_host(tls_redis: TlsRedis, encoded: Encoded) -> None:
    server = RedisServer(f"rediss://localhost:{tls_redis.port}", ca_file=tls_redis.ca_file)
    async with AsyncRedisSender(server) as sender:
        with pytest.raises(FeedUnreachableError, match="localhost"):
            await sender.push([encoded("AAA", 1)])


async def test_a_plain_url_does_not_speak_to_a_tls_port(tls_redis: TlsRedis, encoded: Encoded) -> None:
    async with AsyncRedisSender(RedisServer(f"redis://127.0.0.1:{tls_redis.port}")) as sender:
        with pytest.raises(FeedUnreachableError):
            await sender.push([encoded("AAA", 1)])


async def test_a_ca_file_that_is_none(tls_redis: TlsRedis, tmp_path: Path, encoded: Encoded) -> None:
    garbage = tmp_path / "ca.pem"
    garbage.write_text("no certificate")
    for path in (garbage, tmp_path / "absent.pem"):
        async with AsyncRedisSender(RedisServer(tls_redis.url, ca_file=str(path))) as sender:
            with pytest.raises(FeedAddressError, match="expected a PEM file"):
                await sender.push([encoded("AAA", 1)])
