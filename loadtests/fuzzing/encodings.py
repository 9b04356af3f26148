"""What is decoded byte by byte: header blocks, messages and heads of calls, feature rows, rings."""

from __future__ import annotations

import gzip
import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

import hpack
import numpy as np

from features.errors import RowError
from features.row import MAC_BYTES, FeatureRow, decode_row, encode_row
from promotion.errors import RingError
from promotion.record import RingReader
from serving.errors import DeadlinePassed, RequestRefused
from serving.transport.grpc.message import PREFIX, only_message
from serving.transport.grpc.opening import opening_of, timeout_ns
from serving.transport.http2 import huffman
from serving.transport.http2.fields import bytes_of
from serving.transport.http2.hpack import Decoder, Head, HeaderListTooLarge, HpackError

LIST_BYTES = 2048
TABLE_BYTES = 4096
MESSAGE_BYTES = 1000
KEYS = {1: b"k" * 32, 7: b"q" * 32}
_ORACLE_EVERY = 8
_ORACLE_BYTES = 2**30  # it decodes no more of a list that is larger, and falls out of step

Found = tuple[tuple[bytes, bytes], ...] | str


def blocks(data: bytes) -> Iterator[bytes]:
    """The header blocks of one connection in an input: each behind a byte that says its length."""
    at = 0
    while at < len(data):
        yield data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]


class HpackTarget:
    """Blocks of one connection: as a connection reads them, by a decoder without memory, and by the hpack package."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, data: bytes) -> None:
        """One input."""
        self._count += 1
        decoder, plain = Decoder(max_list_bytes=LIST_BYTES), Decoder(max_list_bytes=LIST_BYTES)
        oracle = hpack.Decoder(_ORACLE_BYTES) if self._count % _ORACLE_EVERY == 0 else None
        for block in blocks(data):
            found = _decoded(decoder, block, remembers=True)
            again = _decoded(plain, block, remembers=False)
            assert found == again, f"expected the same with and without memory, found {found} and {again}"
            assert decoder.table_bytes == sum(map(bytes_of, decoder.table)) <= TABLE_BYTES
            assert decoder.table == plain.table
            if oracle is not None:
                _agree(oracle, block, found)
            if isinstance(found, str) and found != "too large":
                return


def _decoded(decoder: Decoder, block: bytes, *, remembers: bool) -> Found:
    try:
        head = (decoder.known.get(block) if remembers else None) or decoder.decode(block)
    except HpackError:
        return "wrong"
    except HeaderListTooLarge:
        return "too large"
    assert sum(map(bytes_of, head.fields)) <= LIST_BYTES, "expected a list within the limit, found a larger one"
    return head.fields


def _agree(oracle: hpack.Decoder, block: bytes, found: Found) -> None:
    """The hpack package decodes the same, and refuses the same."""
    try:
        fields = tuple((bytes(name), bytes(value)) for name, value in oracle.decode(block, raw=True))
    except hpack.HPACKError:
        assert found == "wrong", f"expected a block that is wrong, found {found}"
        return
    expected = "too large" if sum(map(bytes_of, fields)) > LIST_BYTES else fields
    assert found == expected, f"expected {expected}, found {found}"


class MessageTarget:
    """The content of a request, and the fields of a head. The first byte: whether `grpc-encoding` is gzip."""

    def __call__(self, data: bytes) -> None:
        """One input."""
        if not data:
            return
        content, zipped = data[1:], bool(data[0] & 1)
        self._message(content, zipped)
        if data[0] & 2:
            self._message(PREFIX.pack(1, len(content)) + content, True)
        if data[0] & 4:
            self._head(content)
        self._huffman(content[:64])

    def _message(self, content: bytes, zipped: bool) -> None:
        try:
            message = only_message(content, gzip=zipped, max_bytes=MESSAGE_BYTES)
        except RequestRefused as error:
            _check_words(error)
            return
        assert len(message) <= MESSAGE_BYTES, f"expected at most {MESSAGE_BYTES} bytes, found {len(message)}"
        if content[0]:
            assert gzip.decompress(content[5:]) == message, "expected what gzip says, found something else"
        else:
            assert content == PREFIX.pack(0, len(message)) + message

    def _head(self, content: bytes) -> None:
        """Fields of any names and values: a meaning, or a fault that is named."""
        pairs = [each.partition(b"=")[::2] for each in content.split(b"\n")]
        opening = opening_of(Head(tuple(pairs)), {}).opening
        assert opening.fault or opening.http or opening.refusal, "expected no method where there is none"
        try:
            assert timeout_ns(content[:12]) > 0
        except (RequestRefused, DeadlinePassed):
            return

    def _huffman(self, coded: bytes) -> None:
        try:
            text = huffman.decode(coded)
        except ValueError:
            return
        assert len(text) <= len(coded) * 8 // 5
        assert huffman.encode(text) == coded, "expected the one code of a text, found another"


class RowTarget:
    """An encoded feature row. Where the first byte is odd it is signed, so that what is in it is looked at."""

    def __call__(self, data: bytes) -> None:
        """One input."""
        if not data:
            return
        row = data[1:]
        if data[0] & 1:
            row = signed(row)
        try:
            found = decode_row(row, KEYS)
        except RowError as error:
            _check_words(error)
            return
        assert len(found.feature_set_id) == 32
        assert not np.isinf(found.values).any(), "expected no infinity, found one"
        if found.instrument:
            again = decode_row(encode_row(found, key_id=1, key=KEYS[1]), KEYS)
            assert _facts(again) == _facts(found), "expected the same row again, found another"


def signed(row: bytes) -> bytes:
    """`row` with a MAC that is right, by the key that it names."""
    body = row[:-MAC_BYTES]
    if len(body) < 2 or body[1] not in KEYS:
        return row
    return body + hmac.digest(KEYS[body[1]], body, hashlib.sha256)


def _facts(row: FeatureRow) -> tuple[object, ...]:
    times = (row.event_time_ns, row.knowledge_time_ns, row.sequence, row.valid_until_ns)
    return row.feature_set_id, row.instrument, times, np.nan_to_num(row.values, nan=1e38).tolist()


class RingTarget:
    """A ring's file with any content. It is overwritten in place, which costs less than a new one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, data: bytes) -> None:
        """One input."""
        self._path.write_bytes(data)
        try:
            with RingReader(self._path) as ring:
                batch = ring.read()
                assert len(batch.records) <= len(data)
                assert batch.missed >= 0
                assert all(len(digest) == 64 for digest in ring.releases)
        except RingError as error:
            _check_words(error)


def _check_words(error: Exception) -> None:
    if "expected" not in str(error) or "found" not in str(error):
        raise AssertionError(f"expected words that say what was expected and found, found {error}") from error
