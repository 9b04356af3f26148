"""How many rows a second may be scored: a bucket that refills as time passes."""

from __future__ import annotations

import math

_NS = 1_000_000_000


class Allowance:
    """A release's limit in one worker. It starts full, and holds one second's worth.

    per_second: rows; infinite for no limit.

    >>> allowance = Allowance(10)
    >>> allowance.take(10, 0), allowance.take(1, 0), allowance.take(1, 100_000_000)
    (True, False, True)
    """

    def __init__(self, per_second: float = math.inf) -> None:
        self.per_second = per_second
        self._left = per_second
        self._at_ns: int | None = None

    def take(self, rows: int, now_ns: int) -> bool:
        """Whether `rows` more may be scored at `now_ns` (monotonic); then they are taken off."""
        if self.per_second == math.inf:
            return True
        passed = 0 if self._at_ns is None else now_ns - self._at_ns
        self._at_ns = now_ns
        self._left = min(self.per_second, self._left + passed * self.per_second / _NS)
        if rows > self._left:
            return False
        self._left -= rows
        return True
