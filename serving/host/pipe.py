"""What supervisor and worker say to each other, over a socket pair: length-prefixed MessagePack, checked both ways.

The supervisor speaks in `Order`s, each with a number, and the worker answers each with one `Ack` of that number, when
it has carried it out. `Setup` is number 0; `Ready` answers it. Each side learns of the other's death by the end of the
stream.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from promotion.config import Environment, Redis
from promotion.identity import Principal
from promotion.ledger.state import SignalState
from serving.errors import PipeBroken
from serving.feature_table import Refusal
from serving.handlers.routes import Posture
from serving.host.hosting import TransportName
from serving.statistics import WorkerStatistics
from serving.transport.http2.limits import Limits
from serving.transport.listen import Tls

_HEAD = struct.Struct("<IQ")  # bytes that follow, number of the order
MAX_FRAME_BYTES = 256 * 2**20
T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Anything that crosses the pipe."""


class Setup(Message, frozen=True, kw_only=True):
    """The first order: what the worker is.

    address: HOST:PORT or unix:PATH. listener: descriptor of the socket that listens there, inherited from the
    supervisor; None where the transport binds the address itself. universes: signal → its instruments, from the
    configuration. redis: whose streams it reads, None where rows come by Push alone. limits: its transport's.
    core: the only one it runs on, None for any. scratch: its models are of no release.
    """

    worker: int
    root: str
    environment: Environment
    address: str
    listener: int | None = None
    transport: TransportName
    tls: Tls | None = None
    universes: dict[str, tuple[str, ...]]
    redis: Redis | None = None
    limits: Limits = Limits()
    core: int | None = None
    busy_poll: bool = False
    scratch: bool = False
    grace_seconds: float


class Served(Message, frozen=True, kw_only=True):
    """What a signal is to be: the ledger's state of it, or a halt that overrides it.

    proving: it is halted because its first release is still being proven.
    """

    signal: str
    generation: int
    posture: Posture
    weight: float
    live: str | None = None
    previous: str | None = None
    shadow: tuple[str, ...] = ()
    reason: str = ""
    proving: bool = False


class PublicPrincipal(Message, frozen=True, kw_only=True):
    """A principal's public half, as release signatures are checked with."""

    name: str
    public_key: str
    held: tuple[str, ...]


class Assign(Message, frozen=True, kw_only=True):
    """Serve exactly this from now on."""

    signals: tuple[Served, ...]
    principals: tuple[PublicPrincipal, ...] = ()


class Push(Message, frozen=True, kw_only=True):
    """Take these feature rows."""

    rows: tuple[bytes, ...]


class Open(Message, frozen=True, kw_only=True):
    """Take calls from now on: what was ordered before is in place."""


class Ask(Message, frozen=True, kw_only=True):
    """Say what you have done so far."""


class Drain(Message, frozen=True, kw_only=True):
    """Finish what was accepted, then exit."""


Order = Setup | Assign | Push | Open | Ask | Drain


class Ready(Message, frozen=True, kw_only=True):
    """The worker takes orders; error: why it does not."""

    error: str = ""


class Ack(Message, frozen=True, kw_only=True):
    """An order was carried out.

    failures: after Assign, signal → why it is not served as ordered (it is halted instead). refused: pushed rows not
    taken. error: why the worker does not listen, after Open.
    """

    failures: dict[str, str] | None = None
    error: str = ""
    accepted: int = 0
    refused: tuple[Refusal, ...] = ()
    statistics: WorkerStatistics | None = None


Reply = Ready | Ack


def _as_text(value: Any) -> str:
    """A Path travels as text."""
    if not isinstance(value, Path):
        raise NotImplementedError(f"expected a value that travels, found {type(value).__name__}")
    return str(value)


def _path(kind: type, value: str) -> Any:
    return kind(value)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_as_text)
_ORDERS: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order, dec_hook=_path)
_REPLIES: msgspec.msgpack.Decoder[Reply] = msgspec.msgpack.Decoder(Reply)


class Pipe:
    """One end. Owned by whoever opened it, from `open_pipe` to `close`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, number: int, message: Message) -> None:
        """Writes `message`; it leaves with this turn of the loop. PipeBroken when the other side is gone."""
        if self._writer.is_closing():
            raise PipeBroken("expected the other process at the end of the pipe, found it gone")
        body = _ENCODER.encode(message)
        self._writer.write(_HEAD.pack(len(body), number) + body)

    async def order(self) -> tuple[int, Order]:
        """The next order and its number. PipeBroken at the end of the stream."""
        return await self._next(_ORDERS)

    async def reply(self) -> tuple[int, Reply]:
        """The next reply and its order's number. PipeBroken at the end of the stream."""
        return await self._next(_REPLIES)

    async def flush(self) -> None:
        """Waits until what was sent has left."""
        await self._writer.drain()

    def close(self) -> None:
        """Closes this end."""
        self._writer.close()

    async def _next(self, decoder: msgspec.msgpack.Decoder[T]) -> tuple[int, T]:
        try:
            length, number = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
            if length > MAX_FRAME_BYTES:
                raise PipeBroken(f"pipe: expected a frame of at most {MAX_FRAME_BYTES} bytes, found {length}")
            return number, decoder.decode(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise PipeBroken("expected the other process at the end of the pipe, found it gone") from error
        except msgspec.DecodeError as error:
            raise PipeBroken(f"pipe: expected a message of this build, found another: {error}") from error


async def open_pipe(socket: Any) -> Pipe:
    """The pipe over a connected Unix socket, which it owns from now on."""
    reader, writer = await asyncio.open_unix_connection(sock=socket, limit=2**20)
    return Pipe(reader, writer)


def public(principals: Mapping[str, Principal]) -> tuple[PublicPrincipal, ...]:
    """`principals` as they travel."""
    return tuple(
        PublicPrincipal(name=each.name, public_key=each.public_key, held=tuple(sorted(each.held)))
        for each in principals.values()
    )


def principals(travelled: tuple[PublicPrincipal, ...]) -> dict[str, Principal]:
    """The principals that travelled, by name."""
    return {each.name: Principal(each.name, each.public_key, (), frozenset(each.held)) for each in travelled}


def served(state: SignalState) -> Served:
    """What the ledger says of a signal, as an order."""
    return Served(
        signal=state.signal,
        generation=state.generation,
        posture=state.posture,
        weight=state.weight,
        live=state.live,
        previous=state.previous,
        shadow=state.shadow,
    )
