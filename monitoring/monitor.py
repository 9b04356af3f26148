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
from monitoring.actuator import DONE, Actuator
from monitoring.collector import Collected, Collector
from monitoring.decision import Decision, Planned
from monitoring.decisions import DecisionStore
from monitoring.detectors.contract import Measurement
from monitoring.errors import UnknownSession
from monitoring.policy import Memory, Standing, rearmed_faults, respond
from monitoring.scorer import OK, Answer, Scorer
from monitoring.session_writer import SessionWriter
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


@dataclass(frozen=True, eq=False)
class _Given:
    """What a session has to go on: its number on the calendar, the signal, the policy's memory, and what came in."""

    index: int
    standing: Standing
    memory: Memory
    answers: dict[str, Answer | None]
    returns: Floats | None
    collected: Collected

    @property
    def rearmed(self) -> frozenset[Fault]:
        """What a person has re-armed of the live release."""
        return rearmed_faults(self.standing, self.memory) if self.standing.live else frozenset()


@dataclass(frozen=True)
class _Seen:
    """What a session brought of one release."""

    scored: int = 0
    rows: int = 0
    net: float = math.nan
    outcome: bool = False

    @property
    def present(self) -> frozenset[str]:
        """The things that were there."""
        there = {DECISIONS: self.scored > 0, ROWS: self.rows > 0, OUTCOMES: self.outcome}
        return frozenset(thing for thing, is_there in there.items() if is_there)


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
        DoubledSession, BackwardSession, UnknownSession, RestatedOutcome, OtherUniverse or LateDecision
        (monitoring.errors): then nothing of the session was recorded.
        """
        index = self._session_index(session_ns)
        self._store.refuse_restated(self._name, session_ns, returns)
        await self._act(self._store.pending(self._name))
        given = await self._gather(index, returns)
        try:
            with self._store.session(self._name, session_ns) as write:
                record = self._record(write, given)
        except BaseException:
            self._remember()
            raise
        self._collector.settle()
        return replace(record, actions=await self._act(record.actions))

    # One session, inside its transaction.

    def _record(self, write: SessionWriter, given: _Given) -> SessionRecord:
        rearmed = given.rearmed
        for fault in rearmed:
            self._watch(given.standing.live, write.session_ns).rearm(fault)
        live = self._join(write, given)
        measurements, verdicts = self._measure(given, live)
        alarms = _new_alarms(self._verdicts, verdicts)
        self._verdicts = verdicts
        write.watched(tuple(given.answers), verdicts, rearmed=rearmed, present=live.present)
        return SessionRecord(
            signal=self._name,
            session_ns=write.session_ns,
            standing=given.standing,
            answer=given.answers.get(given.standing.live),
            scored=live.scored,
            net=live.net,
            rows=live.rows,
            missed=given.collected.missed,
            measurements=measurements,
            verdicts=verdicts,
            alarms=alarms,
            rearmed=rearmed,
            actions=self._plan(write, given, verdicts),
        )

    def _join(self, write: SessionWriter, given: _Given) -> _Seen:
        """Records decisions and outcome, and takes them into every release's book; what there was of the live one."""
        if given.returns is not None:
            write.outcome(given.returns)
        seen = {release: self._observe(write, release, given) for release in given.answers}
        self._watches = {release: self._watches[release] for release in given.answers}  # who is not asked starts anew
        return seen.get(given.standing.live, _Seen())

    def _observe(self, write: SessionWriter, release: str, given: _Given) -> _Seen:
        watch = self._watch(release, write.session_ns)
        answer, rows = given.answers[release], given.collected.rows.get(release)
        if answer is not None:
            write.decision(self._decision(release, write.session_ns, answer))
        values = _NO_ROWS if rows is None else rows.between(self.last_session_ns or -1, write.session_ns)
        counts = watch.yardstick.reference.count(values) if len(values) else None
        if counts is not None:
            write.cells(release, len(values), counts)
        net = watch.observe(None if answer is None else answer.scores, given.returns, counts)
        write.result(release, net)
        scored = 0 if answer is None else int(((answer.status == OK) & np.isfinite(answer.scores)).sum())
        known = given.returns is not None and bool(np.isfinite(given.returns).any())
        return _Seen(scored, len(values), net, known)

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

    def _measure(self, given: _Given, live: _Seen) -> tuple[tuple[Measurement, ...], tuple[Verdict, ...]]:
        """What the live release's detectors and the silence of its data say, by both rules."""
        self._silence.observe(given.index, live.present)
        if not given.standing.live:
            return (), ()
        watch = self._watches[given.standing.live]
        measurements = watch.measure()
        verdicts: list[Verdict] = []
        for rule in RULES:
            verdicts += judge(watch.yardstick, rule, measurements)
            verdicts += judge_silence(rule, self._policy.grace_sessions, self._silence.lengths())
        return measurements, tuple(verdicts)

    def _plan(self, write: SessionWriter, given: _Given, verdicts: tuple[Verdict, ...]) -> tuple[Planned, ...]:
        """What the policy answers to the verdicts of the rule in force, recorded before it is done."""
        heard = [verdict for verdict in verdicts if verdict.rule == self._policy.rule]
        last = given.standing.rolled_back_ns
        rolled_back = None if last is None else self._calendar.index_at(last)
        response = respond(self._policy, given.standing, given.memory, heard, given.index, rolled_back)
        write.memory(self._policy.rule, response.memory)
        live, generation = given.standing.live, given.standing.generation
        return tuple(write.plan(live, generation + i, action) for i, action in enumerate(response.actions))

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

    async def _gather(self, index: int, returns: Floats | None) -> _Given:
        standing = self._actuator.standing(self._name)
        asked = dict.fromkeys(release for release in (standing.live, *standing.shadow) if release)
        universe = self._signal.universe
        answers = {release: await self._scorer.ask(self._name, universe, release) for release in asked}
        memory = self._store.memory(self._name, self._policy.rule)
        return _Given(index, standing, memory, answers, returns, self._collector.collect())

    async def _act(self, planned: list[Planned] | tuple[Planned, ...]) -> tuple[Planned, ...]:
        """Carries out what was planned, each action once, and records how it ended."""
        finished = []
        for each in planned:
            done = await self._actuator.act(each)
            memory = self._store.memory(self._name, self._policy.rule)
            seen = msgspec.structs.replace(memory, seen=self._actuator.standing(self._name))
            if each.action.kind == "rollback" and not done.startswith(DONE):  # the cut it was to follow still stands
                seen = msgspec.structs.replace(seen, cut_session=self._session_index(each.session_ns))
            self._store.finish(each, done, seen, self._policy.rule)
            finished.append(replace(each, done=done))
        return tuple(finished)

    def _session_index(self, session_ns: int) -> int:
        index = self._calendar.index_at(session_ns)
        if index < 0 or self._calendar.close_at(index) != session_ns:
            raise UnknownSession(
                f"{self._name}: expected the close of a session of {self._calendar.name}, found {session_ns}; "
                "name sessions by their close, UTC nanoseconds"
            )
        return index


def _new_alarms(before: tuple[Verdict, ...], now: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """The breaches of this session that were none in the session before: where an alarm begins."""
    standing = {_subject(verdict) for verdict in before if verdict.breached}
    return tuple(verdict for verdict in now if verdict.breached and _subject(verdict) not in standing)


def _subject(verdict: Verdict) -> tuple[str, str, str]:
    """What an alarm is of: the column that is worst may change while it lasts."""
    return verdict.rule, verdict.detector, verdict.subject if verdict.detector == SILENCE else ""
