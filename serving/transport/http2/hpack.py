"""HPACK: header blocks as fields, and fields as header blocks (RFC 7541), each for one direction of one connection.

    HpackError           the block cannot be decoded: the connection ends with COMPRESSION_ERROR
    HeaderListTooLarge   decoded, but more than the decoder may keep: only its stream ends. Not an HpackError

What is well coded but no proper field section (RFC 9113, section 8.2) is no error here: `Head.fault` says so, and its
stream ends. Which pseudo fields must be there is judged by who knows whether it is a request.

What makes it fast: a block that leaves the table as it is, and comes again, is known by its bytes. The indexed fields
that a block begins with, its *front*, are looked up at once, and known by their bytes while the table stands still; or
they are those of the last front, all as much further as was inserted since. A field is marked when it enters the table,
and marks that were judged proper once are so again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from serving.transport.http2 import huffman
from serving.transport.http2.fields import FIELD_BYTES, FLAWED, Field, bytes_of, fault_of, mark_of

_Part = tuple[Sequence[Field], bytes]  # fields of a block, and their marks
_NOTHING: _Part = (), b""

FIRST_TABLE_BYTES = 4096  # a dynamic table's size as a connection begins (RFC 9113, section 6.5.2)

# RFC 7541, appendix A, from index 1.
_STATIC = (
    ":authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204"
    "|:status 206|:status 304|:status 400|:status 404|:status 500|accept-charset|accept-encoding gzip, deflate"
    "|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control"
    "|content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type"
    "|cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since"
    "|last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after"
    "|server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
)
_STATIC_FIELDS: tuple[Field, ...] = tuple(
    (name, value) for name, _, value in (field.encode().partition(b" ") for field in _STATIC.split("|"))
)
_INDEX_OF_FIELD = {field: index for index, field in enumerate(_STATIC_FIELDS, 1)}
_INDEX_OF_NAME = {name: index for index, (name, _) in reversed([*enumerate(_STATIC_FIELDS, 1)])}
_FIRST_DYNAMIC = 62  # the index of the newest field in the dynamic table

# The first byte of a representation (RFC 7541, section 6), and the bits that its integer has in it.
_INDEXED, _INDEXED_BITS = 0x80, 0x7F
_INCREMENTAL, _INCREMENTAL_BITS = 0x40, 0x3F
_RESIZE, _RESIZE_BITS = 0x20, 0x1F
_LITERAL_BITS = 0x0F  # without indexing 0x00, never indexed 0x10
_HUFFMAN, _LENGTH_BITS = 0x80, 0x7F
_MORE = 0x80  # on a byte of an integer that is not its last
_MOST_MORE_BYTES = 4  # of an integer, beyond its first: 2^28 is more than any that fits

_ONE_BYTE_INDICES = bytes(range(0x81, 0xFF))

# How much one decoder remembers: less than 100 KiB in all, whatever the peer sends.
_KNOWN_BYTES = 65_536
_KNOWN_BLOCK_BYTES, _KNOWN_LITERAL_BYTES = 256, 128  # about what a block and a literal take beside their bytes
_MOST_FRONTS, _MOST_NAMES, _MOST_SOUND, _MOST_TEXTS, _MOST_ONCE = 16, 64, 32, 64, 128
_REMEMBERED_TEXTS = range(8, 33)  # bytes of the code: less is decoded as soon as found, more seldom comes again
_NOT_REMEMBERED = frozenset(_HUFFMAN | length for length in range(_LENGTH_BITS) if length not in _REMEMBERED_TEXTS)
_LONGEST_REMEMBERED = 64  # bytes of a front or a name


class HpackError(Exception):
    """The block cannot be decoded: a connection error, COMPRESSION_ERROR (RFC 9113, section 4.3)."""


class HeaderListTooLarge(Exception):
    """The block is decoded and the table in step, but its fields are more than may be kept: a stream error."""


class Head(msgspec.Struct, eq=False):
    """A decoded header block."""

    fields: tuple[Field, ...]  # in their order
    meaning: Any = None  # what the layer above made of the fields; it remembers that here
    fault: str = ""  # why this is no proper field section (RFC 9113, section 8.2); "" when it is one


_PLACE_0 = 128  # where the field of index 0 would stand in a table's list
_NEWEST = _PLACE_0 + _FIRST_DYNAMIC
_MARKS = b"".join(mark_of(*field) for field in _STATIC_FIELDS).rjust(_NEWEST, FLAWED).ljust(256, FLAWED)
_LARGEST = max(map(bytes_of, _STATIC_FIELDS))

# Where the fields at all places of one byte stand after 0 to 7 insertions.
_FURTHER = tuple(bytes(at if at < _NEWEST else min(at + more, 255) for at in range(256)) for more in range(8))


class _Table:
    """The static and the dynamic table in one list. Lives as long as its decoder.

    The field of index i stands at place 128 + i, so that the byte of an indexed field is its place.
    """

    __slots__ = ("capacity", "fields", "inserted", "largest", "marks", "moved", "used")

    def __init__(self, capacity: int) -> None:
        self.fields: list[Field] = [(b"", b"")] * (_PLACE_0 + 1)
        self.fields += _STATIC_FIELDS
        self.marks = bytearray(_MARKS)  # by place; fields from place 256 on have none
        self.capacity = capacity  # bytes of the dynamic table, as RFC 7541, section 4.1, counts them
        self.used = 0  # of the capacity
        self.largest = _LARGEST  # no field that was ever in the table counts more
        self.inserted = 0  # fields in all
        self.moved = False  # it changed; to be reset by who minds

    def insert(self, field: Field, mark: int) -> None:
        """Adds the newest field. One that is larger than the whole table empties it (RFC 7541, section 4.4)."""
        fields, capacity = self.fields, self.capacity
        size = FIELD_BYTES + len(field[0]) + len(field[1])
        used = self.used + size
        while used > capacity and used > size:
            name, value = fields.pop()
            used -= FIELD_BYTES + len(name) + len(value)
        self.moved = True
        if size > capacity:
            self.used = 0
            return
        self.used = used
        if size > self.largest:
            self.largest = size
        fields.insert(_NEWEST, field)
        self.marks.insert(_NEWEST, mark)
        self.marks.pop()
        self.inserted += 1

    def resize(self, capacity: int) -> None:
        """Takes a new capacity, and evicts what it does not hold."""
        self.capacity = capacity
        self.moved = True
        while self.used > capacity:
            self.used -= bytes_of(self.fields.pop())


class Decoder:
    """Decodes what one peer sends. Lives as long as the connection; of no use after an HpackError.

    max_table_bytes: SETTINGS_HEADER_TABLE_SIZE as the peer was told. The table begins with that, or with the
    protocol's 4096 if that is less. Tell less than 4096 only a peer that knows it before its first block: one that
    does not falls out of step.
    max_list_bytes: how much a header list may count (RFC 9113, section 6.5.2: names, values and 32 each).
    """

    def __init__(self, *, max_table_bytes: int = FIRST_TABLE_BYTES, max_list_bytes: int = 16_384) -> None:
        self.known: dict[bytes, Head] = {}  # by block: those that leave the table as it is, until it changes
        self._max_table_bytes = max_table_bytes
        self._max_list_bytes = max_list_bytes
        self._most_fields = max_list_bytes // FIELD_BYTES + 1  # so many are too large for certain
        self._table = _Table(min(max_table_bytes, FIRST_TABLE_BYTES))
        self._room = _KNOWN_BYTES  # for more in `known`
        self._fronts: dict[bytes, _Part] = {}  # by their bytes, until the table changes
        self._last: tuple[bytes, int, int, _Part] = b"", 0, 0, _NOTHING  # a front, its highest place, insertions before
        self._sound: set[bytes] = set()  # marks of proper field sections
        self._name_marks: dict[bytes, bytes] = {}
        self._once: set[int] = set()  # hashes of blocks and strings that came once of late
        self._texts: dict[bytes, bytes] = {}  # by their Huffman code

    @property
    def table(self) -> tuple[Field, ...]:
        """The dynamic table, newest first."""
        return tuple(self._table.fields[_NEWEST:])

    @property
    def table_bytes(self) -> int:
        """What the dynamic table counts (RFC 7541, section 4.1)."""
        return self._table.used

    def decode(self, block: bytes) -> Head:
        """The fields of a whole block: that of a HEADERS frame and all its CONTINUATION frames.

        Look it up in `known` first: what stands there need not be decoded. Raises HpackError, HeaderListTooLarge.
        """
        table = self._table
        table.moved = False
        end = len(block)
        at = end - len(block.lstrip(_ONE_BYTE_INDICES))
        indexed = block[:at]
        try:
            part = self._fronts.get(indexed) or self._read_front(indexed)
            if at < end:
                part = self._read_on(block, at, part)
        except IndexError:
            raise HpackError(
                "expected whole fields and indices within the table, found the end of the block within "
                f"a field or an index above {len(table.fields) - _PLACE_0 - 1}"
            ) from None
        except ValueError as error:
            raise HpackError(str(error)) from None
        if table.moved:
            self._forget()
        fields, marks = part
        if len(fields) * table.largest + 2 * end > self._max_list_bytes:  # no list counts more than that
            self._check_size(fields)
        head = Head(tuple(fields), None, "" if marks in self._sound else self._judge(fields, marks))
        if not table.moved and (at == end or self._again(block)):
            self._remember(block, head, len(fields) - at)
        return head

    def _read_front(self, indexed: bytes) -> _Part:
        """The fields of a front. One that repeats the last, as much further as was inserted since, has its fields."""
        if not indexed:
            return _NOTHING
        fields = self._table.fields
        last, highest, inserted, part = self._last
        further = self._table.inserted - inserted
        if further >= len(_FURTHER) or indexed != last.translate(_FURTHER[further]) or highest + further >= len(fields):
            part, further, highest = self._look_up(indexed), 0, max(indexed)
        if len(indexed) <= _LONGEST_REMEMBERED:
            self._last = indexed, highest + further, self._table.inserted, part
            if len(self._fronts) >= _MOST_FRONTS:
                self._fronts.clear()
            self._fronts[indexed] = part
        return part

    def _look_up(self, indexed: bytes) -> _Part:
        fields = self._table.fields
        places = indexed[: self._most_fields]
        if len(places) < len(indexed):
            fields[max(indexed)]  # IndexError where it stands beyond the table
        return [fields[place] for place in places], places.translate(self._table.marks)

    def _read_on(self, block: bytes, at: int, front: _Part) -> _Part:  # noqa: C901 - a call a field costs more than it
        """The fields of `block`, of which `front` are those before `at`. IndexError: an index or the block is short."""
        end = len(block)
        most = self._most_fields
        table = self._table
        places = table.fields
        name_marks = self._name_marks
        fields, marks = [*front[0]], front[1]
        if not at:
            at = self._resize(block)
        while at < end:
            first = block[at]
            at += 1
            if first >= _INDEXED:
                index = first & _INDEXED_BITS
                if index == _INDEXED_BITS:
                    index, at = _more(block, at, index)
                if not index:
                    raise HpackError("expected an index from 1, found 0")
                field = places[_PLACE_0 + index]
                if len(fields) < most:
                    fields.append(field)
                    marks += table.marks[_PLACE_0 + index : _PLACE_0 + index + 1] or mark_of(*field)
                continue
            if first >= _INCREMENTAL:
                index, bits = first & _INCREMENTAL_BITS, _INCREMENTAL_BITS
            elif first < _RESIZE:
                index, bits = first & _LITERAL_BITS, _LITERAL_BITS
            else:
                raise HpackError("expected a table size update only at its beginning, found one later")
            if index == bits:
                index, at = (index + block[at], at + 1) if block[at] < _MORE else _more(block, at, index)
            if index:
                name = places[_PLACE_0 + index][0]
            else:
                name, at = self._string(block, at)
            length = block[at]
            if length < _LENGTH_BITS:  # not Huffman-coded
                at += 1
                value = block[at : at + length]
                at += length
            elif length in _NOT_REMEMBERED:
                begin = at + 1
                at = begin + (length & _LENGTH_BITS)
                value = huffman.decode(block[begin:at])
            else:
                value, at = self._string(block, at)
            mark = name_marks.get(name) or self._mark_name(name, value)
            if not value.isalnum() and (value.strip(b" \t") != value or 0 in value or 10 in value or 13 in value):
                mark = FLAWED
            field = name, value
            if first >= _INCREMENTAL:
                table.insert(field, mark[0])
            if len(fields) < most:
                fields.append(field)
                marks += mark
        if at > end:
            raise IndexError
        return fields, marks

    def _resize(self, block: bytes) -> int:
        """Follows the table size updates that `block` begins with; returns where they end."""
        at = 0
        while at < len(block) and _RESIZE <= block[at] < _INCREMENTAL:
            capacity = block[at] & _RESIZE_BITS
            at += 1
            if capacity == _RESIZE_BITS:
                capacity, at = _more(block, at, capacity)
            if capacity > self._max_table_bytes:
                raise HpackError(f"expected a table size of at most {self._max_table_bytes} bytes, found {capacity}")
            self._table.resize(capacity)
        return at

    def _string(self, block: bytes, at: int) -> tuple[bytes, int]:
        """(text, where it ends) of the string at `at` (RFC 7541, section 5.2)."""
        first = block[at]
        length = first & _LENGTH_BITS
        at += 1
        if length == _LENGTH_BITS:
            length, at = _more(block, at, length)
        end = at + length
        coded = block[at:end]
        if first < _HUFFMAN:
            return coded, end
        return huffman.decode(coded) if first in _NOT_REMEMBERED or first == 0xFF else self._text(coded), end

    def _text(self, coded: bytes) -> bytes:
        text = self._texts.get(coded)
        if text is None:
            text = huffman.decode(coded)
            if self._again(coded):
                if len(self._texts) >= _MOST_TEXTS:
                    self._texts.clear()
                self._texts[coded] = text
        return text

    def _mark_name(self, name: bytes, value: bytes) -> bytes:
        """The mark of a field of this name with a clean value. That of `te` depends on it, and is not remembered."""
        if name == b"te":
            return mark_of(name, value)
        mark = mark_of(name, b"")
        if len(name) <= _LONGEST_REMEMBERED and len(self._name_marks) < _MOST_NAMES:
            self._name_marks[name] = mark
        return mark

    def _judge(self, fields: Sequence[Field], marks: bytes) -> str:
        fault = fault_of(fields)
        if not fault:
            if len(self._sound) >= _MOST_SOUND:
                self._sound.clear()
            self._sound.add(marks)
        return fault

    def _check_size(self, fields: Sequence[Field]) -> None:
        size = sum(map(bytes_of, fields))
        if size > self._max_list_bytes:
            raise HeaderListTooLarge(
                f"header list: expected at most {self._max_list_bytes} bytes, found {size} or more; send less"
            )

    def _again(self, data: bytes) -> bool:
        """Whether `data` came before, of late: what comes once is not worth remembering."""
        once = self._once
        key = hash(data)
        if key in once:
            return True
        if len(once) >= _MOST_ONCE:
            once.clear()
        once.add(key)
        return False

    def _remember(self, block: bytes, head: Head, literals: int) -> None:
        cost = _KNOWN_BLOCK_BYTES + 8 * len(head.fields) + 2 * len(block) + _KNOWN_LITERAL_BYTES * literals
        if cost > self._room:
            self.known.clear()
            self._room = _KNOWN_BYTES
        if cost <= self._room:
            self._room -= cost
            self.known[block] = head

    def _forget(self) -> None:
        self.known.clear()
        self._room = _KNOWN_BYTES
        self._fronts.clear()


def _more(block: bytes, at: int, value: int) -> tuple[int, int]:
    """(value, where it ends) of an integer that begins with `value` and goes on at `at` (RFC 7541, section 5.1)."""
    for shift in range(0, 7 * _MOST_MORE_BYTES, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < _MORE:
            return value, at
    raise HpackError(f"expected an integer of at most {1 + _MOST_MORE_BYTES} bytes, found a longer one")


def _integer(value: int, bits: int, kind: int) -> bytes:
    """`value` in a first byte of `kind` that has room for `bits`, and as many more as it takes."""
    if value < bits:
        return bytes((kind | value,))
    value -= bits
    more = bytearray((kind | bits,))
    while value >= _MORE:
        more.append(_MORE | value & 0x7F)
        value >>= 7
    more.append(value)
    return bytes(more)


def _plain(text: bytes) -> bytes:
    return _integer(len(text), _LENGTH_BITS, 0) + text


def _compact(text: bytes) -> bytes:
    """`text` as a string, Huffman-coded unless that is longer."""
    coded = huffman.encode(text)
    return _plain(text) if len(coded) > len(text) else _integer(len(coded), _LENGTH_BITS, _HUFFMAN) + coded


class Encoder:
    """Encodes without a dynamic table: a block is the same bytes whenever it is sent, and blocks may be joined."""

    def encode(self, fields: Iterable[Field]) -> bytes:
        """The block of `fields`: indices of the static table, and literals without indexing."""
        return b"".join([_stateless(*field) for field in fields])


def _stateless(name: bytes, value: bytes) -> bytes:
    index = _INDEX_OF_FIELD.get((name, value))
    return bytes((_INDEXED | index,)) if index else _unindexed_name(name) + _plain(value)


@lru_cache(maxsize=256)
def _unindexed_name(name: bytes) -> bytes:
    index = _INDEX_OF_NAME.get(name, 0)
    return _integer(index, _LITERAL_BITS, 0) + (b"" if index else _plain(name))


class IndexingEncoder:
    """Encodes with a dynamic table, as most clients do. Lives as long as its connection.

    max_table_bytes: the most that the table may count, even where the peer allows more.
    huffman: whether strings are Huffman-coded unless that is longer.
    unindexed: names of fields that never enter the table.
    """

    def __init__(
        self, *, max_table_bytes: int = FIRST_TABLE_BYTES, huffman: bool = False, unindexed: Collection[bytes] = ()
    ) -> None:
        self._max_table_bytes = max_table_bytes
        self._string = _compact if huffman else _plain
        self._unindexed = frozenset(unindexed)
        self._capacity = FIRST_TABLE_BYTES
        self._lowest = FIRST_TABLE_BYTES  # that the capacity was since the last block
        self._told = FIRST_TABLE_BYTES  # the capacity that the peer knows of
        self._used = 0
        self._inserted = 0
        self._numbers: dict[Field, int] = {}  # the dynamic table, oldest first: which insertion each was
        self._number_of_name: dict[bytes, int] = {}  # the newest with that name
        self.allow(FIRST_TABLE_BYTES)

    @property
    def table(self) -> tuple[Field, ...]:
        """The dynamic table, newest first."""
        return tuple(reversed(self._numbers))

    def allow(self, table_bytes: int) -> None:
        """Follows the peer's SETTINGS_HEADER_TABLE_SIZE; the next block tells it so (RFC 7541, section 4.2)."""
        self._capacity = min(table_bytes, self._max_table_bytes)
        self._lowest = min(self._lowest, self._capacity)
        self._evict(self._capacity)

    def encode(self, fields: Iterable[Field]) -> bytes:
        """The block of `fields`. To be sent in this order: each block depends on those before it."""
        return b"".join([self._size_updates(), *[self._encode(*field) for field in fields]])

    def _size_updates(self) -> bytes:
        sizes = [self._lowest] if self._lowest < min(self._told, self._capacity) else []
        if sizes or self._capacity != self._told:
            sizes.append(self._capacity)
        self._told = self._lowest = self._capacity
        return b"".join([_integer(size, _RESIZE_BITS, _RESIZE) for size in sizes])

    def _encode(self, name: bytes, value: bytes) -> bytes:
        field = name, value
        index = _INDEX_OF_FIELD.get(field) or self._index(self._numbers.get(field))
        if index:
            return _integer(index, _INDEXED_BITS, _INDEXED)
        index = _INDEX_OF_NAME.get(name) or self._index(self._number_of_name.get(name))
        if name in self._unindexed or bytes_of(field) > self._capacity:
            first = _integer(index, _LITERAL_BITS, 0)
        else:
            first = _integer(index, _INCREMENTAL_BITS, _INCREMENTAL)
            self._insert(field)
        return first + (b"" if index else self._string(name)) + self._string(value)

    def _index(self, number: int | None) -> int:
        return _FIRST_DYNAMIC + self._inserted - number if number else 0

    def _insert(self, field: Field) -> None:
        size = bytes_of(field)
        self._evict(self._capacity - size)
        self._used += size
        self._inserted += 1
        self._numbers[field] = self._number_of_name[field[0]] = self._inserted

    def _evict(self, most: int) -> None:
        while self._used > most:
            field = next(iter(self._numbers))
            number = self._numbers.pop(field)
            self._used -= bytes_of(field)
            if self._number_of_name[field[0]] == number:
                del self._number_of_name[field[0]]
