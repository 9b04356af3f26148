"""A row of the table out of interleaved rounds: one number of one probe, or of one over another, against its bound."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from loadtests.harness.results import Row
from loadtests.harness.rounds import QUIET, NoReading, Readings
from loadtests.serving.bars import failed, row


@dataclass(frozen=True)
class Judged:
    """One row.

    probe, over: names of probes; over "" for no ratio. field: of Reading. most: whether the bound is the most that it
    may be, or the least. client: who asked, in words.
    """

    id: str
    what: str
    probe: str
    field: str
    unit: str
    bound: float
    most: bool = False
    over: str = ""
    client: str = "h2load, one row repeated"

    def row(self, readings: Readings) -> Row:
        """The row, as the rounds gave it: the median over them, and in brackets the least and the most."""
        try:
            values = self._values(readings)
        except NoReading as error:
            return failed(self.id, str(error))
        value = median(values)
        what = f"{self.what}, {self.client} ({min(values):,.4g} to {max(values):,.4g}){self._neighbours(readings)}"
        return row(self.id, what, value, self.unit, ok=value <= self.bound if self.most else value >= self.bound)

    def _neighbours(self, readings: Readings) -> str:
        others = readings.others(self.probe, self.over or self.probe)
        return f"; others used up to {others:.0%} of the two cores meanwhile" if others > QUIET else ""

    def _values(self, readings: Readings) -> list[float]:
        if self.over:
            return readings.ratios(self.probe, self.over, self.field)
        return readings.all(self.probe, self.field)
