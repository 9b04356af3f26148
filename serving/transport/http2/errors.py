"""How an HTTP/2 connection or stream ends because of what its peer sent (RFC 9113, sections 5.4 and 7).

Http2Fault
├── ConnectionFault   the peer broke the protocol: GOAWAY with this code, then the connection is closed
└── StreamFault       one stream is at fault: RST_STREAM with this code, the others go on
"""

from __future__ import annotations

from enum import IntEnum


class ErrorCode(IntEnum):
    """RFC 9113, section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Http2Fault(Exception):
    """What the peer did wrong. code: what it is told; limit: the name of the limit that it passed, or ""."""

    def __init__(self, code: ErrorCode, why: str, *, limit: str = "") -> None:
        super().__init__(why)
        self.code = code
        self.limit = limit


class ConnectionFault(Http2Fault):
    """The connection cannot go on."""


class StreamFault(Http2Fault):
    """One stream cannot go on."""

    def __init__(self, stream_id: int, code: ErrorCode, why: str, *, limit: str = "") -> None:
        super().__init__(code, why, limit=limit)
        self.stream_id = stream_id
