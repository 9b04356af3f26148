"""Requests by instrument: rows of the feature table, scored once each, and answered from memory while nothing changes.

A `Lookup` is what one request asks for, until the next swap. A `View` is what it found at one moment: it holds, for
every call that comes, as long as the same rows are in the table and the clock has not passed the first of their
valid-untils (nor gone back to before one that had run out). Then its reply is the reply, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from serving.errors import ServingError
from serving.feature_table import NO_ROW, FeatureTable, FeatureTables, Rows
from serving.handlers.form import Host, halted_since, score_status, too_late
from serving.handlers.routes import Route, Split
from serving.handlers.step import Step
from serving.handlers.wire import OK, REFUSED, STALE, UNKNOWN_INSTRUMENT, Answer, Bytes, Question, write_answer
from serving.runtime.backend import Model
from serving.runtime.batch import all_finite
from serving.runtime.lane import Caller, Lane
from serving.statistics import Tally, tally

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]

L = TypeVar("L")

_ALWAYS, _NEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class Lookups(Generic[L]):
    """Requests by instrument, by their bytes. It is emptied when it is full; those in use are soon made again.

    most: how many it holds; most_names: how many instruments they name together, at about 100 bytes each.
    """

    def __init__(self, *, most: int, most_names: int = 400_000) -> None:
        self._most = most
        self._most_names = most_names
        self._names = 0
        self._by_body: dict[bytes, L] = {}
        self.find = self._by_body.get

    def keep(self, body: bytes, lookup: L, names: int) -> None:
        """Remembers the lookup of `body`."""
        if len(self._by_body) >= self._most or self._names + names > self._most_names:
            self.clear()
        if self._most and names <= self._most_names:
            self._by_body[body] = lookup
            self._names += names

    def clear(self) -> None:
        """Forgets every lookup."""
        self._by_body.clear()
        self._names = 0


class Share:
    """The rows of a lookup that one release scores.

    places: int64 [m], theirs in the answer. slots: int64 [m], the table's, −1 for no instrument of the universe.
    whole: they are all of it. at: what indexes them in the answer's arrays. unknown: some have no slot.
    """

    __slots__ = ("at", "lane", "model", "places", "shadows", "slots", "table", "unknown", "whole")

    def __init__(
        self, host: Host, table: FeatureTable, route: Route, model: Model, places: Int64s, slots: Int64s, *, whole: bool
    ) -> None:
        self.table = table
        self.model = model
        self.lane: Lane = host.engine.lane(model)
        self.shadows = route.shadows_of(model)
        self.places = places
        self.slots = slots
        self.whole = whole
        self.at: Int64s | slice = slice(None) if whole else places
        self.unknown = bool((slots < 0).any())


class Lookup:
    """One request by instrument. Lives until the next swap.

    names: the instruments, in the order of the reply. max_age_ns: None for any age.
    """

    __slots__ = ("clock", "host", "max_age_ns", "named", "names", "route", "shares", "split", "view")

    def __init__(self, host: Host, tables: FeatureTables, route: Route, question: Question) -> None:
        self.host = host
        self.route = route
        self.clock = tables.clock
        self.named = bool(question.instruments)
        self.names = question.instruments or route.universe
        self.max_age_ns = question.max_age_ns
        self.split: Split = route.split(self.names, question.release)
        self.shares = [self._share(tables, place) for place in range(len(self.split.models))]
        self.view: View | None = None

    def take(self, call: Caller) -> None:
        """Has `call` answered, at once or when the rows that are new have been scored."""
        view = self.view
        try:
            if view is None or not view.holds(self.clock.now_ns()):
                view = self.view = View(self)
            view.take(call)
        except ServingError as error:
            self.host.refuse(call, error)

    def _share(self, tables: FeatureTables, place: int) -> Share:
        route, model, index = self.route, self.split.models[place], self.split.index
        at = np.arange(len(self.names)) if index is None else np.flatnonzero(index == place)
        known = route.places[model.feature_set_id]
        slots = np.fromiter((known.get(self.names[each], -1) for each in at), np.int64, len(at))
        table = tables.table(model.feature_set_id, model.columns)
        return Share(self.host, table, route, model, at, slots, whole=index is None)


class Look(NamedTuple):
    """What a share found. version: the table's then. sequences: int64 [m], of its rows. new: those not scored yet."""

    share: Share
    version: int
    sequences: Int64s
    new: New | None

    def unchanged(self) -> bool:
        """Whether the same rows are in the table still, although others have moved."""
        return np.array_equal(self.share.table.sequences(self.share.slots), self.sequences)


