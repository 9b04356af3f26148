"""What a run is expected to take, learnt from the runs before it."""

from __future__ import annotations

_SLOWER, _FASTER = 0.1, 0.5  # weight of a run that took longer, or less long, than was expected
_SURPRISE = 4.0  # a run counts as at most this many times what was expected: a pause of the machine is no cost
_SIZES = 40  # powers of two


class RunCost:
    """One release's run times per row, by batch size in powers of two. Lives as long as the release is loaded.

    Calls are refused by what is expected, so a pause of the machine must not pass for a cost: a size is known after
    two runs, by the faster one, and rises slowly. A size that is not known is judged by the nearest one that is: in
    proportion from a smaller one, as the whole of it from a bigger one.

    >>> cost = RunCost()
    >>> cost.learn(4, 50_000), cost.expected_ns(4)
    (None, 0.0)
    >>> cost.learn(4, 1000)
    >>> cost.expected_ns(4), cost.expected_ns(64), cost.expected_ns(1)
    (1000.0, 16000.0, 1000.0)
    """

    __slots__ = ("_first", "_row_ns")

    def __init__(self) -> None:
        self._row_ns = [0.0] * _SIZES  # by bit length of the number of rows; 0 for a size that is not known
        self._first = [0.0] * _SIZES

    def learn(self, rows: int, took_ns: int) -> None:
        """A run of `rows` rows took so long."""
        size = rows.bit_length()
        row_ns = took_ns / rows
        known = self._row_ns[size]
        if not known:
            self._begin(size, row_ns)
        elif row_ns < known:
            self._row_ns[size] = known + _FASTER * (row_ns - known)
        else:
            self._row_ns[size] = known + _SLOWER * (min(row_ns, _SURPRISE * known) - known)

    def expected_ns(self, rows: int) -> float:
        """How long a run of `rows` rows should take; 0 before anything is known."""
        return rows * self._row_ns[rows.bit_length()] or self._guess_ns(rows)

    def _begin(self, size: int, row_ns: float) -> None:
        first = self._first[size]
        self._first[size] = row_ns
        if first:
            self._row_ns[size] = min(first, row_ns)

    def _guess_ns(self, rows: int) -> float:
        if not rows:
            return 0.0
        size = rows.bit_length()
        for smaller in range(size - 1, 0, -1):
            if self._row_ns[smaller]:
                return rows * self._row_ns[smaller]
        for bigger in range(size + 1, _SIZES):
            if self._row_ns[bigger]:
                return (1 << (bigger - 1)) * self._row_ns[bigger]
        return 0.0
