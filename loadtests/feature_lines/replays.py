"""A panel's life told again, event by event, in the order in which it became known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from features.definition import FeatureSet
from features.online import OnlineFeatures
from features.panel import Panel
from features.restated import first_known

Floats = npt.NDArray[np.float64]


class Replay:
    """Rows of panels as they became known, through ring buffers: whole rows and single instruments in turn.

    restarts: rows before which the process ends and another one begins, warmed with the history it needs as it was
    known then.
    """

    def __init__(
        self,
        feature_set: FeatureSet,
        panels: Mapping[str, Panel],
        *,
        seed: int = 0,
        restarts: frozenset[int] = frozenset(),
    ) -> None:
        self._set, self._panels, self._restarts = feature_set, panels, restarts
        self._lead = next(iter(panels.values()))
        self._on_time = {name: first_known(each, 0, len(each.event_times_ns)) for name, each in panels.items()}
        self._rng = np.random.default_rng(seed)

    def rows(self, first: int = 0, last: int | None = None) -> Iterator[tuple[int, Floats]]:
        """Each row's number and features, float64 [instrument, feature], as they were at its knowledge time."""
        online = self._begun(first)
        for row in range(first, len(self._lead.event_times_ns) if last is None else last):
            if row in self._restarts:
                online = self._begun(row)
            self._take_changes(online, row)
            self._take_row(online, row)
            yield row, online.latest()

    def _begun(self, row: int) -> OnlineFeatures:
        """A process that begins before `row`: it takes the history it needs as it is known now."""
        online = OnlineFeatures(self._set, self._lead.instruments)
        known = int(self._lead.knowledge_times_ns[row - 1]) if row else 0
        for earlier in range(max(0, row - self._set.max_window), row):
            values = {name: each.window_as_known(earlier, 1, known)[0] for name, each in self._panels.items()}
            online.take(int(self._lead.event_times_ns[earlier]), values)
        return online

    def _take_changes(self, online: OnlineFeatures, row: int) -> None:
        times = self._lead.knowledge_times_ns
        since = int(times[row - 1]) if row else 0
        for name, panel in self._panels.items():
            revisions = panel.revisions
            low, high = np.searchsorted(revisions.known_ns, [since, int(times[row])], side="right")
            for at in range(low, high):
                event = int(panel.event_times_ns[revisions.time[at]])
                instrument, value = int(revisions.instrument[at]), float(revisions.after[at])
                if revisions.time[at] >= row:  # known before its row began: the row shows it
                    continue
                if self._rng.random() < 0.3:
                    online.update(self._lead.instruments[instrument], event, {name: value})
                    continue
                change = np.full(len(self._lead.instruments), np.nan)
                change[instrument] = value
                online.correct(event, {name: change})

    def _take_row(self, online: OnlineFeatures, row: int) -> None:
        event = int(self._lead.event_times_ns[row])
        values = {name: each[row] for name, each in self._on_time.items()}
        if self._rng.random() < 0.7:
            online.take(event, values)
            return
        for at in self._rng.permutation(len(self._lead.instruments)).tolist():
            online.update(self._lead.instruments[at], event, {name: float(each[at]) for name, each in values.items()})


def differing_bits(one: Floats, other: Floats) -> int:
    """In how many values any bit differs."""
    return int((one.view(np.uint64) != other.view(np.uint64)).sum())
