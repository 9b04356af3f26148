"""The terms of a source: where data comes from, what may be done with it, and when it is known."""

from __future__ import annotations

from dataclasses import dataclass

from features.errors import IngestError

NS_PER_MINUTE = 60_000_000_000


@dataclass(frozen=True)
class SourceTerms:
    """A declared source of inputs.

    calendar: the exchange calendar its dates are sessions of.
    delay_ns: the decision delay. A row for event time t is used from t + delay on; when a file states no knowledge
        time, that instant is it. A row known later than that is late: absent from the decision at t + delay.
    close_is: the input that a file's column `close` is. `close_adjusted_final` says that the prices were adjusted
        with knowledge of later splits and dividends, so that only scale-invariant features may use them.
    """

    description: str
    licence: str
    calendar: str
    delay_ns: int
    close_is: str = "close_adjusted_final"

    def __post_init__(self) -> None:
        if self.delay_ns < 0:
            raise IngestError(
                f"source: expected a delay of at least 0 ns, found {self.delay_ns}; nothing is known before it happened"
            )
