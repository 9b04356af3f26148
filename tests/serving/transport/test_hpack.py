"""HPACK: the examples of RFC 7541, the `hpack` package as oracle both ways, and whatever must be refused."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import hpack as oracle
import pytest
from hpack.hpack import NeverIndexedHeaderTuple, encode_integer
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from serving.transport.http2 import huffman
from serving.transport.http2.fields import Field, bytes_of, fault_of
from serving.transport.http2.hpack import (
    FIRST_TABLE_BYTES,
    Decoder,
    Encoder,
    Head,
    HeaderListTooLarge,
    HpackError,
    IndexingEncoder,
    _integer,
    _more,
)

oracle_huffman = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)


def as_a_connection_does(decoder: Decoder, block: bytes) -> Head:
    return decoder.known.get(block) or decoder.decode(block)


def parse(text: str) -> tuple[Field, ...]:
    """`name: value` a line."""
    lines = [line.strip() for line in text.strip().splitlines()]
    return tuple((line[: line.index(": ", 1)].encode(), line[line.index(": ", 1) + 2 :].encode()) for line in lines)


# RFC 7541, appendix C.1: value, room in the first byte, bytes.


@pytest.mark.parametrize(("value", "room", "coded"), [(10, 0x1F, "0a"), (1337, 0x1F, "1f9a0a"), (42, 0xFF, "2a")])
def test_integers_of_appendix_c1(value: int, room: int, coded: str) -> None:
    wire = bytes.fromhex(coded)
    assert _integer(value, room, 0) == wire
    if wire[0] == room:
        assert _more(wire, 1, wire[0]) == (value, len(wire))


@given(st.integers(0, 2**28), st.sampled_from([0x0F, 0x1F, 0x3F, 0x7F]))
def test_integers_go_there_and_back(value: int, room: int) -> None:
    wire = _integer(value, room, 0)
    assert wire == encode_integer(value, room.bit_length())
    if wire[0] == room:
        assert _more(wire, 1, room) == (value, len(wire))


# Appendix C.2: one field; what the table then counts.


@pytest.mark.parametrize(
    ("wire", "field", "table_bytes"),
    [
        ("400a637573746f6d2d6b65790d637573746f6d2d686561646572", "custom-key: custom-header", 55),
        ("040c2f73616d706c652f70617468", ":path: /sample/path", 0),
        ("100870617373776f726406736563726574", "password: secret", 0),
        ("82", ":method: GET", 0),
    ],
)
def test_fields_of_appendix_c2(wire: str, field: str, table_bytes: int) -> None:
    decoder = Decoder()
    assert decoder.decode(bytes.fromhex(wire)).fields == parse(field)
    assert decoder.table == (parse(field) if table_bytes else ())
    assert decoder.table_bytes == table_bytes


# Appendices C.3 to C.6: each block's fields, the table after it, newest first, and what that counts.

REQUESTS = [
    (":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com", ":authority: www.example.com", 57),
    (
        ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache",
        "cache-control: no-cache\n:authority: www.example.com",
        110,
    ),
    (
        ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value",
        "custom-key: custom-value\ncache-control: no-cache\n:authority: www.example.com",
        164,
    ),
]
COOKIE = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
DATE = "date: Mon, 21 Oct 2013 20:13:21 GMT"
LATER = "date: Mon, 21 Oct 2013 20:13:22 GMT"
RESPONSES = [
    (
        f":status: 302\ncache-control: private\n{DATE}\nlocation: https://www.example.com",
        f"location: https://www.example.com\n{DATE}\ncache-control: private\n:status: 302",
        222,
    ),
    (
        f":status: 307\ncache-control: private\n{DATE}\nlocation: https://www.example.com",
        f":status: 307\nlocation: https://www.example.com\n{DATE}\ncache-control: private",
        222,
    ),
    (
        f":status: 200\ncache-control: private\n{LATER}\nlocation: https://www.example.com\ncontent-encoding: gzip\n"
        f"set-cookie: {COOKIE}",
        f"set-cookie: {COOKIE}\ncontent-encoding: gzip\n{LATER}",
        215,
    ),
]
SEQUENCES = {
    "C.3": (
        FIRST_TABLE_BYTES,
        False,
        REQUESTS,
        [
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ],
    ),
    "C.4": (
        FIRST_TABLE_BYTES,
        True,
        REQUESTS,
        [
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ],
    ),
    "C.5": (
        256,
        False,
        RESPONSES,
        [
            "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54"
            "6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
            "4803333037c1c0bf",
            "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d"
            "4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
        ],
    ),
    "C.6": (
        256,
        True,
        RESPONSES,
        [
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
            "4883640effc1c0bf",
            "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960"
            "d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
        ],
    ),
}


@pytest.mark.parametrize("section", SEQUENCES)
def test_blocks_of_appendices_c3_to_c6_decode(section: str) -> None:
    table_bytes, _, blocks, wires = SEQUENCES[section]
    decoder = Decoder(max_table_bytes=table_bytes)
    for (fields, table, size), wire in zip(blocks, wires, strict=True):
        head = as_a_connection_does(decoder, bytes.fromhex(wire))
        assert (head.fields, head.fault, head.meaning) == (parse(fields), "", None)
        assert decoder.table == parse(table)
        assert decoder.table_bytes == size


@pytest.mark.parametrize("section", SEQUENCES)
def test_blocks_of_appendices_c3_to_c6_are_encoded_to_the_byte(section: str) -> None:
    table_bytes, coded, blocks, wires = SEQUENCES[section]
    encoder = IndexingEncoder(max_table_bytes=table_bytes, huffman=coded)
    if table_bytes < FIRST_TABLE_BYTES:
        assert encoder.encode(()) == bytes.fromhex("3fe101")  # the RFC's decoder was told of the 256 bytes otherwise
    for (fields, table, _), wire in zip(blocks, wires, strict=True):
        assert encoder.encode(parse(fields)).hex() == wire
        assert encoder.table == parse(table)


# The Huffman code.


@given(st.binary(max_size=80))
def test_the_huffman_code_is_the_oracles_and_goes_there_and_back(text: bytes) -> None:
    coded = huffman.encode(text)
    assert coded == oracle_huffman.encode(text)
    assert huffman.decode(coded) == text


def test_every_byte_has_its_code_at_every_offset() -> None:
    for before in range(8):
        text = b"0" * before + bytes(range(256))  # a 0 is 5 bits
        assert huffman.decode(huffman.encode(text)) == text


@given(st.binary(max_size=12) | st.lists(st.sampled_from([0xFF, 0xFE, 0xF8, 0x1F, 0x07]), max_size=8).map(bytes))
def test_whatever_the_bits_the_verdict_is_the_oracles(coded: bytes) -> None:
    assert verdict(huffman.decode, coded) == verdict(oracle.huffman_table.decode_huffman, coded)


def verdict(decode: Callable[[bytes], bytes], coded: bytes) -> bytes | None:
    try:
        return decode(coded)
    except (ValueError, oracle.HPACKDecodingError):
        return None


@pytest.mark.parametrize(
    ("coded", "why"),
    [
        ("ff", "padding"),  # 8 bits of padding
        ("1fff", "padding"),  # an a, then 11 bits
        ("18", "padding"),  # an a, then 000
        ("1e", "padding"),  # an a, then 110
        ("ffffffff", "EOS"),
        ("1fffffffff", "EOS"),
        ("fffffffc", "EOS"),
    ],
)
def test_wrong_padding_and_eos_are_refused(coded: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        huffman.decode(bytes.fromhex(coded))
    string = bytes.fromhex(coded)
    with pytest.raises(HpackError, match=why):
        Decoder().decode(b"\x04" + bytes((0x80 | len(string),)) + string)


# The oracle at the other end, for as long as a connection lasts.

NAMES = st.sampled_from(
    [b":path", b":method", b":status", b"cookie", b"te", b"a", b"grpc-timeout", b"x-request-id", b"Upper", b"upgrade"]
) | st.binary(min_size=1, max_size=6)
VALUES = (
    st.sampled_from(
        [b"", b"GET", b"200", b"trailers", b"1S", b"/signalbox.v1.Scorer/Score", b" padded", b"two\r\nlines"]
    )
    | st.binary(max_size=40)
    | st.integers(0, 2500).map(lambda length: b"v" * length)
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=12)


@given(st.lists(st.tuples(FIELDS, st.booleans(), st.none() | st.integers(0, 4096)), max_size=12), st.data())
def test_what_the_oracle_encodes_is_decoded(
    blocks: list[tuple[list[Field], bool, int | None]], data: st.DataObject
) -> None:
    encoder, decoder = oracle.Encoder(), Decoder(max_list_bytes=10**6)
    for fields, coded, resize in blocks:
        if resize is not None:
            encoder.header_table_size = resize
        never = data.draw(st.sets(st.integers(0, 12)), label="never indexed")
        sent = [NeverIndexedHeaderTuple(*field) if at in never else field for at, field in enumerate(fields)]
        head = as_a_connection_does(decoder, encoder.encode(sent, huffman=coded))
        assert head.fields == tuple(fields)
        assert head.fault == fault_of(fields)
        assert decoder.table == tuple(encoder.header_table.dynamic_entries)


@given(
    st.lists(st.tuples(FIELDS, st.none() | st.integers(0, 10_000)), max_size=12), st.booleans(), st.integers(0, 8192)
)
def test_what_is_encoded_the_oracle_decodes(
    blocks: list[tuple[list[Field], int | None]], coded: bool, most: int
) -> None:
    encoder = IndexingEncoder(max_table_bytes=most, huffman=coded, unindexed=[b"a", b"cookie"])
    decoder = oracle.Decoder(max_header_list_size=10**6)
    for fields, allowed in blocks:
        if allowed is not None:
            encoder.allow(allowed)
            decoder.max_allowed_table_size = allowed
        assert decoder.decode(encoder.encode(fields), raw=True) == fields
        assert encoder.table == tuple(decoder.header_table.dynamic_entries)
        assert not {b"a", b"cookie"} & {name for name, _ in encoder.table}


@given(FIELDS)
def test_the_encoder_without_a_table_says_the_same_at_any_time(fields: list[Field]) -> None:
    encoder, decoder = Encoder(), oracle.Decoder(max_header_list_size=10**6)
    block = encoder.encode(fields)
    assert block == b"".join(encoder.encode([field]) for field in fields)
    for _ in range(2):
        assert decoder.decode(block, raw=True) == fields
    assert not decoder.header_table.dynamic_entries
    assert Decoder(max_list_bytes=10**6).decode(block).fields == tuple(fields)


# Representations that an encoder of good sense would not choose.


def integer(value: int, kind: int, bits: int) -> bytes:
    wire = encode_integer(value, bits)
    wire[0] |= kind
    return bytes(wire)


def string(text: bytes, coded: bool) -> bytes:
    text = huffman.encode(text) if coded else text
    return integer(len(text), 0x80 if coded else 0, 7) + text


def literal(kind: int, bits: int, name: int | bytes, value: bytes, coded: bool) -> bytes:
    index = name if isinstance(name, int) else 0
    return integer(index, kind, bits) + (string(name, coded) if isinstance(name, bytes) else b"") + string(value, coded)


INDICES = st.integers(1, 64) | st.integers(60, 140)
LITERAL_KINDS = st.sampled_from([(0x40, 6), (0x40, 6), (0x00, 4), (0x10, 4)])
REPRESENTATIONS = st.builds(lambda index: integer(index, 0x80, 7), INDICES) | st.builds(
    lambda kind, name, value, coded: literal(*kind, name, value, coded),
    LITERAL_KINDS,
    INDICES | NAMES,
    VALUES,
    st.booleans(),
)
UPDATES = st.lists(st.sampled_from([0, 40, 100, 1000, 4096]).map(lambda size: integer(size, 0x20, 5)), max_size=2)
BLOCKS = st.builds(
    lambda updates, fields: b"".join(updates + fields), UPDATES | st.just([]), st.lists(REPRESENTATIONS, max_size=6)
)


def assert_alike(decoder: Decoder, peer: oracle.Decoder, block: bytes) -> bool:
    """Both take the block for the same fields, or both refuse it; whether they took it."""
    try:
        expected = tuple(peer.decode(block, raw=True))
    except oracle.HPACKDecodingError:
        with pytest.raises(HpackError):
            as_a_connection_does(decoder, block)
        return False
    try:
        head = as_a_connection_does(decoder, block)
    except HpackError as error:
        assert "integer" in str(error)  # noqa: PT017 - the oracle takes integers a byte longer
        return False
    assert head.fields == expected
    assert head.fault == fault_of(expected)
    assert decoder.table == tuple(peer.header_table.dynamic_entries)
    assert decoder.table_bytes == sum(map(bytes_of, decoder.table))
    return True


@given(st.lists(BLOCKS, min_size=1, max_size=5), st.lists(st.integers(0, 4), min_size=1, max_size=25))
def test_blocks_that_come_again_mean_what_they_mean_now(blocks: list[bytes], order: list[int]) -> None:
    decoder, peer = Decoder(max_list_bytes=10**6), oracle.Decoder(max_header_list_size=10**6)
    for at in order:
        if not assert_alike(decoder, peer, blocks[at % len(blocks)]):
            return


@given(BLOCKS, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_altered_blocks_are_refused_or_read_alike(block: bytes, changes: list[tuple[int, int]]) -> None:
    altered = bytearray(block or b"\x00")
    for at, byte in changes:
        altered[at % len(altered)] = byte
    assert_alike(Decoder(max_list_bytes=10**6), oracle.Decoder(max_header_list_size=10**6), bytes(altered))


@given(st.binary(max_size=60))
def test_noise_is_refused_or_read_alike(block: bytes) -> None:
    assert_alike(Decoder(max_list_bytes=10**6), oracle.Decoder(max_header_list_size=10**6), block)


@given(BLOCKS)
def test_a_block_cut_short_is_refused_unless_it_ends_behind_a_field(block: bytes) -> None:
    for end in range(len(block)):
        assert_alike(Decoder(max_list_bytes=10**6), oracle.Decoder(max_header_list_size=10**6), block[:end])


# What must be refused.

INSERT = b"\x40\x01a\x01b"


@pytest.mark.parametrize(
    ("blocks", "why"),
    [
        ([b"\x80"], "index from 1, found 0"),
        ([b"\x82\x80"], "index from 1, found 0"),
        ([b"\x01\x00\x80"], "index from 1, found 0"),
        ([b"\xbe"], "index above 61"),
        ([b"\xff\x80\x80\x80\x01"], "index above 61"),
        ([INSERT, b"\xbe", b"\xbf"], "index above 62"),
        ([INSERT, b"\x82\xbf"], "index above 62"),
        ([b"\x7f\x00\x00"], "index above 61"),
        ([b"\x0f\x2f\x00"], "index above 61"),
        ([b"\x82" * 2000 + b"\xbe"], "index above 61"),  # beyond what is kept, too
        ([b"\x01\x00" * 2000 + b"\xbe"], "index above 61"),
        ([b"\x0f"], "end of the block"),
        ([b"\x04"], "end of the block"),
        ([b"\x04\x02a"], "end of the block"),
        ([b"\x00\x02a"], "end of the block"),
        ([b"\x00\x01a\x05abc"], "end of the block"),
        ([b"\x04\x85abc"], "end of the block|padding"),
        ([b"\x04\x82\x1f"], "end of the block"),  # what is there is an a
        ([b"\x00\x82\x1f"], "end of the block"),
        ([b"\x04\x7f\x80"], "end of the block"),
        ([b"\x04\x7f\xff\xff\xff\x7f"], "end of the block"),  # a string of 256 MiB
        ([b"\xff"], "end of the block"),
        ([b"\x3f"], "end of the block"),
        ([b"\xff\x80\x80\x80\x80\x00"], "integer of at most 5 bytes"),
        ([b"\x04\x7f\xff\xff\xff\xff\x0f"], "integer of at most 5 bytes"),
        ([b"\x3f" + b"\x80" * 10_000 + b"\x00"], "integer of at most 5 bytes"),
        ([b"\x3f\xe2\x1f"], "at most 4096 bytes, found 4097"),
        ([b"\x20\x3f\xe2\x1f"], "at most 4096 bytes, found 4097"),
        ([b"\x82\x20"], "only at its beginning"),
        ([b"\x20\x82\x20"], "only at its beginning"),
        ([INSERT + b"\x20"], "only at its beginning"),
        ([INSERT, b"\x20", b"\xbe"], "index above 61"),
    ],
)
def test_what_must_be_refused(blocks: list[bytes], why: str) -> None:
    decoder = Decoder()
    for block in blocks[:-1]:
        as_a_connection_does(decoder, block)
    with pytest.raises(HpackError, match=why):
        as_a_connection_does(decoder, blocks[-1])


def test_a_table_is_resized_within_its_limit_at_the_beginning_of_a_block() -> None:
    decoder = Decoder(max_table_bytes=5000)
    assert decoder.decode(INSERT + b"\x40\x01c\x01d").fields == ((b"a", b"b"), (b"c", b"d"))
    assert decoder.decode(integer(34, 0x20, 5) + b"\xbe").fields == ((b"c", b"d"),)
    assert decoder.table == ((b"c", b"d"),)
    assert decoder.decode(b"\x20" + integer(5000, 0x20, 5) + b"\x82").fields == ((b":method", b"GET"),)
    assert decoder.table == ()
    decoder.decode(b"\x04\x01/" + literal(0x40, 6, b"long", b"v" * 4900, False))
    assert decoder.table_bytes == 4936
    with pytest.raises(HpackError, match="at most 5000 bytes, found 5001"):
        decoder.decode(integer(5001, 0x20, 5))


def test_a_table_begins_with_the_protocols_size_even_where_more_is_allowed() -> None:
    decoder = Decoder(max_table_bytes=5000)
    decoder.decode(INSERT + literal(0x40, 6, b"n", b"v" * 4063, False))
    assert decoder.table_bytes == FIRST_TABLE_BYTES
    decoder.decode(literal(0x40, 6, b"n", b"v" * 4064, False))
    assert decoder.table_bytes == 0


@pytest.mark.parametrize(
    ("block", "fields"),
    [
        ("0f80000178", "accept-charset: x"),
        ("0f8080000178", "accept-charset: x"),
        ("ff8080808000", None),
        ("ffbe7f", None),
        ("047f8000" + "78" * 127, ":path: " + "x" * 127),
        ("3f800082", ":method: GET"),
    ],
)
def test_integers_may_be_longer_than_they_need(block: str, fields: str | None) -> None:
    decoder, peer = Decoder(), oracle.Decoder()
    assert assert_alike(decoder, peer, bytes.fromhex(block)) == (fields is not None)
    if fields is not None:
        assert Decoder().decode(bytes.fromhex(block)).fields == parse(fields)


def test_a_field_larger_than_the_table_empties_it() -> None:
    decoder = Decoder()
    assert decoder.decode(INSERT + literal(0x40, 6, b"long", b"v" * 4096, False)).fields[1][0] == b"long"
    assert (decoder.table, decoder.table_bytes) == ((), 0)


def test_a_name_may_be_taken_from_the_field_that_its_insertion_evicts() -> None:
    decoder = Decoder()
    decoder.decode(literal(0x40, 6, b"name", b"v" * 4060, False))
    assert decoder.decode(literal(0x40, 6, 62, b"w" * 4060, False)).fields == ((b"name", b"w" * 4060),)
    assert decoder.table == ((b"name", b"w" * 4060),)


# How much may come.


@given(FIELDS, st.integers(-2, 2))
def test_the_limit_counts_to_the_byte(fields: list[Field], more: int) -> None:
    size = sum(map(bytes_of, fields))
    decoder = Decoder(max_list_bytes=max(0, size + more))
    block = IndexingEncoder().encode(fields)
    if size <= max(0, size + more):
        assert decoder.decode(block).fields == tuple(fields)
        return
    with pytest.raises(HeaderListTooLarge, match=f"at most {size + more} bytes, found {size}"):
        decoder.decode(block)


def test_no_field_is_dropped_in_silence() -> None:
    block = Encoder().encode([(b"a", b"")] * 20)
    for most in range(20 * 33):
        with pytest.raises(HeaderListTooLarge):
            Decoder(max_list_bytes=most).decode(block)
    assert len(Decoder(max_list_bytes=20 * 33).decode(block).fields) == 20


BIG = literal(0x40, 6, b"big", b"v" * 4000, False)
TAIL = literal(0x40, 6, b"tail", b"w", True)


@pytest.mark.parametrize(
    ("bomb", "times"),  # how many times its own size a bomb may cost
    [
        (b"\xbe" * 60_000, 5),
        (b"\xff\x00" * 30_000, 5),  # index 127: beyond the front
        (b"\x01\x00" * 30_000, 5),
        (b"\x0f\x2f\x00" * 20_000, 5),
        (b"\xbe" + b"\x01\x00" + b"\xbe" * 60_000, 5),
        (b"\x41\x00" * 30_000, 5),
        (literal(0x00, 4, b"x", b"y" * 60_000, True), 100),
    ],
    ids=["indices", "long indices", "literals", "literals of big", "behind a literal", "insertions", "one value"],
)
def test_a_bomb_costs_bounded_memory_and_leaves_the_table_in_step(bomb: bytes, times: int) -> None:
    decoder, peer = Decoder(), oracle.Decoder(max_header_list_size=2**40)
    small = b"".join(literal(0x40, 6, b"s%d" % number, b"", False) for number in range(70))
    block = small if b"\xff" in bomb else BIG
    assert as_a_connection_does(decoder, block).fields == tuple(peer.decode(block, raw=True))
    tracemalloc.start()
    try:
        with pytest.raises(HeaderListTooLarge, match="at most 16384 bytes"):
            decoder.decode(bomb + TAIL)
        assert tracemalloc.get_traced_memory()[1] < times * len(bomb)
    finally:
        tracemalloc.stop()
    peer.decode(bomb + TAIL, raw=True)
    assert decoder.table == tuple(peer.header_table.dynamic_entries)
    assert decoder.decode(b"\x82\xbe").fields == ((b":method", b"GET"), (b"tail", b"w"))


def test_a_list_that_is_too_large_is_refused_each_time_it_comes() -> None:
    decoder = Decoder()
    decoder.decode(BIG)
    for _ in range(3):
        with pytest.raises(HeaderListTooLarge):
            as_a_connection_does(decoder, b"\xbe" * 5)
        assert as_a_connection_does(decoder, b"\xbe" * 4).fields == ((b"big", b"v" * 4000),) * 4


# What is remembered.

REQUEST = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/signalbox.v1.Scorer/Score"),
    (b":authority", b"localhost"),
    (b"te", b"trailers"),
)


def test_a_block_that_repeats_is_known_until_the_table_changes() -> None:
    encoder, decoder = IndexingEncoder(unindexed=[b"grpc-timeout"]), Decoder()
    decoder.decode(encoder.encode(REQUEST))
    assert decoder.known == {}  # it changed the table
    known = decoder.known
    indexed, with_literal = encoder.encode(REQUEST), encoder.encode([*REQUEST, (b"grpc-timeout", b"1S")])
    head = decoder.decode(indexed)
    assert known[indexed] is head
    decoder.decode(with_literal)
    head = decoder.decode(with_literal)
    assert known[with_literal] is head
    decoder.decode(INSERT)
    assert known == {}
    assert known is decoder.known


@pytest.mark.parametrize("change", [INSERT, b"\x20", b"\x3f\xe1\x1f", literal(0x40, 6, b"n", b"v" * 5000, False)])
def test_each_change_of_the_table_forgets_all(change: bytes) -> None:
    decoder = Decoder()
    decoder.decode(INSERT)
    decoder.decode(b"\xbe\x82")
    assert list(decoder.known) == [b"\xbe\x82"]
    decoder.decode(change)
    assert decoder.known == {}
    decoder.decode(change)
    assert decoder.known == {}


def test_the_same_front_means_what_the_table_holds_now() -> None:
    decoder, literal_behind = Decoder(), literal(0, 4, b"x", b"y", False)
    for value in (b"1", b"2"):
        decoder.decode(literal(0x40, 6, b"n", value, False))
        for _ in range(3):
            head = as_a_connection_does(decoder, b"\x82\xbe" + literal_behind)
            assert head.fields == ((b":method", b"GET"), (b"n", value), (b"x", b"y"))


@pytest.mark.parametrize("between", range(1, 12))
def test_a_front_is_found_again_however_far_the_table_moved(between: int) -> None:
    decoder, older, newer = Decoder(), (b"n", b"older"), (b"m", b"newer ")
    decoder.decode(IndexingEncoder().encode([older, newer]))
    head = decoder.decode(b"\x82\xbf\xbe\xbf")
    assert head.fields == ((b":method", b"GET"), older, newer, older)
    for moved in range(1, 5):
        decoder.decode(INSERT * between)
        again = as_a_connection_does(decoder, bytes((0x82, *(place + moved * between for place in b"\xbf\xbe\xbf"))))
        assert again.fields == head.fields
        assert "outer white space" in again.fault
        unmoved = as_a_connection_does(decoder, b"\x82\xbf\xbe\xbf")
        assert unmoved.fields[2] == decoder.table[0] == (b"a", b"b")


@pytest.mark.parametrize("size", [34, 68, 100])
def test_a_front_is_gone_with_its_fields(size: int) -> None:
    decoder, held = Decoder(), size // 34
    decoder.decode(integer(size, 0x20, 5) + INSERT)
    assert decoder.decode(b"\xbe").fields == ((b"a", b"b"),)
    for moved in range(1, held):
        decoder.decode(b"\x40\x01c\x01d")
        assert decoder.decode(bytes((0xBE + moved,))).fields == ((b"a", b"b"),)
    decoder.decode(b"\x40\x01c\x01d")
    with pytest.raises(HpackError, match="index above"):
        decoder.decode(bytes((0xBE + held,)))


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("most", [256, 512, 4096])
def test_a_client_that_indexes_all_is_followed_for_long(most: int, coded: bool) -> None:
    encoder, decoder = IndexingEncoder(max_table_bytes=most, huffman=coded), Decoder()
    for number in range(400):
        fields = (*REQUEST, (b"grpc-timeout", b"%dn" % (number * 7919)), (b"traceparent", b"00-%050d-01" % number))
        head = as_a_connection_does(decoder, encoder.encode(fields))
        assert (head.fields, head.fault) == (fields, "")
        assert decoder.table == encoder.table


CHARSET = 15  # a static index that stands for a name alone
FLOODS: dict[str, Callable[[int], bytes]] = {
    "fronts": lambda number: b"\x82" * (number % 20) + b"\x84" * (number // 20) + b"\x01\x00",
    "names": lambda number: literal(0, 4, b"x-%060d" % number, b"", False),
    "coded strings": lambda number: literal(0, 4, b"x-%028d" % number, b"%030d" % number, True),
    "orders": lambda number: (
        b"\x82\x84\x86\x88\x81"[number // 120 :] + literal(0, 4, CHARSET, b"", False) * (number % 120)
    ),
    "blocks": lambda number: literal(0, 4, CHARSET, b"%060d" % number, False) + b"\x82" * 20,
}


def take_each_twice(decoder: Decoder, blocks: list[bytes]) -> None:
    for block in blocks:
        as_a_connection_does(decoder, block)
        as_a_connection_does(decoder, block)


@pytest.mark.parametrize("flood", FLOODS)
def test_a_peer_that_never_repeats_itself_for_long_makes_nothing_grow(flood: str) -> None:
    blocks = [FLOODS[flood](number) for number in range(600)]
    take_each_twice(Decoder(), blocks)  # the Huffman code's states are filled for good
    decoder = Decoder()
    tracemalloc.start()
    try:
        take_each_twice(decoder, blocks)
        assert tracemalloc.get_traced_memory()[0] < 96 * 1024
    finally:
        tracemalloc.stop()
    assert blocks[-1] in decoder.known


def test_a_meaning_stays_with_its_block() -> None:
    decoder = Decoder()
    decoder.decode(b"\x82").meaning = "GET"
    assert decoder.known[b"\x82"].meaning == "GET"


# What is well coded and still no field section (RFC 9113, sections 8.2 and 8.3).

FAULTS: list[tuple[str, list[Field], str]] = [
    ("a request", [*REQUEST, (b"cookie", b"a=b"), (b"cookie", b"c=d"), (b"x-!#$%&'*+-.^_`|~", b"")], ""),
    ("any other byte in a value", [(b"n", bytes(set(range(1, 256)) - {9, 10, 13, 32}))], ""),
    ("white space within", [(b"n", b"a \t b")], ""),
    ("te in capitals", [(b"te", b"Trailers")], ""),
    ("upper case", [(b"Name", b"v")], "lower-case token"),
    ("space in a name", [(b"na me", b"v")], "lower-case token"),
    ("colon in a name", [(b"na:me", b"v")], "lower-case token"),
    ("NUL in a name", [(b"na\0me", b"v")], "lower-case token"),
    ("high byte in a name", [(b"na\xe9me", b"v")], "lower-case token"),
    ("no name", [(b"", b"v")], "lower-case token"),
    ("NUL", [(b"n", b"a\0b")], "n: expected a value without NUL"),
    ("CR", [(b"n", b"a\rb")], "n: expected a value without NUL"),
    ("LF", [(b":path", b"/\n")], ":path: expected a value without NUL"),
    ("leading space", [(b"n", b" v")], "outer white space"),
    ("trailing tab", [(b"n", b"v\t")], "outer white space"),
    ("white space alone", [(b"n", b" ")], "outer white space"),
    ("connection", [(b"connection", b"close")], "HTTP/1.1 connection"),
    ("keep-alive", [(b"keep-alive", b"5")], "HTTP/1.1 connection"),
    ("proxy-connection", [(b"proxy-connection", b"close")], "HTTP/1.1 connection"),
    ("transfer-encoding", [(b"transfer-encoding", b"chunked")], "HTTP/1.1 connection"),
    ("upgrade", [(b"upgrade", b"h2c")], "HTTP/1.1 connection"),
    ("te", [(b"te", b"gzip")], "te: expected trailers"),
    ("te with more", [(b"te", b"trailers, gzip")], "te: expected trailers"),
    ("undefined pseudo field", [(b":host", b"a")], "a defined pseudo field, found b':host'"),
    ("colon alone", [(b":", b"a")], "a defined pseudo field"),
    ("pseudo field behind", [(b":method", b"GET"), (b"n", b"v"), (b":path", b"/")], ":path: .* found it behind n"),
    ("pseudo field twice", [(b":path", b"/"), (b":method", b"GET"), (b":path", b"/")], ":path: expected it once"),
]
WAYS: dict[str, Callable[[], Callable[[list[Field]], bytes]]] = {
    "literals": lambda: Encoder().encode,
    "indexed": lambda: IndexingEncoder().encode,
    "Huffman-coded": lambda: IndexingEncoder(huffman=True).encode,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("fields", "why"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS])
def test_a_fault_is_found_however_the_fields_come(fields: list[Field], why: str, way: str) -> None:
    encode, decoder = WAYS[way](), Decoder()
    for _ in range(4):  # as literals, by index, and as known
        head = as_a_connection_does(decoder, encode(fields))
        assert head.fields == tuple(fields)
        assert head.fault == fault_of(fields)
        assert re.search(why, head.fault) if why else not head.fault


@pytest.mark.parametrize("behind", [0, 60, 90, 119])
def test_a_fault_is_found_however_far_back_in_the_table(behind: int) -> None:
    decoder = Decoder()
    decoder.decode(literal(0x40, 6, b"n", b"v ", False))
    for _ in range(behind):
        decoder.decode(literal(0x40, 6, b"n", b"v", False))
    assert "outer white space" in decoder.decode(integer(62 + behind, 0x80, 7)).fault
    assert "outer white space" in decoder.decode(b"\x01\x00" + integer(62 + behind, 0x80, 7)).fault


PROPER: list[Field] = [(b":path", b"/x"), (b"te", b"trailers"), (b"n", b"v")]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "wrong",
    [PROPER[::-1], PROPER * 2, [PROPER[0], (b"te", b"no"), PROPER[2]]]
    + [[*PROPER[:2], (b"n", value)] for value in (b"v ", b" v", b"\tv", b"v\0v", b"v\rv", b"v\nv")],
)
def test_a_proper_section_does_not_vouch_for_the_next(wrong: list[Field], way: str) -> None:
    encode, decoder = WAYS[way](), Decoder()
    for _ in range(3):
        assert as_a_connection_does(decoder, encode(PROPER)).fault == ""
        assert as_a_connection_does(decoder, encode(wrong)).fault == fault_of(wrong) != ""


# The encoder's table.


def test_the_lowest_and_the_last_size_are_told() -> None:
    encoder = IndexingEncoder(max_table_bytes=2000)
    assert encoder.encode(()) == integer(2000, 0x20, 5)
    assert encoder.encode(()) == b""
    for allowed in (1000, 100, 5000):
        encoder.allow(allowed)
    assert encoder.encode(()) == integer(100, 0x20, 5) + integer(2000, 0x20, 5)
    encoder.allow(0)
    assert encoder.encode([(b"n", b"v")]) == b"\x20" + literal(0x00, 4, b"n", b"v", False)
    assert encoder.table == ()
    encoder.allow(70)
    assert (
        encoder.encode([(b"n", b"v"), (b"n", b"v")]) == integer(70, 0x20, 5) + INSERT.replace(b"a", b"n")[:4] + b"v\xbe"
    )


def test_fields_of_an_unindexed_name_leave_the_block_in_front_of_them_as_it_is() -> None:
    encoder = IndexingEncoder(unindexed=[b"grpc-timeout", b"traceparent"])
    encoder.encode(REQUEST)
    blocks = [encoder.encode([*REQUEST, (b"grpc-timeout", b"%dn" % number)]) for number in range(3)]
    assert all(one[: len(REQUEST)] == other[: len(REQUEST)] for one, other in pairwise(blocks))
    assert len(set(blocks)) == 3
