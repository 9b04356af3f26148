"""Scores what has arrived: every call of one turn of the loop, stacked per release, in one run (design D2).

    work.take(call) → admit, enter → [turn: gather → run → finish the calls] → settle → shadow releases

Nothing waits for company: a call that is alone when the turn ends runs alone. A run that would hold the loop for long
goes to a thread; the runtime lets go of the interpreter while it computes. A call whose caller has gone, or whose
deadline has passed, is not run. What can wait until the replies are out (the ring, the counts, shadow releases) waits.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import numpy.typing as npt

from serving.errors import CallCancelled, DeadlinePassed, ModelFailed, Overloaded, ServingError, TooManyScores
from serving.runtime.backend import Model
from serving.runtime.batch import (
    FLOAT32,
    Alone,
    Batch,
    Moment,
    Part,
    all_finite,
    look_over,
    look_over_all,
    rest,
    without_faults,
)
from serving.runtime.counts import EngineCounts as EngineCounts
from serving.runtime.lane import NO_DEADLINE_NS as NO_DEADLINE_NS
from serving.runtime.lane import Caller, Lane, Work
from serving.runtime.shadow import Shadows

LOG = logging.getLogger("signalbox.engine")

Float32s = npt.NDArray[np.float32]

STALL_NS = 2_000_000  # a run predicted to take longer than this leaves the loop
MAX_QUEUE_NS = 50_000_000  # a call that would wait longer than this for those before it is refused at once
MAX_WAITING_ROWS = 200_000  # per release: what the rows in waiting may take of memory
_STEP_ROWS = 64  # rows admitted before the clock is looked at again
_NS_PER_MS = 1_000_000


class Engine:
    """One worker's engine. Lives as long as the worker; everything runs on the loop it was made in.

    turn: a context that every turn's replies are given out in: the transport's outbox. monotonic_ns: the clock that
    deadlines are instants of. executor: where long runs go; None for the loop's own.
    """

    def __init__(
        self,
        *,
        turn: AbstractContextManager[object] | None = None,
        executor: Executor | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        stall_ns: int = STALL_NS,
        max_queue_ns: int = MAX_QUEUE_NS,
        max_waiting_rows: int = MAX_WAITING_ROWS,
    ) -> None:
        self.counts = EngineCounts()
        self._loop = asyncio.get_running_loop()
        self.turn: AbstractContextManager[object] = turn or nullcontext()
        self._executor = executor
        self.now_ns = monotonic_ns
        self._stall_ns = stall_ns
        self._max_queue_ns = max_queue_ns
        self._max_waiting_rows = max_waiting_rows
        self._lanes: dict[int, Lane] = {}  # by the identity of the model, which the lane keeps alive
        self._entered: list[Lane] = []
        self._alone: list[Alone] = []
        self._finished: list[Batch] = []
        self._threaded: set[Batch] = set()
        self._swept = False  # those who wait were looked over for cancelled calls in this turn
        self.shadows = Shadows(self)

    @property
    def busy(self) -> bool:
        """Whether calls wait, or are being run in a thread."""
        return bool(self._entered or self._threaded)

    @property
    def in_flight(self) -> int:
        """Calls that wait or are being run."""
        waiting = sum(call.count for lane in self._lanes.values() for work in lane.works for call in work.calls)
        return waiting + sum(batch.callers for batch in self._threaded)

    def lane(self, model: Model) -> Lane:
        """Where rows wait for `model`; made when it is first asked for."""
        lane = self._lanes.get(id(model))
        if lane is None:
            lane = self._lanes[id(model)] = Lane(model)
        return lane

    def forget(self, digest: str) -> None:
        """Lets go of a release that is no longer loaded; what still waits for it is run."""
        for key, lane in list(self._lanes.items()):
            if lane.model.digest == digest:
                del self._lanes[key]

    def admit(self, lane: Lane, rows: int, call: Caller) -> None:
        """Whether `call` may wait for `lane` with `rows` rows: DeadlinePassed or Overloaded when it would be in vain.

        What nobody is ahead of is always admitted: a prediction that nothing is run to correct would stay wrong.
        """
        error = self.objection(lane, rows, call)
        if error is None:
            return
        if isinstance(error, Overloaded):
            self.counts.shed += 1
        else:
            self.counts.expired += 1
        raise error

    def objection(self, lane: Lane, rows: int, call: Caller) -> ServingError | None:
        """What `admit` would raise, without counting it."""
        now_ns = self.now_ns()
        if call.deadline_ns <= now_ns:
            return DeadlinePassed("the deadline passed before the call could be queued; allow more time")
        if not (lane.waiting or self._entered or lane.running_until_ns):
            lane.free, lane.soonest_ns = rows, now_ns
            return None
        ahead_ns = self._ahead_ns(lane, now_ns)
        error = self._too_long(lane, rows, call.deadline_ns - now_ns, ahead_ns)
        if error is not None and self._drop_cancelled():
            ahead_ns = self._ahead_ns(lane, now_ns)
            error = self._too_long(lane, rows, call.deadline_ns - now_ns, ahead_ns)
        if error is None:
            lane.free = min(lane.waiting + max(rows, _STEP_ROWS), self._max_waiting_rows)
            lane.soonest_ns = now_ns + int(ahead_ns + lane.cost.expected_ns(lane.free))
        return error

    def enter(self, work: Work) -> None:
        """Has `work`, whose calls begin to come, run when this turn of the loop ends, or after the run under way."""
        lane = work.lane
        if not lane.works and not lane.running_until_ns:
            self._call_for_turn(lane)
        lane.works.append(work)

    def run(self, lane: Lane, rows: Float32s, then: Callable[[Float32s | ServingError], None]) -> None:
        """Runs the lane's model for nobody who waits: here, or in a thread where that would hold the loop for long."""
        if lane.cost.expected_ns(len(rows)) <= self._stall_ns:
            then(self._timed(lane, rows))
            return
        running = self._loop.run_in_executor(self._executor, self._timed, lane, rows)
        running.add_done_callback(lambda done: then(outcome_of(done)))

    def soon(self, turn: Callable[[], None]) -> None:
        """Has `turn` called in the next turn of the loop."""
        self._loop.call_soon(turn)

    def _call_for_turn(self, lane: Lane) -> None:
        if not self._entered:
            self._loop.call_soon(self._turn)
        self._entered.append(lane)

    def _turn(self) -> None:
        entered, self._entered = self._entered, []
        self._swept = False
        with self.turn:
            for lane in entered:
                if not self._run_alone(lane):
                    batch = self._gather(lane)
                    if batch is not None:
                        self._start(batch)
        self._settle()

    def _run_alone(self, lane: Lane) -> bool:
        """Runs a call that is the only one of its lane: what becomes of a batch, without what several calls need.

        False, and nothing was done, where there are several, or where anything is out of the ordinary.
        """
        works = lane.works
        if len(works) != 1 or lane.limited:
            return False
        work = works[0]
        calls, blocks = work.calls, work.blocks
        if len(calls) != 1 or calls[0].count != 1 or work.shared or lane.cost.expected_ns(work.rows) > self._stall_ns:
            return False
        call = calls[0]
        now_ns = self.now_ns()
        rows = np.ndarray((work.rows, lane.columns), FLOAT32, blocks[0])
        if call.cancelled or call.deadline_ns <= now_ns or not all_finite(rows):
            return False
        lane.take_up()
        work.calls, work.blocks = [], []
        ready_ns = self.now_ns()
        outcome = predict(lane.model, rows)
        scored_ns = self.now_ns()
        lane.cost.learn(work.rows, scored_ns - ready_ns)
        if isinstance(outcome, ServingError) or call.deadline_ns <= scored_ns:
            batch = Batch(lane, [Part(work, calls, blocks)], [(call.began_ns, 1)], call.deadline_ns, now_ns)
            batch.ready_ns, batch.scored_ns = ready_ns, scored_ns
            self._deliver(batch, outcome)
            return True
        sound = all_within(outcome, lane.model.score_limit)
        self._hand(work, calls, outcome, sound)
        self._alone.append(Alone(work, call.began_ns, rows, outcome, sound, now_ns, ready_ns, scored_ns, self.now_ns()))
        return True

    def _gather(self, lane: Lane) -> Batch | None:
        """Takes up what waits in `lane` and may be run; None when nothing is left."""
        now_ns = self.now_ns()
        parts: list[Part] = []
        moments: list[Moment] = []
        soonest_ns = NO_DEADLINE_NS
        for work in lane.take_up():
            calls, work.calls = work.calls, []
            blocks, work.blocks = work.blocks, []
            earliest_ns = look_over(calls, moments)
            if earliest_ns < soonest_ns:
                soonest_ns = earliest_ns
            parts.append(Part(work, calls, blocks))
        if soonest_ns <= now_ns or lane.limited:
            parts = self._still_wanted(lane, parts, now_ns)
            moments, soonest_ns = look_over_all(parts)
        if not parts:
            return None
        batch = Batch(lane, parts, moments, soonest_ns, now_ns)
        return batch if batch.fit else without_faults(batch)

    def _still_wanted(self, lane: Lane, parts: list[Part], now_ns: int) -> list[Part]:
        """What is left without the calls that are cancelled or expired, or too many for the release."""
        spread = [part.spread() for part in parts]
        wanted = [rest(part, [self._unwanted(call, now_ns) for call in part.calls]) for part in spread]
        if lane.limited:
            wanted = [rest(part, _too_many(lane.model, part, now_ns)) for part in wanted]
        return [part for part in wanted if part.calls]

    def _unwanted(self, call: Caller, now_ns: int) -> ServingError | None:
        if call.cancelled:
            self.counts.cancelled += 1
            return _gone()
        if call.deadline_ns <= now_ns:
            self.counts.expired += 1
            return DeadlinePassed("the deadline passed before the rows were scored; allow more time")
        return None

    def _start(self, batch: Batch) -> None:
        lane = batch.lane
        expected_ns = lane.cost.expected_ns(len(batch.rows))
        batch.ready_ns = self.now_ns()
        if expected_ns > self._stall_ns:
            lane.running_until_ns = batch.ready_ns + int(expected_ns)
            self._threaded.add(batch)
            running = self._loop.run_in_executor(self._executor, self._timed, lane, batch.rows)
            running.add_done_callback(partial(self._ran_aside, batch))
        else:
            outcome = predict(lane.model, batch.rows)
            batch.scored_ns = scored_ns = self.now_ns()
            lane.cost.learn(len(batch.rows), scored_ns - batch.ready_ns)
            self._deliver(batch, outcome)

    def _ran_aside(self, batch: Batch, done: asyncio.Future[Float32s | ServingError]) -> None:
        self.counts.threaded += 1
        self._threaded.discard(batch)
        self._swept = False
        batch.lane.running_until_ns = 0
        if batch.lane.works:
            self._call_for_turn(batch.lane)
        batch.scored_ns = self.now_ns()
        with self.turn:
            self._deliver(batch, outcome_of(done))
        self._settle()

    def _deliver(self, batch: Batch, outcome: Float32s | ServingError) -> None:
        """Hands each work its scores, in their order, or the error."""
        if isinstance(outcome, ServingError):
            for part in batch.parts:
                self.counts.failed += part.callers
                part.work.refuse(part.calls, outcome)
        else:
            batch.scores = outcome
            batch.sound = sound = all_within(outcome, batch.lane.model.score_limit)
            late = batch.soonest_ns <= batch.scored_ns
            for part, at in batch.slices():
                self._finish(part, outcome[at], sound, batch.scored_ns if late else 0)
        batch.done_ns = self.now_ns()
        self._finished.append(batch)

    def _finish(self, part: Part, scores: Float32s, sound: bool, late_ns: int) -> None:
        """Hands a work its scores. late_ns: calls whose deadline is not after it are refused; 0 where there is none."""
        if late_ns and not part.work.shared:  # a shared one has more callers than the batch's, and sees to it
            part, scores = self._in_time(part.spread(), scores, late_ns)
        if part.calls:
            self._hand(part.work, part.calls, scores, sound)

    def _hand(self, work: Work, calls: list[Caller], scores: Float32s, sound: bool) -> None:
        try:
            work.finish(calls, scores, sound)
        except (
            Exception
        ):  # a defect of ours: the other works of the batch still get their scores, and this one an error
            digest = work.lane.model.digest[:12]
            LOG.exception("release %s: a reply could not be made", digest)
            work.refuse(calls, ModelFailed(f"release {digest}: its reply could not be made; the log says why"))

    def _in_time(self, part: Part, scores: Float32s, now_ns: int) -> tuple[Part, Float32s]:
        """Refuses the calls whose deadline passed while their rows were scored; the others and their scores."""
        late = [call.deadline_ns <= now_ns for call in part.calls]
        self.counts.late += sum(late)
        error = DeadlinePassed("the deadline passed while the rows were scored; allow more time")
        in_time = scores.reshape(len(late), part.work.rows)[np.logical_not(late)]
        return rest(part, [error if each else None for each in late]), in_time.ravel()

    def _settle(self) -> None:
        """Does what could wait until the replies were out; what fails of it is known to the log alone."""
        alone, self._alone = self._alone, []
        for run in alone:
            try:
                run.settle(self.counts)
            except Exception:
                LOG.exception("scored rows could not be recorded")
        if not self._finished:
            return
        finished, self._finished = self._finished, []
        for batch in finished:
            try:
                batch.settle(self.counts)
            except Exception:
                LOG.exception("scored rows could not be recorded")

    def _timed(self, lane: Lane, rows: Float32s) -> Float32s | ServingError:
        """Runs the lane's model and learns what that costs."""
        began_ns = self.now_ns()
        outcome = predict(lane.model, rows)
        lane.cost.learn(len(rows), self.now_ns() - began_ns)
        return outcome

    def _drop_cancelled(self) -> bool:
        """Lets go of waiting calls that were cancelled, once a turn; whether there were any."""
        if self._swept:
            return False
        self._swept = True
        before = self.counts.cancelled
        for lane in self._lanes.values():
            for work in lane.works:
                if not work.shared and any(call.cancelled for call in work.calls):
                    part = Part(work, work.calls, work.blocks).spread()
                    kept = rest(part, [_gone() if call.cancelled else None for call in part.calls])
                    lane.waiting -= part.rows - kept.rows
                    self.counts.cancelled += len(part.calls) - len(kept.calls)
                    work.calls, work.blocks = kept.calls, kept.blocks
            lane.works = [work for work in lane.works if work.calls]
        return self.counts.cancelled > before

    def _ahead_ns(self, lane: Lane, now_ns: int) -> float:
        """How long what a call of `lane` has to wait for should take."""
        ahead_ns = 0.0
        for other in self._entered:
            ahead_ns += other.cost.expected_ns(other.waiting)
        if lane.running_until_ns:
            ahead_ns += max(1, lane.running_until_ns - now_ns) + lane.cost.expected_ns(lane.waiting)
        return ahead_ns

    def _too_long(self, lane: Lane, rows: int, left_ns: int, ahead_ns: float) -> Overloaded | None:
        """Overloaded when a call with `left_ns` until its deadline would wait too long, or for too many rows."""
        waiting = lane.waiting
        own_ns = max(0.0, lane.cost.expected_ns(waiting + rows) - lane.cost.expected_ns(waiting))
        if waiting + rows > self._max_waiting_rows:
            why = f"expected at most {self._max_waiting_rows} rows in waiting, found {waiting} and {rows} more"
        elif ahead_ns > self._max_queue_ns:
            why = f"expected to wait at most {_ms(self._max_queue_ns)}, found {_ms(ahead_ns)} of work ahead"
        elif ahead_ns + own_ns > left_ns:
            why = f"expected an answer within {_ms(left_ns)}, found {_ms(ahead_ns + own_ns)} of work until then"
        else:
            return None
        return Overloaded(
            f"{why}; back off and repeat, or ask another worker", retry_after_ms=max(1, round(ahead_ns / _NS_PER_MS))
        )


