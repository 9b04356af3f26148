"""The Huffman code of HPACK's strings (RFC 7541, section 5.2 and appendix B).

The code is canonical: codes of one length count upwards with the byte they stand for, and a longer code goes on where
the shorter ones end. So the lengths are the whole table.

Decoding takes a byte at a time: a state is a code that has begun, and holds for each next byte the text that it
completes and the state that it leads to. There are 256 states of 256 steps; each is filled when it is first met
(about 0.1 ms, once in a process), so that importing costs nothing and plain text fills a few dozen.
"""

from __future__ import annotations

from functools import cache
from typing import Any

_BYTES_BY_CODE_BITS = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\0$@[]~",
    14: b"^}",
    15: b"<`{",
    19: b"\\\xc3\xd0",
    20: bytes.fromhex("808283a2b8c2e0e2"),
    21: bytes.fromhex("99a1a7acb0b1b3d1d8d9e3e5e6"),
    22: bytes.fromhex("8184858688929a9ca0a3a4a9aaadb2b5b9babbbdbec4c6e4e8e9"),
    23: bytes.fromhex("0187898a8b8c8d8f93959697989b9d9ea5a6a8aeafb4b6b7bcbfc5e7ef"),
    24: bytes.fromhex("098e9091949fabced7e1eced"),
    25: bytes.fromhex("c7cfeaeb"),
    26: bytes.fromhex("c0c1c8c9cacdd2d5dadbeef0f2f3ff"),
    27: bytes.fromhex("cbccd3d4d6dddedff1f4f5f6f7f8fafbfcfdfe"),
    28: bytes.fromhex("020304050607080b0c0e0f1011121314151718191a1b1c1d1e1f7fdcf9"),
    30: b"\n\r\x16",  # the fourth code of 30 bits, all ones, is EOS
}
_MOST_PADDING_BITS = 7
_MAY_END = 256  # the place in a state's steps that says whether a string may end there

_Steps = list[Any]  # by byte: (text, steps of the next state), or None where it makes EOS whole; at _MAY_END a bool
_FIRST: _Steps = []  # the steps of the state in which no code has begun


class _State:
    """A code that has begun: a node of the code's tree. Lives as long as the process."""

    __slots__ = ("branches", "may_end", "steps")

    def __init__(self, steps: _Steps, may_end: bool) -> None:
        self.steps = steps  # empty until the state is first met
        self.may_end = may_end  # what has begun is padding: at most 7 ones
        self.branches: list[_State | bytes | None] = [None, None]  # by bit; a byte where its code ends

    def fill(self) -> None:
        """Follows each of the 256 next bytes, bit by bit."""
        reached: list[_Step] = [(b"", self)]
        for _ in range(8):
            reached = [_follow(step, bit) for step in reached for bit in (0, 1)]
        self.steps.extend(step and (step[0], step[1].steps) for step in reached)
        self.steps.append(self.may_end)


_Step = tuple[bytes, _State] | None


def _follow(step: _Step, bit: int) -> _Step:
    """Where one more bit leads; None from EOS on."""
    branch = step and step[1].branches[bit]
    if step is None or branch is None:
        return None
    return (step[0] + branch, _states()[0]) if isinstance(branch, bytes) else (step[0], branch)


@cache
def _codes() -> tuple[str, ...]:
    """By byte: its code, as a string of 0 and 1."""
    codes = [""] * 256
    code = bits = 0
    for length, of_this_length in _BYTES_BY_CODE_BITS.items():
        code <<= length - bits
        bits = length
        for byte in of_this_length:
            codes[byte] = f"{code:0{length}b}"
            code += 1
    return tuple(codes)


@cache
def _states() -> tuple[_State, ...]:
    """The inner nodes of the code's tree, the root first."""
    states = {"": _State(_FIRST, may_end=True)}
    for byte, code in enumerate(_codes()):
        for length in range(1, len(code)):
            begun = code[:length]
            if begun not in states:
                states[begun] = _State([], may_end="0" not in begun and length <= _MOST_PADDING_BITS)
                states[begun[:-1]].branches[int(begun[-1])] = states[begun]
        states[code[:-1]].branches[int(code[-1])] = bytes((byte,))
    return tuple(states.values())


def encode(text: bytes) -> bytes:
    """`text` in the code, padded with ones to whole bytes."""
    codes = _codes()
    bits = "".join([codes[byte] for byte in text])
    if not bits:
        return b""
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def decode(coded: bytes) -> bytes:
    """What `coded` stands for, at most 8/5 as long.

    ValueError where RFC 7541, section 5.2, demands one: EOS in the string; padding that is longer than 7 bits or not
    all ones.
    """
    while True:
        steps = _FIRST
        texts = []
        try:
            for byte in coded:
                text, steps = steps[byte]
                texts.append(text)
            if steps[_MAY_END]:
                return b"".join(texts)
        except IndexError:  # a state that was never met before: fill it and begin again
            next(state for state in _states() if state.steps is steps).fill()
            continue
        except TypeError:
            raise ValueError("Huffman code: expected no EOS in a string, found one") from None
        raise ValueError("Huffman code: expected padding of at most 7 bits, all ones, found something else")
