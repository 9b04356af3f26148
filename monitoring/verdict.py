"""A verdict: one measurement held against one threshold, and why it came out as it did."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

Rule = Literal["desk", "calibrated"]
RULES: tuple[Rule, ...] = get_args(Rule)
Fault = Literal["input", "model"]
FAULTS: tuple[Fault, ...] = get_args(Fault)
State = Literal["clear", "breach", "warming"]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule says of one detector's measurement.

    rule: whose threshold. fault: what a breach would mean: bad inputs, or a model that no longer performs.
    detector, subject: what was measured, and of what (the worst column; "net return"; ...).
    state: `warming` while a window is not full yet. A value that should be there and is not is a breach.
    value, threshold: in the detector's own unit; no value is None. recovered: the value is so far inside that an
    earlier breach is over; between the threshold and there, a breach is neither confirmed nor over (hysteresis).
    why: one sentence with the figures.
    """

    rule: Rule
    fault: Fault
    detector: str
    subject: str
    state: State
    value: float | None
    threshold: float
    recovered: bool
    why: str

    @property
    def breached(self) -> bool:
        """Whether the threshold is crossed, or the value is missing."""
        return self.state == "breach"
