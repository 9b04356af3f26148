"""What both of our clients do on a connection: send a prepared cycle, and gather answers that come in pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from loadtests.clients.prepared import Prepared
from serving.transport.grpc.message import PREFIX, PREFIX_BYTES
from serving.transport.http2.client import ClientConnection
from serving.transport.http2.hpack import FIRST_TABLE_BYTES, Head
from serving.transport.http2.layout import Bytes
from serving.transport.http2.limits import Limits, Rate

PATIENCE_SECONDS = 20.0  # for connections to open, and for the last calls to be answered
_ANY = Rate(1_000_000, 1_000_000)
_LIMITS = Limits(  # the server is not on trial here
    resets=_ANY, window_updates=_ANY, pings=_ANY, settings=_ANY, empty_frames=_ANY
)
_NUMBERED_AT_ONCE = 512


class Broken(Exception):
    """The run cannot be finished: no connection, or calls that never end."""


class Caller:
    """The calls of one connection, and the Receiver of their answers. Lives as long as the connection.

    Call number n is request n of the cycle, modulo its length, and stream 2n + 1. A subclass says what is done with an
    answer. failures: shared with other connections; how calls ended that were not answered well → how many.
    """

    def __init__(self, prepared: Prepared, failures: Counter[str]) -> None:
        self.connection = ClientConnection(self, _LIMITS)
        self.failures = failures
        self.next = 0  # number of the next call
        self.length = len(prepared)
        self._prepared = prepared
        self._starts: list[int] = prepared.starts.tolist()
        self._contents: list[int] = prepared.contents.tolist()
        self._largest = prepared.largest
        self._numbered = 0  # calls whose stream number is filled in
        self._parts: dict[int, list[bytes]] = {}  # contents that come in pieces
        self._words: dict[str, str] = {}  # grpc-status → how a call first ended with it

    def answered(self, number: int, content: bytes) -> None:
        """Call `number` ended well, with one message."""
        raise NotImplementedError

    def ended_badly(self, number: int, why: str) -> None:
        """Call `number` ended otherwise."""
        self.failures[why] += 1

    def send(self, most: int) -> int:
        """Sends up to `most` calls, as the server's windows and its number of streams allow; returns how many.

        Call it again until it returns 0: it ends where the cycle does.
        """
        connection = self.connection
        first = self.next % self.length
        room = connection.most_streams - len(connection.streams)
        count = min(most, room, self.length - first)
        if count <= 0 or connection.peer_goes:
            return 0
        content_bytes = self._contents[first + count] - self._contents[first]
        if not connection.has_room(content_bytes, self._largest):
            return 0
        if self.next + count > self._numbered:
            self._number(first, count)
        made = self._prepared.made[self._starts[first] : self._starts[first + count]].tobytes()
        connection.send_made(made, count, content_bytes)
        self.next += count
        return count

    def cancel(self, number: int) -> bool:
        """Gives a call up; whether it was under way."""
        stream_id = 2 * number + 1
        if stream_id not in self.connection.streams:
            return False
        self.connection.cancel(stream_id)
        self._parts.pop(stream_id, None)
        return True

    def take_out(self) -> bytes:
        """What is to be written."""
        out = self.connection.out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def check_table(self) -> None:
        """Broken when the server keeps a smaller table than prepared blocks count on."""
        found = self.connection.peer_table_bytes
        if found < FIRST_TABLE_BYTES:
            raise Broken(f"expected a server whose table is {FIRST_TABLE_BYTES} bytes, found {found}")

    def whole_answer(self, stream_id: int, head: Head, content: bytes, trailers: Head) -> None:
        """See http2.client.Receiver."""
        status, message = _ending(trailers)
        if status != "0":
            self.ended_badly(stream_id >> 1, self._words.setdefault(status, f"{status}: {message}"))
        elif not _is_one_message(content):
            self.ended_badly(stream_id >> 1, "a malformed message")
        else:
            self.answered(stream_id >> 1, content)

    def whole_answers(self, stream_ids: Sequence[int], head: Head, contents: Bytes, trailers: Head) -> None:
        """See http2.client.Receiver."""
        for stream_id, content in zip(stream_ids, contents, strict=True):
            self.whole_answer(stream_id, head, content.tobytes(), trailers)

    def answer_head(self, stream_id: int, head: Head, *, ended: bool) -> None:
        """See http2.client.Receiver."""
        if ended:
            self.whole_answer(stream_id, head, b"".join(self._parts.pop(stream_id, ())), head)
        else:
            self._parts[stream_id] = []

    def answer_data(self, stream_id: int, data: bytes, *, ended: bool) -> None:
        """See http2.client.Receiver."""
        if ended:
            self._parts.pop(stream_id, None)
            self.ended_badly(stream_id >> 1, "no trailers")
        else:
            self._parts[stream_id].append(data)

    def stream_gone(self, stream_id: int, stream: Any) -> None:
        """See http2.client.Receiver."""
        self._parts.pop(stream_id, None)
        self.ended_badly(stream_id >> 1, "stream reset")

    def _number(self, first: int, count: int) -> None:
        ahead = min(max(count, _NUMBERED_AT_ONCE), self.length - first)
        self._prepared.number(first, ahead, 2 * self.next + 1)
        self._numbered = self.next + ahead


def are_all_good(contents: Bytes, trailers: Head) -> bool:
    """Whether all of several answers of one size are: `whole_answer`'s judgement, of all at once."""
    first = contents[0]
    return (
        _ending(trailers)[0] == "0"
        and bool((contents[:, :PREFIX_BYTES] == first[:PREFIX_BYTES]).all())
        and _is_one_message(first.tobytes())
    )


def _ending(trailers: Head) -> tuple[str, str]:
    """`grpc-status` and `grpc-message`, as they came; read once for each distinct block."""
    if trailers.meaning is None:
        fields = dict(trailers.fields)
        names = (b"grpc-status", b"grpc-message")
        trailers.meaning = tuple(fields.get(name, b"none").decode("latin-1") for name in names)
    found: tuple[str, str] = trailers.meaning
    return found


def _is_one_message(content: bytes) -> bool:
    return len(content) >= PREFIX_BYTES and PREFIX.unpack_from(content) == (0, len(content) - PREFIX_BYTES)
