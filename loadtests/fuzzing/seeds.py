"""Where fuzzed inputs begin: what real clients and servers say to each other, recorded on its way.

grpcio's client, tritonclient where it is installed, and curl, nghttp and h2load where they are, talk to the real
handlers on our transport, through a relay that keeps the bytes of both directions.
"""

from __future__ import annotations

import asyncio
import gzip
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import hpack
import numpy as np

from features.row import MAC_BYTES, FeatureRow, encode_row
from loadtests.fuzzing.bodies import INFER, KEY, SCORE, SET_ID, Handlers
from loadtests.fuzzing.connections import GREETED
from promotion.record import RingWriter
from protos.inference import open_inference_pb2 as oip
from protos.signalbox.v1 import scorer_pb2
from serving.transport.http2 import frames
from serving.transport.native import native_transport

_MOST_BYTES = 3000  # of a seed: what is longer is cut
_COMMANDS = {
    "curl": ("--silent", "--max-time", "10", "--http2-prior-knowledge"),
    "nghttp": ("--timeout=10", "--no-verify-peer"),
    "h2load": ("--requests=20", "--max-concurrent-streams=4"),
}


@dataclass
class Traffic:
    """What was recorded: by connection, what the client said and what the server said."""

    asked: list[bytes] = field(default_factory=list)
    answered: list[bytes] = field(default_factory=list)


def questions() -> list[tuple[str, bytes]]:
    """Calls of every sort: path and message."""
    rows = np.array([[1, 2], [3, 4]], "<f4")
    score = scorer_pb2.ScoreRequest
    asked = [
        (SCORE, score(signal="large_caps", features=rows.tobytes())),
        (SCORE, score(signal="large_caps", features=rows.tobytes(), instruments=["AAA", "BBB"])),
        (SCORE, score(signal="large_caps", instruments=["AAA", "CCC", "XXX"], max_feature_age_ms=1000)),
        (SCORE, score(signal="large_caps")),
        (SCORE, score(signal="large_caps", features=rows.tobytes(), release="22" * 32)),
        (SCORE, score(signal="small_caps", features=rows.tobytes()[:-1])),
        (SCORE, score(signal="large_caps", features=np.array([np.nan, np.inf], "<f4").tobytes())),
        (INFER, _infer(rows)),
        (INFER, _infer(rows, id="a", model_version="7")),
        (INFER, _infer(rows, raw=False)),
        (INFER, _infer(rows[:, :1])),
        ("/signalbox.v1.Scorer/Describe", scorer_pb2.DescribeRequest(signal="large_caps")),
        ("/grpc.health.v1.Health/Check", scorer_pb2.DescribeRequest(signal="large_caps")),
        ("/inference.GRPCInferenceService/ModelMetadata", oip.ModelMetadataRequest(name="large_caps")),
    ]
    return [(path, bytes(message.SerializeToString())) for path, message in asked]


def _infer(rows: np.ndarray, *, raw: bool = True, **more: str) -> oip.ModelInferRequest:
    asked = oip.ModelInferRequest(model_name="large_caps", **more)
    given = asked.inputs.add(name="features", datatype="FP32", shape=rows.shape)
    if raw:
        asked.raw_input_contents.append(rows.tobytes())
    else:
        given.contents.fp32_contents.extend(rows.ravel().tolist())
    asked.outputs.add(name="variable")
    asked.parameters["timeout"].int64_param = 10**6
    return asked


async def recorded() -> Traffic:
    """Has every client talk to the handlers, and keeps what was said."""
    handlers = Handlers(remember=True)
    handlers.turn_to("live")
    traffic = Traffic()
    async with native_transport(handlers.methods, listen="127.0.0.1:0") as transport:
        relay = await asyncio.start_server(lambda r, w: _relay(r, w, transport.address, traffic), "127.0.0.1", 0)
        port = relay.sockets[0].getsockname()[1]
        async with relay:
            for _ in range(2):
                await _grpcio(f"127.0.0.1:{port}")
            await _commands(f"http://127.0.0.1:{port}")
    return traffic


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str, traffic: Traffic) -> None:
    host, _, port = address.rpartition(":")
    far_reader, far_writer = await asyncio.open_connection(host, int(port))
    at = len(traffic.asked)
    traffic.asked.append(b"")
    traffic.answered.append(b"")
    await asyncio.gather(
        _pass_on(reader, far_writer, traffic.asked, at), _pass_on(far_reader, writer, traffic.answered, at)
    )


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: list[bytes], at: int) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            kept[at] += data
            writer.write(data)
            await writer.drain()
    writer.close()


async def _grpcio(address: str) -> None:
    async with grpc.aio.insecure_channel(address, compression=grpc.Compression.NoCompression) as channel:
        for path, body in [*questions(), ("/signalbox.v1.Scorer/Nothing", b"")]:
            call = channel.unary_unary(path)(body, timeout=20, metadata=(("x-desk", "a"), ("trace-bin", b"\0\xff")))
            await call.code()
        zipped = channel.unary_unary(SCORE)(bytes(2000), timeout=20, compression=grpc.Compression.Gzip)
        await zipped.code()
        await asyncio.gather(*(channel.unary_unary(SCORE)(body).code() for _, body in questions()[:4]))
        stream = channel.unary_stream("/signalbox.v1.Scorer/Subscribe")(b"\n\x0alarge_caps")
        await stream.read()
        stream.cancel()


