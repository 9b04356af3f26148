"""What a run is expected to take, learnt from the runs before it."""

from __future__ import annotations

_SMOOTHING = 0.2  # weight of the newest run


class RunCost:
    """One release's run times by batch size, in powers of two. Lives as long as the release is loaded.

    A size that was never run is judged by the nearest one that was: in proportion from a smaller one, as it is from a
    bigger one.

    >>> cost = RunCost()
    >>> cost.learn(4, 1000)
    >>> cost.expected_ns(4), cost.expected_ns(64), cost.expected_ns(1)
    (1000.0, 16000.0, 1000.0)
    """

    def __init__(self) -> None:
        self._by_size: dict[int, float] = {}

    def learn(self, rows: int, took_ns: int) -> None:
        """A run of `rows` rows took so long."""
        size = rows.bit_length()
        known = self._by_size.get(size, float(took_ns))
        self._by_size[size] = known + _SMOOTHING * (took_ns - known)

    def expected_ns(self, rows: int) -> float:
        """How long a run of `rows` rows should take; 0 before anything is known."""
        size = rows.bit_length()
        if not self._by_size or size in self._by_size:
            return self._by_size.get(size, 0.0)
        smaller = [known for known in self._by_size if known < size]
        if smaller:
            return self._by_size[max(smaller)] * float(2 ** (size - max(smaller)))
        return self._by_size[min(self._by_size)]
