"""TLS, mutual TLS and Unix sockets: who is let in, and what the others are told."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import shutil
import ssl
import stat
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from loadtests.clients import wire
from serving.errors import ListenRefused
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode
from serving.transport.listen import Tls

from .conftest import PATIENCE_SECONDS, HonestClient, SocketPeer

Serve = Callable[..., Any]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Identity:
    """A key and its certificate."""

    key: PrivateKey
    certificate: x509.Certificate

    def save(self, folder: Path, name: str) -> tuple[Path, Path]:
        """The PEM files (certificate, key)."""
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        paths[0].write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].touch(mode=0o600)
        form = serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
        return paths


@lru_cache
def authority(name: str) -> Identity:
    return _issue(name, ec.generate_private_key(ec.SECP256R1()), None)


@lru_cache
def issued(name: str, by: str, *, kind: str = "ec") -> Identity:
    key: PrivateKey = (
        ec.generate_private_key(ec.SECP256R1())
        if kind == "ec"
        else rsa.generate_private_key(public_exponent=65_537, key_size=2048)
    )
    return _issue(name, key, authority(by))


def _issue(name: str, key: PrivateKey, issuer: Identity | None) -> Identity:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    )
    return Identity(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


@pytest.fixture
def tls(tmp_path: Path) -> Callable[..., Tls]:
    """The files of a server: `tls(mutual=True)`."""

    def make(*, mutual: bool = False, kind: str = "ec") -> Tls:
        certificate, key = issued("server", "ours", kind=kind).save(tmp_path, f"server-{kind}")
        ca, _ = authority("ours").save(tmp_path, "authority")
        return Tls(certificate=certificate, key=key, client_ca=ca if mutual else None)

    return make


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., ssl.SSLContext]:
    """What a client trusts and shows: `context(alpn=("h2",), client="ours")`."""

    def make(
        *, alpn: tuple[str, ...] = ("h2",), client: str = "", version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    ) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.load_verify_locations(authority("ours").save(tmp_path, "trusted")[0])
        made.minimum_version = made.maximum_version = version
        if alpn:
            made.set_alpn_protocols(list(alpn))
        if client:
            made.load_cert_chain(*issued("client", client).save(tmp_path, f"client-{client}"))
        return made

    return make


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
async def test_calls_over_tls(serve: Serve, tls: Any, context: Any, version: ssl.TLSVersion) -> None:
    client = context(alpn=("http/1.1", "h2"), version=version)
    async with serve(tls=tls()) as transport, SocketPeer.to(transport.address, ssl=client) as peer:
        assert peer.ssl.selected_alpn_protocol() == "h2"
        assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]
        await peer.send(frames.window_update(0, 10**6) + wire.settings({frames.Setting.INITIAL_WINDOW_SIZE: 10**6}))
        assert (await peer.call("/t/Bytes", b"900000")).messages == [bytes(900_000)]


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
async def test_http_1_over_tls_gets_an_answer_that_it_can_read(serve: Serve, tls: Any, context: Any, alpn: Any) -> None:
    async with serve(tls=tls()) as transport:
        first = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
        async with SocketPeer.to(transport.address, ssl=context(alpn=alpn), first=first) as peer:
            await peer.read_all()
            assert peer.raw.startswith(b"HTTP/1.1 505 HTTP Version Not Supported\r\n")
        assert transport.statistics().refused == {"alpn": 1}


@pytest.mark.parametrize("alpn", [(), ("http/1.1",)])
async def test_http_2_without_alpn_is_refused(serve: Serve, tls: Any, context: Any, alpn: Any) -> None:
    """RFC 9113, section 3.2: HTTP/2 over TLS is negotiated by ALPN, or not spoken."""
    async with serve(tls=tls()) as transport:
        async with SocketPeer.to(transport.address, ssl=context(alpn=alpn)) as peer:
            await peer.send(peer.requests.call("/t/Echo", b"x"))
            await peer.read_all()
            assert peer.raw == b""
        assert transport.statistics().refused == {"alpn": 1}


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("client", ["", "theirs"], ids=["no certificate", "another authority's"])
async def test_mutual_tls_lets_nobody_else_in(
    serve: Serve, tls: Any, context: Any, version: ssl.TLSVersion, client: str
) -> None:
    async with serve(tls=tls(mutual=True)) as transport:
        ours = context(client="ours", version=version)
        async with SocketPeer.to(transport.address, ssl=ours) as peer:
            assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]
            assert not await _is_let_in(transport.address, context(client=client, version=version))
            assert (await peer.call("/t/Echo", b"y")).messages == [b"y"]
        assert transport.statistics().accepted == 1


async def _is_let_in(address: str, client: ssl.SSLContext) -> bool:
    """Whether a byte comes back. With TLS 1.3 a client is through with its part before the server has looked at it."""
    try:
        async with SocketPeer.to(address, ssl=client) as peer:
            await peer.send(peer.requests.call("/t/Echo", b"x"))
            return await peer.read()
    except (ssl.SSLError, ConnectionError):
        return False


async def test_plain_text_to_the_tls_port(serve: Serve, tls: Any, context: Any) -> None:
    async with serve(tls=tls()) as transport, SocketPeer.to(transport.address, ssl=context()) as honest:
        for first in (wire.PREFACE, b"GET / HTTP/1.1\r\n\r\n", bytes(range(200))):
            async with SocketPeer.to(transport.address, first=first) as peer:
                await peer.read_all()
                assert not peer.raw.startswith(b"HTTP/")
            assert (await honest.call("/t/Echo", b"x")).messages == [b"x"]


async def test_handshakes_that_are_never_done_are_closed(serve: Serve, tls: Any, context: Any) -> None:
    hello = ssl.MemoryBIO()
    half = context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        half.do_handshake()
    begun = hello.read()
    async with serve(tls=tls(), handshake_seconds=0.3) as transport, AsyncExitStack() as stack:
        honest = await stack.enter_async_context(SocketPeer.to(transport.address, ssl=context()))
        assert (await honest.call("/t/Echo", b"x")).messages == [b"x"]
        slow = [
            await stack.enter_async_context(SocketPeer.to(transport.address, first=first))
            for first in (b"", begun[:20], begun) * 20
        ]
        assert (await honest.call("/t/Echo", b"y")).messages == [b"y"]
        await asyncio.gather(*(peer.read_all() for peer in slow))
        assert (await honest.call("/t/Echo", b"z")).messages == [b"z"]
        assert transport.statistics().connections == 1


async def test_of_too_many_handshakes_the_oldest_goes(serve: Serve, tls: Any, context: Any) -> None:
    async with serve(tls=tls(), handshakes=10, handshake_seconds=60.0) as transport, AsyncExitStack() as stack:
        storm = (stack.enter_async_context(SocketPeer.to(transport.address, first=b"")) for _ in range(100))
        slow = await asyncio.gather(*storm)
        async with SocketPeer.to(transport.address, ssl=context()) as honest:
            assert (await honest.call("/t/Echo", b"x")).messages == [b"x"]
        reading = {asyncio.create_task(peer.read_all()) for peer in slow}
        async with asyncio.timeout(PATIENCE_SECONDS / 2):
            while len(reading) > 10:
                _, reading = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        for task in reading:
            task.cancel()


async def test_a_handshake_that_is_done_and_nothing_more(serve: Serve, tls: Any, context: Any) -> None:
    async with serve(tls=tls(), handshake_seconds=0.2) as transport:
        async with SocketPeer.to(transport.address, ssl=context(), first=b"") as silent:
            await silent.closed()
        assert transport.statistics().refused == {"handshake_seconds": 1}


# RFC 9113, section 9.2.


@pytest.mark.parametrize(
    ("cipher", "kind"),
    [
        ("ECDHE-RSA-AES128-GCM-SHA256", "rsa"),  # which every deployment over TLS 1.2 must have (9.2.2)
        ("ECDHE-ECDSA-AES256-GCM-SHA384", "ec"),
        ("ECDHE-ECDSA-CHACHA20-POLY1305", "ec"),
    ],
)
async def test_ciphers_of_tls_1_2_that_http_2_may_use(
    serve: Serve, tls: Any, context: Any, cipher: str, kind: str
) -> None:
    client = context(version=ssl.TLSVersion.TLSv1_2)
    client.set_ciphers(cipher)
    client.set_ecdh_curve("prime256v1")
    async with serve(tls=tls(kind=kind)) as transport, SocketPeer.to(transport.address, ssl=client) as peer:
        assert peer.ssl.cipher()[0] == cipher
        assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]


@pytest.mark.parametrize(
    "cipher", ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "AES128-SHA", "ECDHE-RSA-AES256-SHA"]
)
async def test_ciphers_that_http_2_may_not_use(serve: Serve, tls: Any, context: Any, cipher: str) -> None:
    """RFC 9113, appendix A: without forward secrecy, or without authentication of what is encrypted."""
    client = context(version=ssl.TLSVersion.TLSv1_2)
    client.set_ciphers(f"{cipher}:@SECLEVEL=0")
    async with serve(tls=tls(kind="rsa")) as transport:
        assert not await _is_let_in(transport.address, client)


async def test_tls_before_1_2_is_refused(serve: Serve, tls: Any, context: Any) -> None:
    client = context()
    client.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serve(tls=tls()) as transport:
        assert not await _is_let_in(transport.address, client)


def test_no_compression_and_no_renegotiation(tls: Any) -> None:
    options = tls().context().options
    assert options & ssl.OP_NO_COMPRESSION
    assert options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("wrong", ["no key", "key of another", "open key", "no authority"])
async def test_files_that_do_not_fit_are_refused_before_anything_listens(
    serve: Serve, tls: Any, tmp_path: Path, wrong: str
) -> None:
    files = tls(mutual=True)
    if wrong == "no key":
        files.key.unlink()
    elif wrong == "key of another":
        _, other = issued("client", "theirs").save(tmp_path, "other")
        files = Tls(certificate=files.certificate, key=other)
    elif wrong == "open key":
        files.key.chmod(0o644)
    else:
        files.client_ca.unlink()
    listen = f"unix:{tmp_path}/socket"
    with pytest.raises(ListenRefused, match="expected"):
        await serve(listen=listen, tls=files).__aenter__()
    assert not (tmp_path / "socket").exists()


# Without TLS.


async def test_http_1_gets_an_answer_that_it_can_read(serve: Serve) -> None:
    async with serve() as transport, HonestClient.to(transport.address) as honest:
        for method in ("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS"):
            status, text = await asyncio.to_thread(_ask_by_http_1, transport.address, method)
            assert (status, text) == (
                505,
                b"" if method == "HEAD" else b"this port speaks gRPC over HTTP/2: use a gRPC client\n",
            )
        await honest.more()
        assert transport.statistics().refused == {"protocol": 6}


def _ask_by_http_1(address: str, method: str) -> tuple[int, bytes]:
    connection = HTTPConnection(address, timeout=10)
    connection.request(method, "/")
    answer = connection.getresponse()
    try:
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
async def test_curl_understands_both(serve: Serve) -> None:
    async with serve() as transport:
        for options, status in ((["--http1.1"], "505"), (["--http2-prior-knowledge"], "404")):
            command = ["curl", "--silent", "--noproxy", "*", "--write-out", "%{http_code}", *options]
            done = await asyncio.to_thread(
                subprocess.run, [*command, f"http://{transport.address}/"], capture_output=True, text=True, timeout=20
            )
            assert done.returncode == 0
            assert done.stdout.endswith(status)
            assert "gRPC" in done.stdout


async def test_a_unix_socket_is_its_owner_s_and_goes_with_the_server(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    for _ in range(2):
        async with serve(listen=f"unix:{path}") as transport, HonestClient.to(transport.address) as honest:
            assert transport.address == f"unix:{path}"
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            await honest.more()
            with pytest.raises(ListenRefused, match="expected a free address"):
                await serve(listen=f"unix:{path}").__aenter__()
            await honest.more()
        assert not path.exists()


async def test_tls_over_a_unix_socket(serve: Serve, tls: Any, context: Any, tmp_path: Path) -> None:
    async with serve(listen=f"unix:{tmp_path}/socket", tls=tls(mutual=True)) as transport:
        more = {"ssl": context(client="ours"), "server_hostname": "127.0.0.1"}
        async with SocketPeer.to(transport.address, **more) as peer:
            assert (await peer.call("/t/Echo", b"x")).messages == [b"x"]


async def test_a_connection_that_is_refused_is_told_so_over_tls(serve: Serve, tls: Any, context: Any) -> None:
    async with serve(tls=tls(), connections=1) as transport, SocketPeer.to(transport.address, ssl=context()) as honest:
        assert (await honest.call("/t/Echo", b"x")).messages == [b"x"]
        async with SocketPeer.to(transport.address, ssl=context(), first=b"") as late:
            await late.closed()
            assert late.reading.goaway is None or late.reading.goaway[1] == ErrorCode.ENHANCE_YOUR_CALM
        assert (await honest.call("/t/Echo", b"y")).messages == [b"y"]
