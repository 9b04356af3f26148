"""What both transports promise over a table of methods: what handlers see of a call, and what callers see of them."""

from __future__ import annotations

import asyncio
import datetime
import json
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving import errors
from serving.runtime.engine import NO_DEADLINE_NS
from serving.transport.call import Call
from serving.transport.grpcio import grpcio_transport
from serving.transport.http2.limits import Limits
from serving.transport.listen import Tls
from serving.transport.methods import Streaming, Unary
from serving.transport.native import native_transport

TRANSPORTS = {"native": native_transport, "grpcio": grpcio_transport}


class Service:
    """Methods that do as a test tells them. held: the calls that wait. came: set when one does."""

    def __init__(self) -> None:
        self.held: list[Call] = []
        self.came = asyncio.Event()
        self.closed = asyncio.Event()
        self.over = asyncio.Event()
        self.methods = {
            "/t.T/Echo": Unary(lambda call, body: call.answer(body)),
            "/t.T/Hold": Unary(self.hold),
            "/t.T/Refuse": Unary(lambda call, body: call.refuse(errors.Overloaded("come back later"))),
            "/t.T/Raise": Unary(self.refused),
            "/t.T/Break": Unary(lambda call, body: call.answer(bytes(1 // 0))),
            "/t.T/Metadata": Unary(lambda call, body: call.answer(json.dumps(call.metadata()).encode())),
            "/t.T/Count": Streaming(self.count),
            "/t.T/Endless": Streaming(self.endless),
        }

    def hold(self, call: Call, _body: bytes) -> None:
        self.held.append(call)
        self.came.set()

    def refused(self, _call: Call, _body: bytes) -> None:
        raise errors.UnknownSignal("no such signal")

    async def count(self, body: bytes) -> AsyncGenerator[bytes, None]:
        for number in range(int(body)):
            yield b"%d" % number
        raise errors.ModelFailed("no more")

    async def endless(self, body: bytes) -> AsyncGenerator[bytes, None]:
        try:
            yield body
            await self.over.wait()
        finally:
            self.closed.set()


@pytest.fixture
async def service() -> Service:
    return Service()


@pytest.fixture(params=TRANSPORTS)
def open_transport(request: pytest.FixtureRequest) -> Any:
    return TRANSPORTS[request.param]


@pytest.fixture
def connected(open_transport: Any) -> Any:
    @asynccontextmanager
    async def connect(service: Service, listen: str = "127.0.0.1:0", **more: Any) -> AsyncIterator[Any]:
        async with (
            open_transport(service.methods, listen=listen, **more) as transport,
            grpc.aio.insecure_channel(transport.address) as channel,
        ):
            yield transport, channel

    return connect


@pytest.fixture
async def peers(service: Service, connected: Any) -> AsyncIterator[Any]:
    async with connected(service) as both:
        yield both


def call(channel: grpc.aio.Channel, name: str, body: bytes = b"", **more: Any) -> Any:
    return channel.unary_unary(f"/t.T/{name}")(body, **more)


async def refusal(awaitable: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await awaitable
    return refused.value


async def test_replies_go_to_their_own_calls(peers: Any) -> None:
    _, channel = peers
    bodies = [b"%d" % number for number in range(100)]
    assert await asyncio.gather(*(call(channel, "Echo", body) for body in bodies)) == bodies


@pytest.mark.parametrize(
    ("name", "code", "details", "retry"),
    [
        ("Refuse", grpc.StatusCode.RESOURCE_EXHAUSTED, "come back later", "1"),
        ("Raise", grpc.StatusCode.NOT_FOUND, "no such signal", "0"),
        ("Break", grpc.StatusCode.INTERNAL, "the scorer failed; its log says why", "0"),
        ("Nothing", grpc.StatusCode.UNIMPLEMENTED, "served here, found '/t.T/Nothing'", "0"),
    ],
)
async def test_an_error_leaves_by_the_one_table(
    peers: Any, name: str, code: grpc.StatusCode, details: str, retry: str
) -> None:
    transport, channel = peers
    error = await refusal(call(channel, name))
    assert (error.code(), dict(error.trailing_metadata())["signalbox-retry"]) == (code, retry)
    assert error.details().endswith(details)
    assert await call(channel, "Echo", b"on it goes") == b"on it goes"
    assert transport.calls == 0


async def test_metadata_comes_in_lower_case_and_binary_values_as_base64(peers: Any) -> None:
    _, channel = peers
    sent = (("trace-id", "1"), ("trace-bin", b"\x00\xff\x10\x83"), ("trace-id", "2"))
    found = json.loads(await call(channel, "Metadata", metadata=sent))
    ours = sorted(pair for pair in found if pair[0].startswith("trace"))
    assert ours == [["trace-bin", "AP8Qgw"], ["trace-id", "1"], ["trace-id", "2"]]


async def test_a_call_without_a_deadline_has_none(peers: Any, service: Service) -> None:
    _, channel = peers
    waiting = call(channel, "Hold")
    await service.came.wait()
    (held,) = service.held
    assert (held.deadline_ns, held.cancelled) == (NO_DEADLINE_NS, False)
    held.answer(b"done")
    assert await waiting == b"done"


async def test_a_deadline_is_an_instant_and_passes(peers: Any, service: Service) -> None:
    transport, channel = peers
    await channel.channel_ready()
    error = await refusal(call(channel, "Hold", timeout=0.5))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    (held,) = service.held
    assert 0 < held.deadline_ns - held.began_ns < 600_000_000  # grpcio sends timeouts rounded up
    await transport.drain(10, lambda: None)  # until the call is over here as well
    assert held.cancelled
    held.answer(b"too late")


async def test_a_caller_that_goes_away_is_known(peers: Any, service: Service) -> None:
    transport, channel = peers
    waiting = call(channel, "Hold")
    await service.came.wait()
    waiting.cancel()
    await transport.drain(10, lambda: None)
    (held,) = service.held
    assert held.cancelled
    held.refuse(errors.CallCancelled("nobody hears this"))


async def test_a_stream_gives_its_messages_and_then_its_error(peers: Any) -> None:
    transport, channel = peers
    stream = channel.unary_stream("/t.T/Count")(b"3")
    assert [await stream.read() for _ in range(3)] == [b"0", b"1", b"2"]
    error = await refusal(stream.read())
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "no more")
    await transport.drain(10, lambda: None)  # until the call is over here as well
    assert transport.calls == 0


async def test_a_stream_is_closed_when_its_caller_goes_away(peers: Any, service: Service) -> None:
    _, channel = peers
    stream = channel.unary_stream("/t.T/Endless")(b"first")
    assert await stream.read() == b"first"
    stream.cancel()
    await service.closed.wait()


async def test_a_drain_answers_what_was_taken_and_ends_streams(peers: Any, service: Service) -> None:
    transport, channel = peers
    stream = channel.unary_stream("/t.T/Endless")(b"first")
    assert await stream.read() == b"first"
    waiting = call(channel, "Hold")
    await service.came.wait()
    draining = asyncio.ensure_future(transport.drain(10, service.over.set))
    assert await stream.read() is grpc.aio.EOF
    error = await refusal(call(channel, "Echo"))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert not draining.done()
    service.held[0].answer(b"answered")
    assert await waiting == b"answered"
    await draining


async def test_what_is_unanswered_after_the_grace_is_cut_off(peers: Any, service: Service) -> None:
    transport, channel = peers
    waiting = call(channel, "Hold")
    await service.came.wait()
    await transport.drain(0.01, lambda: None)
    assert (await refusal(waiting)).code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert service.held[0].cancelled


async def test_an_idle_server_drains_at_once(peers: Any) -> None:
    transport, _ = peers
    await asyncio.wait_for(transport.drain(60, lambda: None), 10)


async def test_a_message_beyond_the_limit_is_refused(service: Service, connected: Any) -> None:
    async with connected(service, limits=Limits(message_bytes=1000)) as (_, channel):
        assert len(await call(channel, "Echo", bytes(1000))) == 1000
        assert (await refusal(call(channel, "Echo", bytes(1001)))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def make_certificate(folder: Path) -> Tls:
    """A certificate for localhost that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    tls = Tls(certificate=folder / "certificate.pem", key=folder / "key.pem")
    tls.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    tls.key.touch(mode=0o600)
    form = serialization.PrivateFormat.PKCS8
    tls.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return tls


@pytest.mark.parametrize("mutual", [False, True])
async def test_tls_lets_in_whom_it_should(service: Service, open_transport: Any, tmp_path: Path, mutual: bool) -> None:
    tls = make_certificate(tmp_path)
    served = Tls(certificate=tls.certificate, key=tls.key, client_ca=tls.certificate if mutual else None)
    certificate, key = tls.certificate.read_bytes(), tls.key.read_bytes()
    known = grpc.ssl_channel_credentials(certificate, key, certificate)
    unknown = grpc.ssl_channel_credentials(certificate)
    async with open_transport(service.methods, listen="localhost:0", tls=served) as transport:
        address = transport.address.replace("127.0.0.1", "localhost")  # whom the certificate names
        async with grpc.aio.secure_channel(address, known) as channel:
            assert await call(channel, "Echo", b"in secret") == b"in secret"
        async with grpc.aio.secure_channel(address, unknown) as channel:
            if mutual:
                assert (await refusal(call(channel, "Echo"))).code() is grpc.StatusCode.UNAVAILABLE
            else:
                assert await call(channel, "Echo", b"in secret") == b"in secret"


async def test_an_address_that_is_taken_is_refused(service: Service, connected: Any, tmp_path: Path) -> None:
    async with connected(service) as (transport, _):
        with pytest.raises(errors.ListenRefused, match="expected a free address"):
            await connected(service, transport.address).__aenter__()
    listen = f"unix:{tmp_path}/socket"
    async with connected(service, listen) as (transport, channel):
        with pytest.raises(errors.ListenRefused, match="expected a free address"):
            await connected(service, listen).__aenter__()
        assert transport.address == listen
        assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600
        assert await call(channel, "Echo", b"still there") == b"still there"
