"""Frames as bytes (RFC 9113, sections 4 and 6)."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

from serving.transport.http2.errors import ErrorCode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
LEAST_MAX_FRAME_BYTES = 16_384  # SETTINGS_MAX_FRAME_SIZE as it begins, and the least it may be
MOST_MAX_FRAME_BYTES = 2**24 - 1
MAX_WINDOW = 2**31 - 1
FIRST_WINDOW = 65_535

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = 0x1
ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20

HEAD = Struct(">IBI")  # length << 8 | type, flags, stream
WORD = Struct(">I")
_SETTING = Struct(">HI")
_GOAWAY = Struct(">II")


class Setting(IntEnum):
    """RFC 9113, section 6.5.2."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream_id) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(key, value) for key, value in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """The settings of a SETTINGS frame whose length is a multiple of 6, in their order."""
    return [_SETTING.unpack_from(payload, at) for at in range(0, len(payload), _SETTING.size)]


def window_update(stream_id: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream_id, WORD.pack(increment))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """An RST_STREAM frame."""
    return frame(RST_STREAM, 0, stream_id, WORD.pack(code))


def goaway(last_stream_id: int, code: ErrorCode, why: str = "") -> bytes:
    """A GOAWAY frame; `why` goes along as its debug data."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last_stream_id, code) + why.encode()[:256])


def header_block(stream_id: int, block: bytes, *, end_stream: bool, max_frame_bytes: int) -> bytes:
    """A HEADERS frame, and CONTINUATION frames where the block does not fit into one."""
    last = END_STREAM if end_stream else 0
    if len(block) <= max_frame_bytes:
        return frame(HEADERS, last | END_HEADERS, stream_id, block)
    parts = [block[at : at + max_frame_bytes] for at in range(0, len(block), max_frame_bytes)]
    first = frame(HEADERS, last, stream_id, parts[0])
    middle = [frame(CONTINUATION, 0, stream_id, part) for part in parts[1:-1]]
    return b"".join((first, *middle, frame(CONTINUATION, END_HEADERS, stream_id, parts[-1])))
