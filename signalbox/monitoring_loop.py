"""`signalbox monitor`: watches a signal session by session, as its scorer's rows come in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np

from features.calendars import open_calendar
from features.clock import Clock, ReplayClock, SystemClock
from features.sessions import Calendar
from monitoring.monitor import SessionRecord
from protos.client import AsyncClient
from protos.errors import CallError
from signalbox.cli.options import note
from signalbox.desk import Desk, open_desk
from signalbox.publishing import closes_of
from signalbox.scorers import notifier
from signalbox.watching import Outcomes, open_monitor

POLL_SECONDS = 0.2
PATIENCE_NS = 3_600_000_000_000  # how long after a close its rows may take


def run_monitor(
    home_dir: Path,
    addresses: Sequence[str],
    signal_name: str | None,
    snapshot_id: str | None,
    *,
    sessions: int | None,
    as_json: bool,
) -> None:
    """Watches until `sessions` sessions were recorded, or Ctrl-C. One line (or JSON document) a session on stdout."""
    with open_desk(home_dir) as desk:
        asyncio.run(_watch(desk, addresses, signal_name, snapshot_id, sessions, as_json=as_json))


async def _watch(
    desk: Desk,
    addresses: Sequence[str],
    signal_name: str | None,
    snapshot_id: str | None,
    sessions: int | None,
    *,
    as_json: bool,
) -> None:
    name, signal = desk.signal(signal_name)
    calendar = open_calendar(signal.calendar)
    outcomes = Outcomes.of(closes_of(desk, name, snapshot_id, known_at_ns=2**62))
    clock = ReplayClock("replay") if desk.config.environment == "replay" else SystemClock()
    desk = desk.with_clock(clock)
    rollout = desk.rollout(notifier(desk.home, desk.config))
    watched = 0
    async with AsyncExitStack() as owned:
        feed = await owned.enter_async_context(AsyncClient(*addresses))
        session_ns, known_ns = await _next(feed, name, calendar, after_ns=0)
        if isinstance(clock, ReplayClock):
            clock.advance_to(known_ns)
        history = outcomes.before(session_ns, signal.costs.impact_volatility_sessions)
        monitor = await owned.enter_async_context(
            open_monitor(desk, name, rollout, addresses=addresses, workers=len(addresses), history=history)
        )
        while sessions is None or watched < sessions:
            after_ns = monitor.last_session_ns or 0
            session_ns, known_ns = await _next(feed, name, calendar, after_ns=after_ns, due=_due(clock, calendar))
            if isinstance(clock, ReplayClock):
                clock.advance_to(known_ns)
            _tell(await monitor.session(session_ns, outcomes.into(session_ns)), as_json=as_json)
            watched += 1


Due = Callable[[int], bool]


def _due(clock: Clock, calendar: Calendar) -> Due:
    """Whether the session after one is overdue: its close, and an hour for its rows to come, have passed.

    A replay's clock stands where its rows put it, so there nothing is ever overdue.
    """
    if isinstance(clock, ReplayClock):
        return lambda _: False
    return lambda after_ns: clock.now_ns() > calendar.next_close_ns(after_ns) + PATIENCE_NS


async def _next(
    feed: AsyncClient, name: str, calendar: Calendar, *, after_ns: int, due: Due = lambda _: False
) -> tuple[int, int]:
    """Waits for the next session after `after_ns`: its close, and when its newest row was known.

    When no row comes in time the session is watched without: the monitor then counts the silence.
    """
    while True:
        session_ns, known_ns = await _newest(feed, name, calendar)
        if session_ns is not None and session_ns > after_ns:
            return session_ns, known_ns
        if after_ns and due(after_ns):
            return calendar.next_close_ns(after_ns), 0
        await asyncio.sleep(POLL_SECONDS)


async def _newest(feed: AsyncClient, name: str, calendar: Calendar) -> tuple[int | None, int]:
    """The close of the session that the scorer's newest row is of, and when that row was known."""
    try:
        score = await feed.score(name)
    except CallError as error:
        note(f"the scorer does not answer: {error}")
        return None, 0
    known_ns = int(score.knowledge_times_ns.max(initial=0))
    index = calendar.index_at(known_ns)
    return (None, 0) if index < 0 else (calendar.close_at(index), known_ns)


def _tell(record: SessionRecord, *, as_json: bool) -> None:
    day = str(np.datetime64(record.session_ns, "ns").astype("datetime64[D]"))
    breaches = [verdict for verdict in record.verdicts if verdict.breached]
    if as_json:
        document = {
            "session": day,
            "generation": record.standing.generation,
            "scored": record.scored,
            "net": None if np.isnan(record.net) else record.net,
            "rows": record.rows,
            "missed": record.missed,
            "breaches": [{"rule": each.rule, "why": each.why} for each in breaches],
            "actions": [{"kind": each.action.kind, "why": each.action.reason} for each in record.actions],
        }
        print(json.dumps(document, sort_keys=True), flush=True)
        return
    said = [f"{each.rule}: {each.why}" for each in breaches] + [f"DONE {each.action.reason}" for each in record.actions]
    print(
        f"{day} g{record.standing.generation} {record.scored} scored, net {record.net:+.4%} {'; '.join(said)}",
        flush=True,
    )
