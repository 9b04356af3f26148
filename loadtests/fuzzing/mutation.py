"""Mutations that keep an input's form: with one wrong length most would end before anything else is looked at."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from serving.transport.http2 import frames

AnyBytes = Callable[[bytes, int], bytes]
Frames = list[tuple[int, int, int, bytes]]  # type, flags, stream, content

_FLAGS = (0, 1, 4, 5, 8, 0x20, 0x2D)
_MOST_FRAMES = 200


def mutated_frames(data: bytes, most: int, seed: int, any_bytes: AnyBytes) -> bytes:
    """Another input like `data`, of at most `most` bytes. any_bytes: what changes bytes of which nothing is known."""
    chance = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    if len(data) < 2 + frames.HEAD_BYTES or chance.random() < 0.2:
        return any_bytes(data, most)
    first, found, rest = data[:1], *_frames_of(data[1:])
    if not found:
        return any_bytes(data, most)
    for _ in range(chance.choice((1, 1, 2, 4))):
        _change(found, chance, any_bytes)
    if chance.random() < 0.05:
        first = bytes((chance.randrange(256),))
    return (first + b"".join(_bytes_of(each) for each in found) + rest)[:most]


def _frames_of(wire: bytes) -> tuple[Frames, bytes]:
    """The whole frames at the beginning of `wire`, and the rest. A preface counts as a frame of no type."""
    found: Frames = []
    at = 0
    if wire.startswith(frames.PREFACE):
        at = len(frames.PREFACE)
        found.append((-1, 0, 0, frames.PREFACE))
    while at + frames.HEAD_BYTES <= len(wire) and len(found) < _MOST_FRAMES:
        word, flags, stream_id = frames.HEAD.unpack_from(wire, at)
        end = at + frames.HEAD_BYTES + (word >> 8)
        if end > len(wire):
            break
        found.append((word & 0xFF, flags, stream_id, wire[at + frames.HEAD_BYTES : end]))
        at = end
    return found, wire[at:]


def _bytes_of(each: tuple[int, int, int, bytes]) -> bytes:
    kind, flags, stream_id, content = each
    return content if kind < 0 else frames.frame(kind, flags, stream_id & 0xFFFFFFFF, content)


def _change(found: Frames, chance: random.Random, any_bytes: AnyBytes) -> None:
    at = chance.randrange(len(found))
    kind, flags, stream_id, content = found[at]
    how = chance.randrange(8)
    if how == 0:
        found[at] = kind, flags, stream_id, any_bytes(content, len(content) + 64)
    elif how == 1:
        found[at] = kind, chance.choice(_FLAGS), stream_id, content
    elif how == 2:
        others = (0, 1, stream_id + 1, stream_id + 2, max(0, stream_id - 2), 2**31 - 1)
        found[at] = kind, flags, chance.choice(others), content
    elif how == 3:
        found[at] = chance.randrange(11), flags, stream_id, content
    elif how == 4 and len(found) > 1:
        del found[at]
    elif how == 5:
        found.insert(chance.randrange(len(found) + 1), (kind, flags, stream_id + chance.choice((0, 0, 2)), content))
    elif how == 6:
        other = chance.randrange(len(found))
        found[at], found[other] = found[other], found[at]
    else:
        cut = chance.randrange(len(content) + 1)
        found[at : at + 1] = [(kind, flags & ~5, stream_id, content[:cut]), (kind, flags, stream_id, content[cut:])]


def random_bytes(chance: random.Random) -> AnyBytes:
    """What changes bytes where no fuzzer does it: a few of them are others, left out, put in or repeated."""

    def change(data: bytes, most: int) -> bytes:
        made = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 4))):
            at, how = chance.randrange(len(made) + 1), chance.randrange(4)
            if how == 0 and at < len(made):
                made[at] = chance.randrange(256)
            elif how == 1:
                made[at:at] = chance.randbytes(chance.randrange(1, 5))
            elif how == 2:
                del made[at : at + chance.randrange(1, 9)]
            else:
                begin = chance.randrange(len(made) + 1)
                made[at:at] = made[begin : begin + chance.randrange(1, 40)]
        return bytes(made[:most])

    return change


def mutated_message(data: bytes, most: int, seed: int, any_bytes: AnyBytes, kind: Any) -> bytes:
    """The same for an input whose bytes behind the first are a protobuf message of `kind`: some fields are others."""
    chance = random.Random(seed)  # noqa: S311 - as above
    if len(data) < 2 or chance.random() < 0.3:
        return any_bytes(data, most)
    try:
        message = kind.FromString(data[1:])
    except DecodeError:
        return any_bytes(data, most)
    for _ in range(chance.choice((1, 1, 2, 3))):
        _change_field(message, chance, any_bytes)
    first = data[:1] if chance.random() < 0.9 else bytes((chance.randrange(256),))
    made = first + bytes(message.SerializeToString())
    return made if len(made) <= most else data


def _change_field(message: Any, chance: random.Random, any_bytes: AnyBytes) -> None:
    field = chance.choice(message.DESCRIPTOR.fields)
    if field.is_repeated:
        _change_repeated(message, field, chance, any_bytes)
    elif field.message_type is not None:
        _change_field(getattr(message, field.name), chance, any_bytes)
    elif chance.random() < 0.1:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(field, getattr(message, field.name), chance, any_bytes))


def _change_repeated(message: Any, field: FieldDescriptor, chance: random.Random, any_bytes: AnyBytes) -> None:
    values = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _change_field(values[chance.choice(_KEYS)], chance, any_bytes)
    elif len(values) > 1 and chance.random() < 0.3:
        del values[chance.randrange(len(values))]
    elif field.message_type is not None:
        _change_field(chance.choice(values) if values and chance.random() < 0.8 else values.add(), chance, any_bytes)
    elif values and chance.random() < 0.6:
        at = chance.randrange(len(values))
        values[at] = _value(field, values[at], chance, any_bytes)
    elif len(values) < _MOST_VALUES:
        values.append(values[0] if values and chance.random() < 0.5 else _value(field, None, chance, any_bytes))


def _value(field: FieldDescriptor, value: Any, chance: random.Random, any_bytes: AnyBytes) -> Any:
    if field.type == FieldDescriptor.TYPE_STRING:
        return any_bytes((value or "x").encode(), 200).decode("utf-8", "ignore")
    if field.type == FieldDescriptor.TYPE_BYTES:
        return any_bytes(value or b"x", 400)
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return chance.choice(_FLOATS)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return not value
    return chance.choice(_SMALL if field.type in _UNSIGNED else (*_SMALL, -1, -(2**31)))


_KEYS = ("timeout", "classification", "shared_memory_region", "x")
_FLOATS = (0.0, 1.0, -2.5, 1e30, float("nan"), float("inf"), -float("inf"))
_SMALL = (0, 1, 2, 3, 1000, 65_536, 2**31 - 1)
_UNSIGNED = (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64)
_MOST_VALUES = 20
