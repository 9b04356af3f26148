"""Batch against online, bit for bit (03.1): every feature of the library, on panels that live a hard life.

Question: does any bit differ between what `features.batch` computes over a whole panel and what `features.online` had
at the knowledge time of each row? Method: random panels with gaps, values that come up to 30 rows late and values that
change once or twice within 300 rows; a panel's life is told again event by event, whole rows and single instruments in
turn, with restarts in between that warm up from what was known then; beside it the same panel is computed in parts,
cut at random rows, by one thread and by two. A point is one feature of one instrument at one row. Every feature of the
library takes part: those of sessions and those of quotes, in cases of their own.

Limits: one machine, so one numeric profile; the cases are the same at every run (fixed seeds).
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from features.batch import compute
from features.definition import Clock, FeatureSet
from features.panel import Panel
from loadtests.feature_lines.bars import row
from loadtests.feature_lines.chosen import all_of
from loadtests.feature_lines.panels import random_panels
from loadtests.feature_lines.replays import Replay, differing_bits
from loadtests.harness.progress import say
from loadtests.harness.results import Row

Floats = npt.NDArray[np.float64]

ENOUGH = 10_000_000
RESTARTS = 4


@dataclass(frozen=True)
class Case:
    """One panel. threads: that compute its parts. parts: how many. gaps, late, restated: shares of all cells."""

    clock: Clock
    seed: int
    threads: int
    parts: int
    rows: int = 1000
    instruments: int = 40
    gaps: float = 0.002
    late: float = 0.001
    restated: float = 0.002


CASES = (
    Case("session", seed=1, threads=1, parts=1),
    Case("session", seed=2, threads=2, parts=7),
    Case("session", seed=3, threads=2, parts=40, gaps=0.02, restated=0.01),
    Case("session", seed=4, threads=1, parts=5, late=0.01, instruments=60),
    Case("event", seed=5, threads=2, parts=9, rows=4000, instruments=20),
)


@dataclass(frozen=True)
class Compared:
    """What one case gave: points, those that have a value, those whose bits differ."""

    points: int
    present: int
    differing: int


def rows() -> list[Row]:
    """The row of this module."""
    found = []
    for number, case in enumerate(CASES, start=1):
        say(f"case {number} of {len(CASES)}: {case}")
        found.append(compared(case))
    points, present = sum(each.points for each in found), sum(each.present for each in found)
    differing = sum(each.differing for each in found)
    what = (
        f"batch against online, {points:,} points of {len(all_of('session')) + len(all_of('event'))} features, "
        f"{present:,} of them values; differing"
    )
    return [row("03.1", what, float(differing), "points", ok=differing == 0 and points >= ENOUGH)]


def compared(case: Case) -> Compared:
    """Computes a case both ways."""
    feature_set = all_of(case.clock)
    panels = random_panels(
        feature_set.features,
        rows=case.rows,
        instruments=case.instruments,
        seed=case.seed,
        gap_share=case.gaps,
        late_share=case.late,
        restated_share=case.restated,
    )
    rng = np.random.default_rng(case.seed)
    restarts = frozenset(rng.integers(1, case.rows, RESTARTS).tolist())
    whole = in_parts(feature_set, panels, cuts(rng, case.rows, case.parts), threads=case.threads)
    replay = Replay(feature_set, panels, seed=case.seed, restarts=restarts)
    differing = sum(differing_bits(found, whole[at]) for at, found in replay.rows())
    return Compared(whole.size, int(np.isfinite(whole).sum()), differing)


def cuts(rng: np.random.Generator, rows: int, parts: int) -> list[tuple[int, int]]:
    """First and last (exclusive) row of `parts` parts, none of them empty."""
    inner = np.sort(rng.choice(np.arange(1, rows), parts - 1, replace=False)).tolist()
    edges = [0, *inner, rows]
    return list(pairwise(edges))


def in_parts(
    feature_set: FeatureSet, panels: Mapping[str, Panel], parts: list[tuple[int, int]], *, threads: int
) -> Floats:
    """The features [time, instrument, feature], computed part by part by several threads at once."""

    def part(span: tuple[int, int]) -> Floats:
        return np.ascontiguousarray(compute(feature_set, panels, first=span[0], last=span[1]).values)

    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(part, parts)))
