"""Eight years, session by session, against a real scorer: push, ask as the OMS, watch, and let the policy act."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import numpy as np

from features.clock import ReplayClock
from features.row import FeatureRow
from monitoring.detectors.contract import Measurement
from monitoring.monitor import Monitor, SessionRecord
from promotion.home import Home
from promotion.rollout import Rollout
from protos.client import AsyncClient, AsyncControlClient
from protos.score import Score
from signalbox.desk import Desk
from signalbox.publishing import Encoder
from signalbox.watching import Outcomes

CALM_SESSIONS = 10  # after so many quiet sessions the operator re-arms the signal


@dataclass
class Tally:
    """What a replay showed, counted as it goes."""

    sessions: int = 0
    latencies_us: list[float] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)
    alarms: Counter[tuple[str, str]] = field(default_factory=Counter)
    drifting: Counter[tuple[str, str]] = field(default_factory=Counter)
    net: list[float] = field(default_factory=list)
    missed: int = 0
    unanswered: int = 0
    rates: dict[str, str] = field(default_factory=dict)
    limits: dict[str, dict[str, float]] = field(default_factory=dict)
    peaks: dict[tuple[str, str], float] = field(default_factory=dict)

    def take(self, record: SessionRecord) -> None:
        """One session's record."""
        day = session_day(record.session_ns)
        self.sessions += 1
        self.missed += record.missed
        self.unanswered += record.answer is None or record.scored == 0
        if np.isfinite(record.net):
            self.net.append(record.net)
        for measured in record.measurements:
            self._peak(measured)
        for alarm in record.alarms:
            self.alarms[alarm.rule, alarm.detector] += 1
            if alarm.fault == "input":
                self.drifting[alarm.rule, alarm.subject] += 1
        for planned in record.actions:
            self.act(day, planned.action.kind, planned.action.before, planned.action.after, planned.action.reason)

    def _peak(self, measured: Measurement) -> None:
        """Keeps the farthest that each subject ever was: the largest drift, the lowest ratio."""
        farther = min if measured.detector == "sharpe" else max
        for subject, value in zip(measured.subjects, measured.values.tolist(), strict=True):
            if measured.ready and np.isfinite(value):
                key = (measured.detector, subject)
                self.peaks[key] = farther(value, self.peaks.get(key, value))

    def act(self, session: str, kind: str, before: str, after: str, reason: str) -> None:
        """Something that was done to the signal."""
        self.actions.append({"session": session, "kind": kind, "from": before, "to": after, "reason": reason})

    def answered(self, score: Score) -> None:
        """The next reply after actions: what they changed for the OMS."""
        reply = {
            "generation": score.generation,
            "weight": float(score.weights.max(initial=0.0)),
            "posture": score.posture,
            "release": score.releases[0] if score.releases else "",
        }
        for action in self.actions:
            action.setdefault("next_reply", reply)

    @property
    def net_sharpe(self) -> float:
        """The live release's annualised net Sharpe over the replay, unweighted."""
        returns = np.array(self.net)
        return float(returns.mean() / returns.std(ddof=1) * np.sqrt(252))


@dataclass(frozen=True)
class RunningScorer:
    """Where a replay's scorer answers: workers for the OMS and the monitor, control for the publisher."""

    addresses: tuple[str, ...]
    control: str


@asynccontextmanager
async def scorer(home: Home) -> AsyncIterator[RunningScorer]:
    """`signalbox serve` on this home, in a process of its own, once it says that it is ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "signalbox", "serve", "--home", str(home.root), "--listen", "127.0.0.1:0", "--json"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError(f"signalbox serve ended with {await process.wait()}; its last words stand above")
        ready = json.loads(line)
        yield RunningScorer(tuple(ready["addresses"]), ready["control"])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@dataclass(frozen=True)
class Replay:
    """The hands of a replay: who pushes, who asks, who watches, who re-arms."""

    desk: Desk
    clock: ReplayClock
    signal: str
    addresses: tuple[str, ...]
    control: AsyncControlClient
    oms: AsyncClient
    monitor: Monitor
    rollout: Rollout
    encoder: Encoder
    outcomes: Outcomes

    async def run(self, sessions: Iterable[Sequence[FeatureRow]], tell: Callable[[int], None]) -> Tally:
        """Every session in order; what it showed."""
        tally, calm = Tally(), 0
        for rows in sessions:
            await self._push(rows)
            _, latency_us = await self._ask()
            tally.latencies_us.append(latency_us)
            session_ns = rows[0].event_time_ns
            record = await self.monitor.session(session_ns, self.outcomes.into(session_ns))
            tally.take(record)
            calm = calm + 1 if self._calm(record) else 0
            self._rearm(session_day(session_ns), calm, tally)
            if tally.actions and "next_reply" not in tally.actions[-1]:
                score, _ = await self._ask()
                tally.answered(score)
            tell(tally.sessions)
        self._measure_rules(tally)
        return tally

    def _measure_rules(self, tally: Tally) -> None:
        """Each rule's thresholds and measured false-alarm rates, for the release that is live now."""
        live = self.desk.ledger.state().signal(self.signal).live
        if live is None:
            return
        yardstick = self.monitor.yardstick(live)
        for rule, bounds in yardstick.bounds.items():
            tally.rates[rule] = f"{bounds.describe()}; 21-session Sharpe below {bounds.sharpe:.1f}"
            psi = dict(zip(yardstick.reference.names, bounds.psi.tolist(), strict=True))
            tally.limits[rule] = {**psi, "net return": bounds.sharpe}

    async def _push(self, rows: Sequence[FeatureRow]) -> None:
        self.clock.advance_to(rows[0].knowledge_time_ns)
        pushed = await self.control.push(self.encoder.encode(rows))
        if pushed.refused:
            raise RuntimeError(f"expected every row to be taken, found {pushed.refused[0][1]}")

    async def _ask(self) -> tuple[Score, float]:
        """What the OMS gets for the whole universe, and how long it waited, in microseconds."""
        start = perf_counter_ns()
        score = await self.oms.score(self.signal)
        return score, (perf_counter_ns() - start) / 1000

    def _calm(self, record: SessionRecord) -> bool:
        """Nothing was done, no input is off; and where the signal is frozen, its performance has recovered."""
        verdicts = [each for each in record.verdicts if each.rule == self.desk.config.action.rule]
        inputs_fit = not any(each.breached for each in verdicts if each.fault == "input")
        performs = all(each.recovered for each in verdicts if each.fault == "model")
        return inputs_fit and not record.actions and (performs or not record.standing.frozen)

    def _rearm(self, day: str, calm: int, tally: Tally) -> None:
        """The operator re-arms a signal that has been calm for a while. The monitor never does."""
        state = self.desk.ledger.state().signal(self.signal)
        if state.posture != "NO_NEW_RISK" or calm < CALM_SESSIONS:
            return
        why = f"{CALM_SESSIONS} sessions without a breach"
        if state.frozen:
            self.rollout.thaw(self.signal, why=why, as_="operator")
            tally.act(day, "thaw", "frozen", "open", why)
        self.rollout.resume(self.signal, why=why, as_="operator")
        tally.act(day, "resume", state.posture, "NORMAL", why)


def session_day(session_ns: int) -> str:
    """The session's date, of its close in UTC."""
    return str(np.datetime64(session_ns, "ns").astype("datetime64[D]"))
