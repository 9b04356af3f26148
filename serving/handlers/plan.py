"""Requests recognised by their bytes: the seam by which a protocol's handler reaches the engine's fast path.

A request with inline rows is a prefix (names, shapes, whatever else it says) and the bytes of its features. Clients
repeat the prefix, so a handler parses it once:

    def infer(self, call, body):
        plan = self._plans.find(body)
        if plan is not None:
            plan.form.take(call, body[plan.at :])
            return
        request = parse(...)                              # the whole message, by protobuf
        route = self._scorer.route(request.model_name)    # Draining, UnknownSignal
        form = self._scorer.form(route, model, n, write)  # n rows a request; write: Answer -> bytes
        self._plans.learn(ModelInferRequest, RAW_INPUT_CONTENTS, body, features, form)
        form.take(call, features)

Many that came in together go the same way together: `find_all`, then `form.take_all`.

`self._plans = scorer.plans()`, once; the scorer drops what a book holds at every swap and when it drains. `write` gives
the reply to any answer of that request, or raises the ServingError that it is to be refused with (a halted signal, a
score that may not leave); it must compare equal for requests whose replies are equal, and must put the scores' bytes
into the reply in one piece. It writes the first reply of a form, then two more, to find what is constant in them, and
then only answers that are not OK throughout. The engine has the features' values checked, the deadline and a cancel
honoured, the rows recorded and scored by shadow releases. Whoever takes a request in counts it (`scorer.counts`).

Recognition is exact. A plan is learned from a body whose part before the features' field is a whole message by itself
(protobuf is asked); hence every body of that length which begins with the same bytes, up to and including the tag and
the length of the features' field, is that message with other features.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

MOST_PLANS = 4096
MOST_BYTES = 8 * 2**20  # of prefixes
_LENGTH_DELIMITED = 2

F = TypeVar("F")


class Plan(Generic[F]):
    """One known prefix. Lives until the next swap.

    prefix: every byte before the features. at: where they begin. form: what requests of this shape have in common.
    """

    __slots__ = ("at", "form", "length", "prefix")

    def __init__(self, prefix: bytes, length: int, form: F) -> None:
        self.prefix = prefix
        self.at = len(prefix)
        self.length = length
        self.form = form


class Plans(Generic[F]):
    """The plans of one method. It is emptied when it is full: plans that are in use are soon learned again.

    most, most_bytes: how many plans, and bytes of prefixes, it holds; most = 0: none, every request is parsed.
    latest: total length → the plan of that length learned last; for a handler that spares itself a call of `find`.
    """

    def __init__(self, *, most: int = MOST_PLANS, most_bytes: int = MOST_BYTES) -> None:
        self.latest: dict[int, Plan[F]] = {}
        self.closed = False
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._by_prefix: dict[bytes, Plan[F]] = {}

    def __len__(self) -> int:
        return len(self._by_prefix)

    def find(self, body: bytes) -> Plan[F] | None:
        """The plan of `body`, or None when it has to be parsed."""
        plan = self.latest.get(len(body))
        if plan is None or body.startswith(plan.prefix):
            return plan
        other = self._by_prefix.get(body[: plan.at])
        return other if other is not None and other.length == len(body) else None

    def find_all(self, bodies: npt.NDArray[np.uint8]) -> Plan[F] | None:
        """The plan of all of `bodies`, uint8 [n, bytes], or None where they have not the same."""
        plan = self.find(bodies[0].tobytes())
        if plan is None or bodies[:, : plan.at].tobytes() != plan.prefix * len(bodies):
            return None
        return plan

    def learn(self, kind: Any, field: int, body: bytes, features: bytes, form: F) -> None:
        """Remembers what a `kind` says whose `field` held `features`, if they are the last field of `body`."""
        prefix = prefix_of(kind, field, body, features)
        if prefix is None or self.closed or len(prefix) > self._most_bytes:
            return
        if len(self._by_prefix) >= self._most or self._bytes + len(prefix) > self._most_bytes:
            self.drop()
        if self._most:
            self._keep(Plan(prefix, len(body), form))

    def drop(self) -> None:
        """Forgets every plan."""
        self.latest.clear()
        self._by_prefix.clear()
        self._bytes = 0

    def close(self) -> None:
        """Forgets every plan and learns none any more."""
        self.closed = True
        self.drop()

    def _keep(self, plan: Plan[F]) -> None:
        if plan.prefix not in self._by_prefix:
            self._bytes += plan.at
        self._by_prefix[plan.prefix] = plan
        self.latest[plan.length] = plan


def prefix_of(kind: Any, field: int, body: bytes, payload: bytes) -> bytes | None:
    """What stands before `payload` in `body`, where that is a `kind` whose last field is number `field`; else None."""
    head = _varint(field << 3 | _LENGTH_DELIMITED) + _varint(len(payload))
    before = len(body) - len(payload) - len(head)
    if not payload or before < 0 or body[before:] != head + payload:
        return None
    try:
        kind.FromString(body[:before])
    except DecodeError:  # the field only seemed to begin there
        return None
    return body[: before + len(head)]


def _varint(number: int) -> bytes:
    """The shortest encoding of a number that is not negative."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)
