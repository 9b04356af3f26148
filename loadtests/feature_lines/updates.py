"""One bar of one instrument (03.6), and the cut-off of a thousand (03.7), online.

Question: how long does a publisher compute when a bar comes, and at the cut-off? Method: rings warmed with the longest
window; 03.6 takes one instrument's bar by `OnlineFeatures.update` and has its per-instrument features back, instruments
in turn, a row being as many bars as there are instruments; median and p99 of single calls, wall clock. 03.7 has taken a
row of every instrument, and asks for the cross-sections (`latest`) once the instruments' own features are there; median
of single calls. Load: one process, no other load; NumPy on one thread.

Limits: bars are made up; nothing is sent.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

import numpy as np

from features.definition import FeatureSet
from features.online import OnlineFeatures
from features.panel import Panel
from loadtests.feature_lines.bars import row
from loadtests.feature_lines.chosen import across_instruments, per_instrument
from loadtests.feature_lines.panels import random_panels
from loadtests.harness.progress import say
from loadtests.harness.results import Row

COUNT, MOST_US = 40, 400.0
NAMES, MOST_MS = 1000, 5.0
INSTRUMENTS, ROWS = 20, 100
CUT_OFFS = 100


def rows() -> list[Row]:
    """Every row of this module."""
    say("one instrument's bar")
    some = _updates_us(per_instrument(COUNT))
    every = per_instrument()
    all_own = _updates_us(every)
    say("the cut-off of a thousand")
    crossed = across_instruments()
    cut_off, whole = _cut_offs_ms(crossed)
    typical = median(some)
    return [
        row("03.6a", f"update of {COUNT} features of one instrument, median", typical, "µs", ok=typical <= MOST_US),
        row("03.6b", "the same, p99 (reported)", float(np.percentile(some, 99)), "µs", ok=True),
        row("03.6c", f"update of all {len(every)}, median (reported)", median(all_own), "µs", ok=True),
        row(
            "03.7a",
            f"{len(crossed)} cross-sectional features of {NAMES:,} names, median",
            median(cut_off),
            "ms",
            ok=median(cut_off) <= MOST_MS,
        ),
        row(
            "03.7b",
            "the same and the own features they read, from a whole new row (reported)",
            median(whole),
            "ms",
            ok=True,
        ),
    ]


def _updates_us(feature_set: FeatureSet) -> list[float]:
    """The wall time of each update, µs."""
    panels = random_panels(feature_set.features, rows=feature_set.max_window + ROWS, instruments=INSTRUMENTS, seed=1)
    online, first = _warm(feature_set, panels)
    lead = next(iter(panels.values()))
    taken = []
    for at in range(first, len(lead.event_times_ns)):
        event = int(lead.event_times_ns[at])
        for column, instrument in enumerate(lead.instruments):
            bar = {name: float(each.values[at, column]) for name, each in panels.items()}
            start = time.perf_counter_ns()
            online.update(instrument, event, bar)
            taken.append((time.perf_counter_ns() - start) / 1e3)
    return taken


def _cut_offs_ms(feature_set: FeatureSet) -> tuple[list[float], list[float]]:
    """The wall time of each cut-off, and of each row with its cut-off, ms."""
    panels = random_panels(feature_set.features, rows=feature_set.max_window + CUT_OFFS, instruments=NAMES, seed=2)
    online, first = _warm(feature_set, panels)
    lead = next(iter(panels.values()))
    cut_offs, wholes = [], []
    for at in range(first, len(lead.event_times_ns)):
        values = {name: each.values[at] for name, each in panels.items()}
        start = time.perf_counter_ns()
        online.push(int(lead.event_times_ns[at]), values)
        between = time.perf_counter_ns()
        online.latest()
        cut_offs.append((time.perf_counter_ns() - between) / 1e6)
        wholes.append((between - start) / 1e6)
    return cut_offs, wholes


def _warm(feature_set: FeatureSet, panels: Mapping[str, Panel]) -> tuple[OnlineFeatures, int]:
    """Rings that have taken the longest window, and the row that comes next."""
    lead = next(iter(panels.values()))
    online = OnlineFeatures(feature_set, lead.instruments)
    for at in range(feature_set.max_window):
        online.take(int(lead.event_times_ns[at]), {name: each.values[at] for name, each in panels.items()})
    online.latest()
    return online, feature_set.max_window
