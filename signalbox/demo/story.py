"""The demo, step by step: from real prices to a live score, a fault, a cut, a rollback, and an account of it all.

Two homes come of it. In the home itself 2015 to 2022 are replayed with two faults; in `honest/` inside it, a copy made
before, the same years are replayed as they were. Nothing is scripted to fire on a date: the faults begin on stated
days, what follows is data and policy.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time_ns
from typing import Any

from features.calendars import open_calendar
from features.clock import ReplayClock
from features.ingest import demo_prices
from features.panel import Panel
from features.registry import load_features
from features.row import FeatureRow
from features.snapshot import Snapshot
from promotion.errors import GateFailed
from promotion.home import Home
from promotion.promote import plan_promotion, promote
from protos.client import AsyncClient, AsyncControlClient, Client
from signalbox import workshop
from signalbox.demo.faults import Decay, ScaledInput, decaying, rows_with_fault
from signalbox.demo.progress import Progress
from signalbox.demo.replay import Replay, Tally, scorer
from signalbox.desk import Desk, end_of_day_ns, open_desk
from signalbox.founding import demo_config_text, found_home
from signalbox.publishing import Encoder, closes_of, session_rows
from signalbox.scorers import notifier
from signalbox.watching import Outcomes, open_monitor
from signalbox.workshop import Judged
from training.plan import Plan, honest_plan, overfitted_plan
from training.sweep import Trial
from training.tracking import Tracker

SIGNAL = "large_caps"
FIRST_AS_OF, SECOND_AS_OF = dt.date(2010, 12, 31), dt.date(2014, 12, 31)
FIRST_TEST = dt.date(1996, 1, 2)
REPLAY_FROM, REPLAY_TO = dt.date(2015, 1, 1), dt.date(2022, 12, 31)
DECAY_FROM, DECAY_SESSIONS = dt.date(2016, 1, 4), 60
SCALED_FROM, SCALED_SESSIONS, SCALED_FEATURE, SCALED_BY = dt.date(2019, 6, 3), 30, "return_21", 100.0


@dataclass(frozen=True)
class Story:
    """What came of the demo."""

    home: Path
    snapshot: str
    releases: tuple[Judged, ...]
    refusal: str
    honest: Tally
    faults: Tally
    generations: int
    audit: dict[str, Any]
    adv_assumed_usd: float
    seconds: float


async def tell(root: Path, progress: Progress) -> Story:
    """Runs the whole demo in a fresh home at `root`."""
    clock = ReplayClock("replay")
    clock.advance_to(end_of_day_ns(FIRST_AS_OF))
    with progress.step(
        "Found a home: keys, roles, ledger; policies in force by their hash, approved by a second person"
    ):
        home = found_home(root, config_text=demo_config_text(), clock=clock)
    with open_desk(root, clock=clock) as desk:
        snapshot = _take_snapshot(desk, progress)
        releases, refusal = _research(desk, clock, snapshot, progress)
    honest_root = root / "honest"
    with progress.step(f"Replay {REPLAY_FROM.year} to {REPLAY_TO.year} as it was (in {honest_root})"):
        _copy_home(home, honest_root)
        honest = await _replay(honest_root, progress, with_faults=False)
    with progress.step(
        f"Replay it again with two faults: scores of the live release decay to noise from {DECAY_FROM} on; "
        f"prices behind {SCALED_FEATURE} times {SCALED_BY:g} for {SCALED_SESSIONS} sessions from {SCALED_FROM} on"
    ):
        faults = await _replay(root, progress, with_faults=True)
    account = progress.step("Account: every entry of the ledger and every release, verified")
    with account, open_desk(root, clock=clock, read_only=True) as desk:
        audit = desk.audit()
        generations = desk.ledger.state().signal(SIGNAL).generation
        progress.fact(f"{audit['entries']} entries and {audit['releases']} releases verify")
        assumed = desk.config.signals[SIGNAL].costs.adv_assumed_usd
    return Story(root, snapshot.id, releases, refusal, honest, faults, generations, audit, assumed, progress.seconds)


def _take_snapshot(desk: Desk, progress: Progress) -> Snapshot:
    with progress.step("Snapshot: 20 S&P 500 stocks, daily closes 1990 to 2022 (survivors, back-adjusted)"):
        snapshot = desk.take_snapshot(demo_prices(), source_name=None, actor="researcher", now_ns=time_ns())
        progress.fact(f"snapshot {snapshot.id}, {snapshot.rows} rows")
    return snapshot


def _research(desk: Desk, clock: ReplayClock, snapshot: Snapshot, progress: Progress) -> tuple[tuple[Judged, ...], str]:
    """Steps 2 to 6: two honest releases promoted, one overfitted refused."""
    with progress.step("Features of the last known day"):
        matrix, feature_set = workshop.build_features(
            desk.config.signals[SIGNAL], snapshot, known_at_ns=end_of_day_ns(SECOND_AS_OF)
        )
        progress.fact(
            f"{len(feature_set)} features over {matrix.values.shape[0]} sessions: {', '.join(feature_set.names)}"
        )
    with workshop.tracking(desk) as tracker:
        first = _release(
            desk, snapshot, honest_plan(FIRST_AS_OF, first_test=FIRST_TEST, label="first"), tracker, progress
        )
        _promote(desk, first, tracker, progress)
        clock.advance_to(end_of_day_ns(SECOND_AS_OF))
        second = _release(
            desk, snapshot, honest_plan(SECOND_AS_OF, first_test=FIRST_TEST, label="second"), tracker, progress
        )
        _promote(desk, second, tracker, progress)
        plan = overfitted_plan(SECOND_AS_OF, first_test=dt.date(SECOND_AS_OF.year, 1, 2), label="sweep")
        overfitted = _release(desk, snapshot, plan, tracker, progress)
        refusal = _refused(desk, overfitted, progress)
    return (first, second, overfitted), refusal


def _release(desk: Desk, snapshot: Snapshot, plan: Plan, tracker: Tracker, progress: Progress) -> Judged:
    count = len(plan.candidates)
    title = f"Train as known on {plan.as_of}: {count} candidates by purged walk-forward, each a trial in the ledger"
    with progress.step(title):

        def told(trial: Trial) -> None:
            if count <= 8:
                progress.fact(f"trial {trial.position} {trial.candidate.trainer}: net Sharpe {trial.sharpe:.2f} a year")
            else:
                progress.count("trial", trial.position + 1, count)

        run = workshop.train(desk, SIGNAL, plan, snapshot, actor="researcher", tracker=tracker, progress=told)
    with progress.step("Validate: evidence computed anew by a second person, packaged, signed, judged"):
        judged = workshop.validate(desk, run, validator="validator", tracker=tracker)
        progress.fact(figures(judged))
        for verdict in judged.verdicts:
            outcome = "passes" if verdict.passed else "refused: " + "; ".join(verdict.reasons)
            progress.fact(f"gate {verdict.environment}: {outcome}")
    return judged


def figures(judged: Judged) -> str:
    """The figures a gate looks at first."""
    m = judged.verdicts[0].measured
    return (
        f"release {judged.digest[:12]}: net Sharpe {m['sharpe_annual']:.2f} a year "
        f"(standard error {m['sharpe_annual_standard_error']:.2f}, {m['observations']:.0f} sessions), "
        f"PSR {m['psr_2012']:.3f}, DSR {m['dsr_published']:.3f} over {m['trials']:.0f} trials, "
        f"drawdown {m['max_drawdown']:.1%} (one year in twenty below {m['max_drawdown_p05_one_year']:.1%}), "
        f"turnover {m['turnover_daily']:.1%} and cost {m['cost_bps_daily']:.2f} bp a day (adv_assumed)"
    )


def _promote(desk: Desk, judged: Judged, tracker: Tracker, progress: Progress) -> None:
    with progress.step(f"Promote {judged.digest[:12]}: planned by the operator, approved by another person"):
        rollout = desk.rollout()
        configured = desk.config.gates[desk.config.environment]
        planned = plan_promotion(rollout, desk.home, judged.digest, as_="operator", configured=configured)
        rollout.approve(planned.hash, as_="approver")
        entry = promote(rollout, desk.home, planned.hash, as_="operator")
        tracker.point(SIGNAL, "live", judged.digest)
        progress.fact(f"entry {entry.sequence}, generation {entry.expected_generation + 1}")


def _refused(desk: Desk, judged: Judged, progress: Progress) -> str:
    with progress.step(f"Offer the sweep's winner {judged.digest[:12]}, the best-looking of all"):
        try:
            plan_promotion(desk.rollout(), desk.home, judged.digest, as_="operator")
        except GateFailed as error:
            progress.fact(f"refused: {error}")
            return str(error)
    raise RuntimeError(f"expected the gate to refuse {judged.digest}, found that it passed; look at the gate")


def _copy_home(home: Home, root: Path) -> None:
    skip = shutil.ignore_patterns("run", "honest", "runs", "mlflow*")
    shutil.copytree(home.root, root, ignore=skip)


async def _replay(root: Path, progress: Progress, *, with_faults: bool) -> Tally:
    """Replays the years in the home at `root`, against a scorer of its own."""
    clock = ReplayClock("replay")
    clock.advance_to(end_of_day_ns(SECOND_AS_OF))
    with open_desk(root, clock=clock) as desk:
        async with _hands(desk, clock, with_faults=with_faults) as (replay, sessions):
            total = len(sessions)
            tally = await replay.run(sessions, lambda done: progress.count("session", done, total))
            progress.fact(await asyncio.to_thread(_last_answer, replay.addresses))
            return tally


def _last_answer(addresses: Sequence[str]) -> str:
    """What an OMS with the blocking client is told at the end."""
    with Client(*addresses) as oms:
        score = oms.score(SIGNAL)
    return (
        f"last answer: generation {score.generation}, release {score.releases[0][:12]}, {score.ok.sum()} of "
        f"{len(score)} scores OK, weight {score.weights.max():g}, {score.posture}"
    )


@asynccontextmanager
async def _hands(
    desk: Desk, clock: ReplayClock, *, with_faults: bool
) -> AsyncIterator[tuple[Replay, Sequence[Sequence[FeatureRow]]]]:
    signal = desk.config.signals[SIGNAL]
    closes = closes_of(desk, SIGNAL, None, known_at_ns=2**62)
    outcomes = Outcomes.of(closes)
    sessions = list(_sessions(desk, closes, with_faults=with_faults))
    live = desk.ledger.state().signal(SIGNAL).live or ""
    async with AsyncExitStack() as owned:
        running = await owned.enter_async_context(scorer(desk.home))
        addresses = running.addresses
        if with_faults:
            decay = Decay(live, end_of_day_ns(DECAY_FROM), DECAY_SESSIONS, open_calendar(signal.calendar))
            addresses = (await owned.enter_async_context(decaying(addresses[0], decay)),)
        rollout = desk.rollout(notifier(desk.home, desk.config))
        history = outcomes.before(sessions[0][0].event_time_ns, signal.costs.impact_volatility_sessions)
        monitor = await owned.enter_async_context(
            open_monitor(desk, SIGNAL, rollout, addresses=addresses, workers=1, history=history)
        )
        replay = Replay(
            desk=desk,
            clock=clock,
            signal=SIGNAL,
            addresses=addresses,
            control=await owned.enter_async_context(AsyncControlClient(running.control)),
            oms=await owned.enter_async_context(AsyncClient(*addresses)),
            monitor=monitor,
            rollout=rollout,
            encoder=Encoder.of(desk.home),
            outcomes=outcomes,
        )
        yield replay, sessions


def _sessions(desk: Desk, closes: Panel, *, with_faults: bool) -> Iterable[Sequence[FeatureRow]]:
    start_ns, end_ns = end_of_day_ns(REPLAY_FROM - dt.timedelta(days=1)), end_of_day_ns(REPLAY_TO)
    if not with_faults:
        return session_rows(desk, SIGNAL, closes, start_ns=start_ns, end_ns=end_ns)
    signal = desk.config.signals[SIGNAL]
    fault = ScaledInput(SCALED_FEATURE, end_of_day_ns(SCALED_FROM - dt.timedelta(days=1)), SCALED_SESSIONS, SCALED_BY)
    return rows_with_fault(
        load_features(signal.features),
        closes,
        fault,
        calendar=open_calendar(signal.calendar),
        time_to_live_sessions=signal.time_to_live_sessions,
        start_ns=start_ns,
        end_ns=end_ns,
    )
