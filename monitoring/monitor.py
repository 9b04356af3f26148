"""The monitor of one signal: once a session it asks, records, joins, measures, judges and acts.

    ask the scorer at the decision clock     as any client would: the live release and its shadows
    read the rings                           how the rows that were scored are distributed
    join the outcome                         one paper book a release, unweighted: a signal cut to 0 still has data
    measure and judge                        every detector, by the desk's rule and by the calibrated one
    record                                   all of it, and the actions to come, in one durable transaction
    act                                      each action once, under a key that survives a kill

What it holds in memory is derived from the record: after a kill, or an error inside a session, it is made anew from
there, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt

from features.clock import Clock
from features.sessions import Calendar
from monitoring.actuator import Actuator
from monitoring.collector import Collector, Rows
from monitoring.decisions import Decision, DecisionStore, Planned, SessionWriter
from monitoring.detectors.contract import Measurement
from monitoring.policy import Memory, Response, Standing, rearmed_faults, respond
from monitoring.scorer import OK, Answer, Scorer
from monitoring.silence import Silence
from monitoring.thresholds import SILENCE, Yardstick, judge, judge_silence
from monitoring.verdict import RULES, Fault, Verdict
from monitoring.watch import Watch
from promotion.config import ActionPolicy, Signal

Floats = npt.NDArray[np.float64]
DECISIONS, ROWS, OUTCOMES = "decisions", "rows", "outcomes"
_NO_ROWS = np.empty((0, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class SessionRecord:
    """What one session brought, as recorded.

    session_ns: its close, UTC. standing: the signal as the ledger had it before any action of this session.
    answer: the live release's scores, generation, weight and posture; None when nobody answered. scored: instruments
    with an OK score. net: the live release's paper return over the session, NaN when unknown. rows, missed: feature
    rows counted, and ring records overwritten before they were read. verdicts: of both rules; alarms: those that were
    no breach the session before. actions: what the rule in force did, each with how it ended.
    """

    signal: str
    session_ns: int
    standing: Standing
    answer: Answer | None
    scored: int
    net: float
    rows: int
    missed: int
    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...]
    alarms: tuple[Verdict, ...]
    rearmed: frozenset[Fault]
    actions: tuple[Planned, ...]


@dataclass(frozen=True)
class _Seen:
    """What a session brought of one release."""

    scored: int = 0
    rows: int = 0
    net: float = math.nan


class Monitor:
    """Watches one signal. A context manager; whoever makes it owns the store, the collector and the scorer's client.

    name, signal: as configured. policy: the action policy in force (`monitoring.actuator.policy_in_force`).
    clock: the decision clock. yardsticks: what a release (by digest) is measured against; called once a release.
    history: float64 [session, instrument], returns before the first session ever recorded, for the impact cost.
    """

    def __init__(
        self,
        name: str,
        signal: Signal,
        policy: ActionPolicy,
        *,
        calendar: Calendar,
        clock: Clock,
        scorer: Scorer,
        actuator: Actuator,
        store: DecisionStore,
        collector: Collector,
        yardsticks: Callable[[str], Yardstick],
        history: Floats | None = None,
    ) -> None:
        self._name = name
        self._signal = signal
        self._policy = policy
        self._calendar = calendar
        self._clock = clock
        self._scorer = scorer
        self._actuator = actuator
        self._store = store
        self._collector = collector
        self._yardsticks = yardsticks
        self._history = np.empty((0, len(signal.universe))) if history is None else history
        self._made: dict[str, Yardstick] = {}
        self._watches: dict[str, Watch] = {}
        self._silence = Silence()
        self._verdicts: tuple[Verdict, ...] = ()

    async def __aenter__(self) -> Self:
        self._store.register(self._name, self._signal.universe, self._history)
        self._remember()
        await self._act(self._store.pending(self._name))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watches.clear()

    @property
    def last_session_ns(self) -> int | None:
        """The close of the last session that was recorded; go on with the one after it."""
        return self._store.last_session_ns(self._name)

    def yardstick(self, release: str) -> Yardstick:
        """What `release` is measured against; it is made once."""
        if release not in self._made:
            self._made[release] = self._yardsticks(release)
        return self._made[release]

    async def session(self, session_ns: int, returns: Floats | None) -> SessionRecord:
        """Watches one session at its decision clock.

        session_ns: the session's close, UTC; rows of that event time have been pushed. returns: float64 [instrument],
        close to close over this session, NaN where unknown, None when no outcome came.
        DoubledSession, BackwardSession, RestatedOutcome, OtherUniverse or LateDecision (monitoring.errors): then
        nothing of the session was recorded. CalendarError when `session_ns` is not the close of a session.
        """
        index = self._session_index(session_ns)
        self._store.refuse_restated(self._name, session_ns, returns)
        await self._act(self._store.pending(self._name))
        standing = self._actuator.standing(self._name)
        asked = dict.fromkeys(release for release in (standing.live, *standing.shadow) if release)
        answers = {release: await self._ask(release) for release in asked}
        try:
            with self._store.session(self._name, session_ns) as write:
                record = self._record(write, index, standing, answers, returns)
        except BaseException:
            self._remember()
            raise
        self._collector.settle()
        return replace(record, actions=await self._act(record.actions))

    # One session, inside its transaction.

    def _record(
        self,
        write: SessionWriter,
        index: int,
        standing: Standing,
        answers: dict[str, Answer | None],
        returns: Floats | None,
    ) -> SessionRecord:
        memory = self._store.memory(self._name, self._policy.rule)
        rearmed = rearmed_faults(standing, memory) if standing.live else frozenset[Fault]()
        collected = self._collector.collect()
        if returns is not None:
            write.outcome(returns)
        self._rearm(write, standing.live, rearmed)
        seen = {
            release: self._observe(write, release, answer, returns, collected.rows.get(release))
            for release, answer in answers.items()
        }
        self._watches = {release: self._watches[release] for release in answers}
        live = seen.get(standing.live, _Seen())
        present = _present(live, returns)
        self._silence.observe(index, present)
        measurements = self._watches[standing.live].measure() if standing.live else ()
        verdicts = self._judge(standing.live, measurements)
        alarms = _new_alarms(self._verdicts, verdicts)
        self._verdicts = verdicts
        response = self._respond(standing, memory, verdicts, index)
        write.watched(tuple(answers), verdicts, rearmed=rearmed, present=present)
        write.memory(self._policy.rule, response.memory)
        planned = tuple(
            write.plan(standing.live, standing.generation + position, action)
            for position, action in enumerate(response.actions)
        )
        answer = answers.get(standing.live)
        return SessionRecord(
            signal=self._name,
            session_ns=write.session_ns,
            standing=standing,
            answer=answer,
            scored=live.scored,
            net=live.net,
            rows=live.rows,
            missed=collected.missed,
            measurements=measurements,
            verdicts=verdicts,
            alarms=alarms,
            rearmed=rearmed,
            actions=planned,
        )

    def _observe(
        self,
        write: SessionWriter,
        release: str,
        answer: Answer | None,
        returns: Floats | None,
        rows: Rows | None,
    ) -> _Seen:
        watch = self._watch(release, write.session_ns)
        if answer is not None:
            write.decision(self._decision(release, write.session_ns, answer))
        values = _NO_ROWS if rows is None else rows.between(self.last_session_ns or -1, write.session_ns)
        counts = watch.yardstick.reference.count(values) if len(values) else None
        if counts is not None:
            write.cells(release, len(values), counts)
        net = watch.observe(None if answer is None else answer.scores, returns, counts)
        write.result(release, net)
        scored = 0 if answer is None else int(((answer.status == OK) & np.isfinite(answer.scores)).sum())
        return _Seen(scored, len(values), net)

    def _decision(self, release: str, session_ns: int, answer: Answer) -> Decision:
        return Decision(
            signal=self._name,
            release=release,
            session_ns=session_ns,
            decided_at_ns=self._clock.now_ns(),
            deadline_ns=self._calendar.next_close_ns(session_ns),
            generation=answer.generation,
            weight=answer.weight,
            posture=answer.posture,
            scores=answer.scores,
            status=answer.status,
        )

    def _rearm(self, write: SessionWriter, release: str, rearmed: frozenset[Fault]) -> None:
        for fault in rearmed:
            self._watch(release, write.session_ns).rearm(fault)

    def _judge(self, release: str, measurements: tuple[Measurement, ...]) -> tuple[Verdict, ...]:
        if not release:
            return ()
        yardstick = self._watches[release].yardstick
        missing = self._silence.lengths()
        return tuple(
            verdict
            for rule in RULES
            for verdict in (
                *judge(yardstick, rule, measurements),
                *judge_silence(rule, self._policy.grace_sessions, missing),
            )
        )

    def _respond(self, standing: Standing, memory: Memory, verdicts: tuple[Verdict, ...], index: int) -> Response:
        heard = [verdict for verdict in verdicts if verdict.rule == self._policy.rule]
        last = standing.rolled_back_ns
        rolled_back = None if last is None else self._calendar.index_at(last)
        return respond(self._policy, standing, memory, heard, index, rolled_back)

    # What is derived from the record.

    def _remember(self) -> None:
        """Makes everything in memory anew from the record; the releases' watches follow when they are asked for."""
        self._watches = {}
        self._silence = Silence(DECISIONS, ROWS, OUTCOMES)
        for session_ns, present in self._store.presence(self._name):
            self._silence.observe(self._session_index(session_ns), present)
        last = self._store.last_session_ns(self._name)
        self._verdicts = () if last is None else self._store.verdicts(self._name, last)

    def _watch(self, release: str, session_ns: int) -> Watch:
        if release not in self._watches:
            start = self._store.run_start_ns(self._name, release)
            since = session_ns if start is None else start
            history = self._store.returns_before(self._name, since)
            watch = Watch(self._signal, self._policy, self.yardstick(release), history)
            watch.replay(self._store.past(self._name, release, since))
            self._watches[release] = watch
        return self._watches[release]

    # What touches the world.

    async def _ask(self, release: str) -> Answer | None:
        return await self._scorer.ask(self._name, self._signal.universe, release)

    async def _act(self, planned: list[Planned] | tuple[Planned, ...]) -> tuple[Planned, ...]:
        """Carries out what was planned, each action once, and records how it ended."""
        finished = []
        for each in planned:
            done = await self._actuator.act(each)
            memory = self._store.memory(self._name, self._policy.rule)
            seen = msgspec.structs.replace(memory, seen=self._actuator.standing(self._name))
            self._store.finish(each, done, seen, self._policy.rule)
            finished.append(replace(each, done=done))
        return tuple(finished)

    def _session_index(self, session_ns: int) -> int:
        return self._calendar.session_index(self._calendar.session_of(session_ns))


def _present(live: _Seen, returns: Floats | None) -> frozenset[str]:
    known = returns is not None and bool(np.isfinite(returns).any())
    there = {DECISIONS: live.scored > 0, ROWS: live.rows > 0, OUTCOMES: known}
    return frozenset(thing for thing, is_there in there.items() if is_there)


def _new_alarms(before: tuple[Verdict, ...], now: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """The breaches of this session that were none in the session before: where an alarm begins."""
    standing = {_subject(verdict) for verdict in before if verdict.breached}
    return tuple(verdict for verdict in now if verdict.breached and _subject(verdict) not in standing)


def _subject(verdict: Verdict) -> tuple[str, str, str]:
    """What an alarm is of: the column that is worst may change while it lasts."""
    return verdict.rule, verdict.detector, verdict.subject if verdict.detector == SILENCE else ""
