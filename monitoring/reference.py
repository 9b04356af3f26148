"""What live inputs are compared with: the reference's quantile cells, one set a column, frozen at promotion.

Rows are kept as counts a cell, never as values: counts of sessions add up to those of a window, and they say nothing
about a position. The cells are those of `promotion.evidence.nulls`, so that the null laws hold for what is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monitoring.errors import ReferenceRefused
from promotion.evidence.drift import count_bins, quantile_bins
from promotion.evidence.errors import EvidenceError
from promotion.evidence.nulls import CELLS

Counts = npt.NDArray[np.int64]
MISSING = CELLS  # the place behind the last cell counts what is NaN


@dataclass(frozen=True, eq=False)
class Reference:
    """The quantile cells of a release's reference.

    names: of the columns watched, in order. edges: float64 [column, CELLS − 1], rising; a value equal to an edge
    belongs to the cell above it. counts: int64 [column, CELLS + 1], the reference's own rows a cell, the missing ones
    last.
    """

    names: tuple[str, ...]
    edges: npt.NDArray[np.float64]
    counts: Counts

    @classmethod
    def of(cls, names: Sequence[str], values: npt.NDArray[np.floating[Any]]) -> Reference:
        """The cells of `values` [..., column], NaN where missing.

        ReferenceRefused, by name, for a column that has too few rows, an infinity, or one value only: nothing could
        ever be said to differ from it.
        """
        if values.shape[-1] != len(names):
            raise ReferenceRefused(
                f"expected a reference of {len(names)} columns ({', '.join(names)}), found {values.shape[-1]}; "
                "rebuild the release"
            )
        rows = np.asarray(values, dtype=np.float64).reshape(-1, len(names))
        edges = np.concatenate([_edges(name, rows[:, [column]]) for column, name in enumerate(names)])
        return cls(tuple(names), edges, count_bins(edges, rows))

    def count(self, values: npt.NDArray[np.floating[Any]]) -> Counts:
        """How the rows of `values` [row, column] fall into the cells: int64 [column, CELLS + 1]; NaN counts last."""
        return count_bins(self.edges, values)


def _edges(name: str, column: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    try:
        return quantile_bins(column, CELLS)
    except EvidenceError as error:
        raise ReferenceRefused(f"{name}: its reference cannot be watched against ({error})") from error
