"""Feature rows to be sent: for one session as it closes, or for a stretch of the past as it would have happened.

Who sends them is the caller's: rows are handed over, nothing here knows a wire.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from features.batch import aligned
from features.definition import FeatureSet
from features.errors import PanelError
from features.online import OnlineFeatures
from features.panel import Panel
from features.row import FeatureRow, to_model_dtype
from features.sessions import Calendar
from features.source import NS_PER_MINUTE

Floats = npt.NDArray[np.float64]

# How long a row outlives the instant at which its successor is due, so that an orderly feed never has a gap.
SLACK_NS = 30 * NS_PER_MINUTE


def rows_for_session(
    feature_set: FeatureSet,
    values: Floats,
    *,
    instruments: Sequence[str],
    event_time_ns: int,
    knowledge_time_ns: int,
    sequence: int,
    valid_until_ns: int,
) -> list[FeatureRow]:
    """One row per instrument from `values`, float64 [instrument, feature]; cast to float32 here, once.

    PanelError for a wrong shape, RowValueError for a number that float32 cannot hold.
    """
    if values.shape != (len(instruments), len(feature_set)):
        raise PanelError(
            f"features: expected shape {(len(instruments), len(feature_set))}, found {values.shape}; "
            "rows are instruments, columns features"
        )
    set_id = bytes.fromhex(feature_set.feature_set_id)
    cast = to_model_dtype(values)
    return [
        FeatureRow(set_id, instrument, event_time_ns, knowledge_time_ns, sequence, valid_until_ns, cast[at])
        for at, instrument in enumerate(instruments)
    ]


def valid_until_ns(calendar: Calendar, event_time_ns: int, knowledge_time_ns: int, sessions: int) -> int:
    """Until when a row of the session that closed at `event_time_ns` may be served, UTC nanoseconds.

    The close `sessions` sessions later, plus the delay after which this row was known, plus 30 minutes: by then the
    row that replaces it has had time to come.
    """
    last = calendar.close_at(calendar.index_at(event_time_ns) + sessions)
    return last + (knowledge_time_ns - event_time_ns) + SLACK_NS


def replay(
    feature_set: FeatureSet,
    panel: Panel | Mapping[str, Panel],
    *,
    calendar: Calendar,
    time_to_live_sessions: int,
    start_ns: int,
    end_ns: int,
) -> Iterator[list[FeatureRow]]:
    """The rows of every session that closed in [start_ns, end_ns], session by session, as they would have been sent.

    Each list is one session: a row per instrument in the panel's order, sequence = the session's number in the
    calendar. The features are computed online, warmed by the rows before `start_ns`, and see late and restated
    values from the first session on at whose knowledge time these were known. Drive a ReplayClock by the rows'
    knowledge times.
    """
    panels = aligned(feature_set, panel)
    lead = next(iter(panels.values()))
    first = int(np.searchsorted(lead.event_times_ns, start_ns, side="left"))
    last = int(np.searchsorted(lead.event_times_ns, end_ns, side="right"))
    online = OnlineFeatures(feature_set, lead.instruments)
    warm = max(0, first - feature_set.max_window)
    for row in range(warm, last):
        known = int(lead.knowledge_times_ns[row])
        if row > warm:
            _restate(online, panels, row, known)
        event = int(lead.event_times_ns[row])
        online.take(event, {name: each.window_as_known(row, 1, known)[0] for name, each in panels.items()})
        if row >= first:
            yield rows_for_session(
                feature_set,
                online.latest(),
                instruments=lead.instruments,
                event_time_ns=event,
                knowledge_time_ns=known,
                sequence=calendar.index_at(event),
                valid_until_ns=valid_until_ns(calendar, event, known, time_to_live_sessions),
            )


def _restate(online: OnlineFeatures, panels: Mapping[str, Panel], row: int, known_ns: int) -> None:
    """Takes what became known between the row before and this one."""
    for name, panel in panels.items():
        since = int(panel.knowledge_times_ns[row - 1])
        revisions = panel.revisions
        fresh = np.flatnonzero((revisions.known_ns > since) & (revisions.known_ns <= known_ns) & (revisions.time < row))
        for at in fresh:
            changed = np.full(len(panel.instruments), np.nan)
            changed[revisions.instrument[at]] = revisions.after[at]
            online.correct(int(panel.event_times_ns[revisions.time[at]]), {name: changed})