def _gone() -> CallCancelled:
    return CallCancelled("the caller went away before its rows were scored")


def predict(model: Model, rows: Float32s) -> Float32s | ServingError:
    """Runs `model`. An error comes back as a value: nothing may be left unanswered."""
    try:
        scores = model.backend.predict(rows)
    except Exception as error:  # noqa: BLE001 - whatever a runtime raises, its callers get an answer
        return ModelFailed(f"release {model.digest[:12]}: {type(error).__name__}: {error}")
    if scores.shape != (len(rows),):
        return ModelFailed(f"release {model.digest[:12]}: expected {len(rows)} scores, found shape {scores.shape}")
    return scores


def all_within(scores: Float32s, limit: float) -> bool:
    """Whether each score is a finite number within ±limit; limit is one that float32 holds."""
    if len(scores) == 1:
        return bool(-limit <= scores.item() <= limit)
    return bool(np.maximum.reduce(np.abs(scores)) <= limit)  # a NaN among them is the maximum, and compares false


def outcome_of(done: asyncio.Future[Float32s | ServingError]) -> Float32s | ServingError:
    """What a thread brought back; one that the executor never ran is a failure like any other."""
    error = None if done.cancelled() else done.exception()
    if done.cancelled() or error is not None:
        return ModelFailed(f"the rows were not scored: {error or 'the worker is stopping'}")
    return done.result()


def _too_many(model: Model, part: Part, now_ns: int) -> list[ServingError | None]:
    """For each call of `part`: TooManyScores where the release's limit does not allow its rows."""
    if not part.calls:
        return []
    takers = 1 if part.work.shared else len(part.calls)
    taken = [model.allowance.take(part.work.rows, now_ns) for _ in range(takers)]
    error = TooManyScores(
        f"release {model.digest[:12]}: expected at most {model.allowance.per_second:.0f} new scores a second in a "
        f"worker, found {part.work.rows} more; ask less often, or raise the limit in a new release"
    )
    return [None if each else error for each in (taken * len(part.calls) if part.work.shared else taken)]


def _ms(ns: float) -> str:
    return f"{ns / _NS_PER_MS:.1f} ms"
