"""What evidence refuses, and what to do about it.

    EvidenceError (a PromotionError)
    ├── ShapeError         arrays that do not fit together: align them on sessions and instruments
    ├── GapError           a NaN or infinity where a number must be, by row and column: fill the source, never the gap
    ├── TooFewError        fewer observations, trials or blocks than the statistic needs: bring a longer record
    ├── ConstantError      returns without variation: a Sharpe ratio of them says nothing
    ├── NotValidError      the inputs are well formed but the formula has no value there: report it as not valid
    ├── RuinError          a book lost more than its capital: lower the leverage
    └── RecordError        bytes that are no evidence, or of another schema: rebuild the release

A Sharpe ratio of the wrong frequency is a `TypeError` (`UnitsError`), not a value to be repaired.
Each message says what was expected, what was found and what to do next.
"""

from __future__ import annotations

from promotion.errors import PromotionError


class EvidenceError(PromotionError):
    """Anything this room refuses to measure."""


class ShapeError(EvidenceError):
    """Arrays that do not fit together."""


class GapError(EvidenceError):
    """A NaN or infinity where a number must be."""


class TooFewError(EvidenceError):
    """Fewer observations, trials or blocks than the statistic needs."""


class ConstantError(EvidenceError):
    """Returns without variation."""


class NotValidError(EvidenceError):
    """The formula has no value for these inputs (a negative variance, a benchmark above the ratio)."""


class RuinError(EvidenceError):
    """A book lost all of its capital, or more, in one session."""


class RecordError(EvidenceError):
    """Bytes that are no evidence, or of a schema this build does not read."""


class UnitsError(TypeError):
    """An annualised Sharpe ratio, or a bare number, where a per-period one belongs (or the other way round)."""
