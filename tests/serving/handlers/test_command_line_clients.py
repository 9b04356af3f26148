"""curl, nghttp and h2load, which know nothing of gRPC, against the handlers on both transports."""

from __future__ import annotations

import asyncio
import os
import re
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from protos.signalbox.v1 import scorer_pb2
from serving.transport.grpcio import grpcio_transport
from serving.transport.native import native_transport

TRANSPORTS = {"native": native_transport, "grpcio": grpcio_transport}
SCORE = "/signalbox.v1.Scorer/Score"
GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")


class Served(NamedTuple):
    """A world, the transport that serves it, and a file with the content of a `Score` request of two rows."""

    world: Any
    transport: Any
    body: Path

    def url(self, path: str = SCORE) -> str:
        return f"http://{self.transport.address}{path}"


@asynccontextmanager
async def serving(transport: Any, make_world: Any, folder: Path) -> AsyncIterator[Served]:
    world = make_world(time.monotonic_ns)
    body = folder / "body"
    body.write_bytes(content(signal="large_caps"))
    async with transport(world.methods, listen="127.0.0.1:0") as opened:
        yield Served(world, opened, body)


@pytest.fixture(params=TRANSPORTS)
async def served(request: pytest.FixtureRequest, make_world: Any, tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(TRANSPORTS[request.param], make_world, tmp_path) as served:
        yield served


@pytest.fixture
async def native(make_world: Any, tmp_path: Path) -> AsyncIterator[Served]:
    """Ours alone: what grpcio says instead stands in tests/serving/transport/differences.py."""
    async with serving(native_transport, make_world, tmp_path) as served:
        yield served


def content(signal: str) -> bytes:
    rows = np.array([[1, 2], [3, 4]], "<f4").tobytes()
    asked = scorer_pb2.ScoreRequest(signal=signal, features=rows).SerializeToString()
    return b"\0" + len(asked).to_bytes(4, "big") + bytes(asked)


def scores(reply: bytes) -> list[float]:
    """The scores in the content of an answer: one message."""
    assert (reply[0], int.from_bytes(reply[1:5], "big")) == (0, len(reply) - 5)
    return [float(each) for each in np.frombuffer(scorer_pb2.ScoreReply.FromString(reply[5:]).scores, "<f4")]


async def run(*command: str) -> tuple[bytes, str]:
    """What `command` says on stdout and stderr; it must end well."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, env={"PATH": os.defpath})
    try:
        said, complaints = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (process.returncode, said, complaints.decode())
    return said, complaints.decode()


async def curl(*arguments: str) -> tuple[bytes, str]:
    return await run("curl", "--silent", "--show-error", "--max-time", "30", *arguments)


async def test_curl_gets_a_score_and_its_trailers(served: Served, tmp_path: Path) -> None:
    fields = tmp_path / "fields"
    posted = ("--data-binary", f"@{served.body}", "--dump-header", str(fields))
    reply, _ = await curl("--http2-prior-knowledge", *GRPC, *posted, served.url())
    assert scores(reply) == [21, 43]
    said = fields.read_text().lower().splitlines()
    assert said[0].startswith("http/2 200")
    assert "content-type: application/grpc" in said
    assert "grpc-status: 0" in said[said.index("") :], "in the trailers"


async def test_curl_is_told_what_is_wrong(served: Served, tmp_path: Path) -> None:
    served.body.write_bytes(content(signal="small_caps"))
    asked = ("--data-binary", f"@{served.body}", "--include", served.url())
    said = (await curl("--http2-prior-knowledge", *GRPC, *asked))[0].decode()
    assert re.search(r"^grpc-status: 5\r$", said, re.MULTILINE), said
    assert "grpc-message: signal: expected one that is served here (large_caps), found 'small_caps'" in said


@pytest.mark.parametrize(
    ("arguments", "path", "status", "words"),
    [
        ((), "/", 404, "404: nothing is served at /; this port speaks gRPC\n"),
        (("-d", "{}"), "/v2/models", 404, "404: nothing is served at /v2/models; this port speaks gRPC\n"),
        ((), SCORE, 405, "405: expected POST; this port speaks gRPC\n"),
        (("-X", "PUT", "-d", "x"), SCORE, 405, "405: expected POST; this port speaks gRPC\n"),
        (
            ("-H", "content-type: application/json", "-d", "{}"),
            SCORE,
            415,
            "415: expected content-type application/grpc, found application/json\n",
        ),
    ],
)
async def test_curl_gets_an_answer_in_words(
    native: Served, arguments: tuple[str, ...], path: str, status: int, words: str
) -> None:
    written = ("--write-out", "%{http_code} %{http_version} %{content_type}")
    said, _ = await curl("--http2-prior-knowledge", *arguments, *written, native.url(path))
    assert said.decode() == f"{words}{status} 2 text/plain; charset=utf-8"


async def test_http_1_gets_an_answer_that_can_be_read(native: Served) -> None:
    said, _ = await curl("--http1.1", "--include", native.url("/metrics"))
    head, _, text = said.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 505 ")
    assert text == "this port speaks gRPC over HTTP/2: use a gRPC client\n"


async def test_nghttp_sees_every_frame(served: Served) -> None:
    """In its own words: SETTINGS, the head, the content, the trailers that end the stream, and no complaint."""
    posted = ("-H", ":method: POST", *GRPC, "--data", str(served.body), served.url())
    said, _ = await run("nghttp", "--verbose", "--timeout=30", *posted)
    lines = said.decode("utf-8", "replace")
    for expected in (
        r"recv SETTINGS frame <length=\d+, flags=0x00, stream_id=0>",
        r"recv SETTINGS frame <length=0, flags=0x01, stream_id=0>\s*; ACK",
        r"recv \(stream_id=13\) :status: 200",
        r"recv \(stream_id=13\) content-type: application/grpc",
        r"recv HEADERS frame <length=\d+, flags=0x04, stream_id=13>\s*; END_HEADERS",
        r"recv DATA frame <length=\d+, flags=0x00, stream_id=13>",
        r"recv \(stream_id=13\) grpc-status: 0",
        r"recv HEADERS frame <length=\d+, flags=0x05, stream_id=13>\s*; END_STREAM \| END_HEADERS",
    ):
        assert re.search(expected, lines), f"{expected} in {lines}"
    assert not re.search(r"recv (RST_STREAM|GOAWAY)|\[ERROR\]|\[INVALID", lines), lines


async def test_h2load_is_answered_each_time(served: Served) -> None:
    """And the server has counted the same."""
    load = ("--requests=3000", "--clients=5", "--max-concurrent-streams=16", f"--data={served.body}")
    said = (await run("h2load", *load, *GRPC, served.url()))[0].decode()
    assert "3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout" in said
    assert "status codes: 3000 2xx, 0 3xx, 0 4xx, 0 5xx" in said
    counts = served.world.scorer.counts
    assert counts.requests == 3000
    assert counts.rows == [6000, 0, 0, 0]
    assert not counts.errors
    assert served.transport.calls == 0