async def _commands(url: str) -> None:
    """curl, nghttp and h2load, where they are installed."""
    with tempfile.TemporaryDirectory() as folder:
        body = await asyncio.to_thread(_write_body, Path(folder))
        fields = ("-H", "content-type: application/grpc", "-H", "te: trailers")
        for command, options in _COMMANDS.items():
            if shutil.which(command):
                data = f"--data-binary=@{body}" if command == "curl" else f"--data={body}"
                given = ("--data-binary", f"@{body}") if command == "curl" else (data,)
                await _run(command, *options, *fields, *given, url + SCORE)
                await _run(command, *options, url)


def _write_body(folder: Path) -> Path:
    body = folder / "body"
    body.write_bytes(_content(questions()[0][1]))
    return body


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    await process.wait()


def corpora() -> dict[str, list[bytes]]:
    """By target: its seeds."""
    traffic = asyncio.run(recorded())
    bodies = [body for _, body in questions()]
    contents = [_content(body) for body in bodies]
    zipped = [b"\1" + _content(gzip.compress(body, mtime=0), flag=1) for body in bodies]
    zipped += [b"\2" + gzip.compress(body, mtime=0) for body in bodies]
    return {
        "server": _cut(
            [
                *(bytes((at % 8,)) + said for at, said in enumerate(traffic.asked)),
                *(bytes((GREETED,)) + _behind_greeting(said) for said in traffic.asked),
            ]
        ),
        "client": _cut(bytes((at % 8,)) + said for at, said in enumerate(traffic.answered)),
        "hpack": _cut(_blocks(said) for said in (*traffic.asked, *traffic.answered)),
        "message": _cut([*(b"\0" + content for content in contents), *zipped, *(b"\4" + head for head in _HEADS)]),
        "row": _cut([*(bytes((at % 2,)) + row for at, row in enumerate(_rows())), b"\1" + _infinite(_rows()[-1])]),
        "score": _cut(bytes((0xF8 | at % 4,)) + body for at, body in enumerate(bodies[:7] * 4)),
        "infer": _cut(bytes((0xF8 | at % 4,)) + body for at, body in enumerate(bodies[7:11] * 4)),
        "ring": [_ring()],
    }


_HEADS = (
    b":method=POST\n:scheme=http\n:path=/signalbox.v1.Scorer/Score\nte=trailers\ncontent-type=application/grpc",
    b":method=POST\n:scheme=http\n:path=/x\ncontent-type=application/grpc+proto\ngrpc-encoding=gzip\ngrpc-timeout=5S",
    b":method=GET\n:scheme=http\n:path=/\ncontent-length=5",
    b"5S\n:method=CONNECT\n:authority=a:443",
)


def _content(message: bytes, *, flag: int = 0) -> bytes:
    return bytes((flag,)) + len(message).to_bytes(4, "big") + message


def _cut(seeds: Iterable[bytes]) -> list[bytes]:
    return list(dict.fromkeys(seed[:_MOST_BYTES] for seed in seeds if seed))


def _behind_greeting(wire: bytes) -> bytes:
    """What a client says behind its preface and first SETTINGS: the target greets with others, of small windows."""
    at = len(frames.PREFACE)
    return wire[at + frames.HEAD_BYTES + (frames.HEAD.unpack_from(wire, at)[0] >> 8) :]


def _infinite(row: bytes) -> bytes:
    """`row` with an infinity for its last value: its MAC is made again by the target."""
    at = len(row) - MAC_BYTES
    return row[: at - 4] + np.array(np.inf, "<f4").tobytes() + row[at:]


def _blocks(wire: bytes) -> bytes:
    """The header blocks of one direction of a connection, as the target of header blocks reads them."""
    found, at = [], len(frames.PREFACE) if wire.startswith(frames.PREFACE) else 0
    while at + frames.HEAD_BYTES <= len(wire):
        word, flags, _ = frames.HEAD.unpack_from(wire, at)
        block = wire[at + frames.HEAD_BYTES : at + frames.HEAD_BYTES + (word >> 8)]
        if word & 0xFF == frames.HEADERS:
            block = block[5:] if flags & frames.WITH_PRIORITY else block
            found.append(bytes((min(len(block), 255),)) + block[:255])
        at += frames.HEAD_BYTES + (word >> 8)
    encoder = hpack.Encoder()  # one that moves its table with every block, as few clients do
    for number in range(4):
        block = encoder.encode([(b":path", b"/%d" % number), (b"x-trace", b"%020d" % number)])
        found.append(bytes((len(block),)) + block)
    return b"".join(found)


def _rows() -> list[bytes]:
    values = [np.array([], np.float32), np.array([1, np.nan], np.float32), np.arange(20, dtype=np.float32)]
    rows = [
        FeatureRow(SET_ID, name, 1, 2, 3, 4, each) for name, each in zip(("AAA", "é", "x" * 40), values, strict=True)
    ]
    return [encode_row(row, key_id=1, key=KEY) for row in rows for _ in range(2)]


def _ring() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ring"
        with RingWriter(path, feature_set_id=SET_ID.hex(), columns=["x"], instruments=["A"], capacity=3) as ring:
            release = ring.release_index("11" * 32)
            for at in range(5):
                ring.write_inline(at, release, np.ones(1, np.float32), np.ones((1, 1), np.float32))
        return path.read_bytes()