class New(NamedTuple):
    """Rows that a release has not scored yet. slots: int64 [m]. at: int64 [m], their places in the answer."""

    share: Share
    slots: Int64s
    rows: Rows
    at: Int64s


class View:
    """A lookup's rows as they were at one moment, and what has become of them. The Owner of its steps.

    since_ns, until_ns: the instants, UTC nanoseconds, between which it holds while its rows are in the table.
    """

    __slots__ = (
        "_host",
        "_knowledge_times_ns",
        "_late",
        "_looks",
        "_lookup",
        "_reply",
        "_scores",
        "_sequences",
        "_status",
        "_steps",
        "_tally",
        "_waiting",
        "since_ns",
        "until_ns",
    )

    def __init__(self, lookup: Lookup) -> None:
        n = len(lookup.names)
        self.since_ns, self.until_ns = _ALWAYS, _NEVER
        self._lookup = lookup
        self._host = lookup.host
        self._scores = np.full(n, np.nan, np.float32)
        self._status = np.zeros(n, np.uint8)
        self._knowledge_times_ns = np.zeros(n, np.int64)
        self._sequences = np.full(n, NO_ROW, np.int64)
        self._reply: bytes | None = None
        self._tally: Tally = (0, 0, 0, 0)
        self._waiting = 0  # calls that a step has
        self._late: list[Caller] = []  # calls that came while a step was being run
        now_ns = lookup.clock.now_ns()
        self._looks = [self._look(share, now_ns) for share in lookup.shares]
        self._steps = [self._step(look.new) for look in self._looks if look.new is not None]
        if not self._steps:
            self._complete()

    def holds(self, now_ns: int) -> bool:
        """Whether a call that comes at `now_ns` would find the very same."""
        for look in self._looks:
            if look.version != look.share.table.version and not look.unchanged():
                return False
        return self.since_ns <= now_ns <= self.until_ns

    def take(self, call: Caller) -> None:
        """Answers `call` now, or when the steps are done. DeadlinePassed or Overloaded when that would be in vain."""
        if self._reply is not None:
            self._answer(call, self._reply)
        elif self._steps[0].begun:
            self._late.append(call)
        else:
            self._steps[0].take(call)
            self._waiting += 1

    def fault(self, step: Step, rows: Float32s) -> ServingError | None:
        """See Owner.fault: rows that may not be run are not in a step."""
        return None

    def scored(self, step: Step, calls: Sequence[Caller], scores: Float32s) -> None:
        """See Owner.scored."""
        self._scores[step.at] = scores
        self._steps.pop(0)
        late, self._late = self._late, []
        if self._steps:
            self._steps[0].go_on([*calls, *late])
            self._waiting = len(calls) + len(late)
            return
        reply = self._complete()
        now_ns = self._host.engine.now_ns()
        for call in calls:
            self._send(call, reply, now_ns)
        for call in late:
            self._answer(call, reply)

    def refused(self, step: Step, calls: Sequence[Caller], error: ServingError) -> None:
        """See Owner.refused. When nobody waits any more the view is given up: its step will not be run."""
        self._waiting -= len(calls)
        if not self._waiting:
            calls, self._late = [*calls, *self._late], []
            if self._lookup.view is self:
                self._lookup.view = None
        for call in calls:
            self._host.refuse(call, error)

    def settle(self, step: Step, rows: Float32s, scores: Float32s) -> None:
        """See Owner.settle."""
        new: New = step.of
        keep(self._host, new.share.model, new.slots, new.rows, scores)
        for model in new.share.shadows:
            offer(self._host, model, new)

    def _look(self, share: Share, now_ns: int) -> Look:
        """Puts the rows of `share` in their places; what is left to score of them."""
        model, at = share.model, share.at
        rows = share.table.rows(share.slots)
        status = self._row_status(rows, share, now_ns)
        scores, known = model.memo.look_up(share.slots, rows.sequences)
        self._scores[at] = scores
        self._status[at] = status
        self._knowledge_times_ns[at] = rows.knowledge_times_ns
        self._sequences[at] = rows.sequences
        missing = np.flatnonzero((status == OK) & ~known)
        new = None
        if len(missing):
            new = New(share, share.slots[missing], rows.at(missing), missing if share.whole else share.places[missing])
        return Look(share, share.table.version, rows.sequences, new)

    def _row_status(self, rows: Rows, share: Share, now_ns: int) -> Bytes:
        """uint8 [m] of RowStatus, before the model is asked; OK means: may be scored. Says how long the view holds."""
        expiry_ns = rows.expiry_ns(self._lookup.max_age_ns)
        there = rows.sequences != NO_ROW
        fresh = there & (expiry_ns >= now_ns)
        if fresh.all():
            self.until_ns = min(self.until_ns, int(expiry_ns.min(initial=_NEVER)))
        else:
            self.until_ns = min(self.until_ns, int(expiry_ns[fresh].min(initial=_NEVER)))
            self.since_ns = max(self.since_ns, int(expiry_ns[there & ~fresh].max(initial=_ALWAYS)) + 1)
        status = np.where(fresh, OK, STALE)
        if not all_finite(rows.values):
            holes = np.isnan(rows.values) & ~share.model.takes_nan
            status[fresh & holes.any(axis=1)] = REFUSED
        if share.unknown:
            status[share.slots < 0] = UNKNOWN_INSTRUMENT
        return status

    def _step(self, new: New) -> Step:
        return Step(self._host.engine, self, new.share.lane, new.rows.values, new.at, of=new)

    def _complete(self) -> bytes:
        """The reply, now that every row has its score; that of a halted signal where it was halted meanwhile."""
        lookup, split = self._lookup, self._lookup.split
        for share in lookup.shares:
            status = self._status[share.at]
            of_scores = score_status(self._scores[share.at], share.model)
            self._status[share.at] = np.where(status == OK, of_scores, status)
        halted = halted_since(self._host, lookup.route)
        if halted is not None:
            self._status[:] = REFUSED
        route = halted or lookup.route
        self._tally = tally(self._status)
        self._looks = [look._replace(new=None) for look in self._looks]
        self._reply = write_answer(
            Answer(
                route.generation,
                route.posture,
                split.models[0].digest,
                self._scores,
                self._status,
                split.weight,
                self._knowledge_times_ns,
                self._sequences,
                () if lookup.named else lookup.names,
                canary=split.models[1].digest if len(split.models) > 1 else "",
                weights=split.weights,
                release_index=split.index,
            )
        )
        return self._reply

    def _answer(self, call: Caller, reply: bytes) -> None:
        """Answers a call that no batch has counted."""
        now_ns = self._host.engine.now_ns()
        if self._send(call, reply, now_ns):
            self._host.counts.total.observe(now_ns - call.began_ns)

    def _send(self, call: Caller, reply: bytes, now_ns: int) -> bool:
        if call.deadline_ns <= now_ns:
            self._host.refuse(call, too_late())
            return False
        call.answer(reply)
        self._host.counts.add_rows(self._tally)
        return True


def keep(host: Host, model: Model, slots: Int64s, rows: Rows, scores: Float32s) -> None:
    """Remembers the scores of `rows`, and records those that are the first of their row."""
    first = np.flatnonzero(model.memo.keep(slots, rows.sequences, scores))
    if not len(first):
        return
    status = score_status(scores[first], model)
    refused = int(np.count_nonzero(status))
    if refused:
        host.counts.refused_scores[model.digest] += refused
    host.recorder.record(model, slots[first], rows.at(first), scores[first], status)


def offer(host: Host, shadow: Model, new: New) -> None:
    """Has a shadow release score what of `new` it has not scored yet."""
    _, known = shadow.memo.look_up(new.slots, new.rows.sequences)
    left = np.flatnonzero(~known)
    if len(left):
        slots, rows = new.slots[left], new.rows.at(left)
        scored = partial(_keep_shadow, host, shadow, slots, rows)
        host.engine.shadows.offer(host.engine.lane(shadow), rows.values, scored)


def _keep_shadow(
    host: Host, shadow: Model, slots: Int64s, rows: Rows, start: int, values: Float32s, scores: Float32s
) -> None:
    part = np.arange(start, start + len(values))
    keep(host, shadow, slots[part], rows.at(part), scores)
