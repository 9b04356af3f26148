"""The newest row of every instrument, where a request finds it: one dense float32 matrix per feature set.

Rows come in the order of their sequence per instrument; one that goes back is refused. Every read checks valid-until:
what has expired is stale and is never scored (design D9). Nothing here waits or locks: one loop owns a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.clock import Clock, ReplayClock
from features.errors import RowError, RowValueError
from features.row import FeatureRow, decode_row

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LAST_NS = 2**63 - 1  # the last instant that there is
NO_ROW = -1  # the sequence of a slot that no row has filled
AHEAD_NS = 1_000_000_000  # how far a publisher's clock may be ahead of ours
MAX_FEATURE_SETS = 64
MAX_INSTRUMENTS = 65_536
_FIRST_SIZE = 64


class RowWentBack(RowError):
    """The row's sequence is not above that of the row in the table: it was replayed, or sent twice."""


class RowRepeated(RowWentBack):
    """The row's sequence is that of the row in the table: it came twice, and nothing is lost."""


class RowFromTheFuture(RowError):
    """The row says it was known later than now: the publisher's clock is ahead."""


class TableFull(RowError):
    """One instrument, or one feature set, more than this scorer keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows as they were at one moment, copied out of the table; one element per slot asked for.

    values: float32 [n, feature], C-contiguous. event_times_ns, knowledge_times_ns, valid_until_ns: UTC nanoseconds,
    0 where there is no row. sequences: NO_ROW (−1) where there is no row.
    """

    values: Float32s
    event_times_ns: Int64s
    knowledge_times_ns: Int64s
    valid_until_ns: Int64s
    sequences: Int64s

    def at(self, which: Int64s) -> Rows:
        """The rows at positions `which`, int64 [m]."""
        return Rows(
            self.values[which],
            self.event_times_ns[which],
            self.knowledge_times_ns[which],
            self.valid_until_ns[which],
            self.sequences[which],
        )

    def expiry_ns(self, max_age_ns: int | None = None) -> Int64s:
        """int64 [n], UTC nanoseconds: the last instant at which each is fresh: of its time to live, and of the age."""
        if max_age_ns is None:
            return self.valid_until_ns
        known_ns = self.knowledge_times_ns
        aged_ns = np.where(known_ns > LAST_NS - max_age_ns, LAST_NS, known_ns + max_age_ns)
        return np.minimum(self.valid_until_ns, aged_ns)

    def fresh(self, now_ns: int, max_age_ns: int | None = None) -> Bools:
        """bool [n]: there is a row, its time to live has not run out, and it is no older than `max_age_ns`."""
        fresh: Bools = (self.sequences != NO_ROW) & (self.expiry_ns(max_age_ns) >= now_ns)
        return fresh


class FeatureTable:
    """The newest row per instrument of one feature set. Lives as long as the worker.

    feature_set_id: 32 bytes. columns: features per row. version: a number that rises with every row taken.
    """

    def __init__(self, feature_set_id: bytes, columns: int) -> None:
        self.feature_set_id = feature_set_id
        self.columns = columns
        self.version = 0
        self._slots: dict[str, int] = {}
        self._values = np.full((_FIRST_SIZE, columns), np.nan, np.float32)
        self._times = np.zeros((_FIRST_SIZE, 3), np.int64)  # event, knowledge, valid-until
        self._sequences = np.full(_FIRST_SIZE, NO_ROW, np.int64)

    def slots(self, instruments: Sequence[str]) -> Int64s:
        """The slots of `instruments`, int64 [n]; a new name gets one. TableFull beyond the limit."""
        known = self._slots
        return np.array([known[name] if name in known else self._new_slot(name) for name in instruments], np.int64)

    def rows(self, slots: Int64s) -> Rows:
        """A copy of the rows at `slots`: one gather. Slot −1, of no instrument, has no row."""
        times = self._times[slots]
        return Rows(self._values[slots], times[:, 0], times[:, 1], times[:, 2], self._sequences[slots])

    def sequences(self, slots: Int64s) -> Int64s:
        """The sequences of the rows at `slots`: what tells whether a row has changed."""
        return self._sequences[slots]

    def put(self, row: FeatureRow) -> None:
        """Takes `row` in place of the instrument's last; RowWentBack, RowValueError or TableFull: nothing changed."""
        if len(row.values) != self.columns:
            raise RowValueError(
                f"row of {row.instrument[:40]!r}: expected {self.columns} features, found {len(row.values)}; "
                "the publisher's feature set is not the release's"
            )
        slot = self._slots.get(row.instrument)
        if slot is None:
            slot = self._new_slot(row.instrument)
        if row.sequence <= self._sequences[slot]:
            kind = RowRepeated if row.sequence == self._sequences[slot] else RowWentBack
            raise kind(
                f"row of {row.instrument[:40]!r}: expected a sequence above {self._sequences[slot]}, found "
                f"{row.sequence}; a sequence only rises"
            )
        self._values[slot] = row.values
        self._times[slot] = (row.event_time_ns, row.knowledge_time_ns, row.valid_until_ns)
        self._sequences[slot] = row.sequence
        self.version += 1

    def _new_slot(self, instrument: str) -> int:
        slot = len(self._slots)
        if slot >= MAX_INSTRUMENTS:
            raise TableFull(f"expected at most {MAX_INSTRUMENTS} instruments, found one more: {instrument[:40]!r}")
        if slot == len(self._sequences) - 1:  # the last one stays empty: it is the one that slot −1 finds
            self._grow()
        self._slots[instrument] = slot
        return slot

    def _grow(self) -> None:
        size = len(self._sequences)
        self._values = np.concatenate([self._values, np.full((size, self.columns), np.nan, np.float32)])
        self._times = np.concatenate([self._times, np.zeros((size, 3), np.int64)])
        self._sequences = np.concatenate([self._sequences, np.full(size, NO_ROW, np.int64)])


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that was not taken. index: its place in the batch. error: the name of its RowError."""

    index: int
    reason: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch of pushed rows. rows: those taken, by their place in the batch."""

    rows: Mapping[int, FeatureRow]
    refused: tuple[Refusal, ...]

    @property
    def accepted(self) -> int:
        """How many rows were taken."""
        return len(self.rows)


class FeatureTables:
    """Every feature table of one process, fed by signed rows.

    keys: key id → MAC key. clock: what "now" is; a ReplayClock follows the rows' knowledge times (design D13).
    """

    def __init__(self, keys: Mapping[int, bytes], clock: Clock) -> None:
        self.clock = clock
        self._keys = keys
        self._tables: dict[bytes, FeatureTable] = {}

    def table(self, feature_set_id: bytes, columns: int) -> FeatureTable:
        """The table of that feature set, made when it is first asked for. RowValueError when its width differs."""
        table = self._tables.get(feature_set_id)
        if table is None:
            return self._new_table(feature_set_id, columns)
        if table.columns != columns:
            raise RowValueError(
                f"feature set {feature_set_id.hex()[:12]}: expected {table.columns} features, found {columns}; "
                "one identity has one list of features"
            )
        return table

    def take(self, batch: Iterable[bytes]) -> Taken:
        """Takes a batch of encoded rows, each by itself: those that are refused leave the others standing."""
        refused: list[Refusal] = []
        rows: dict[int, FeatureRow] = {}
        for index, data in enumerate(batch):
            try:
                rows[index] = self._take_row(data)
            except RowError as error:
                refused.append(Refusal(index, str(error), type(error).__name__))
        return Taken(rows, tuple(refused))

    def _take_row(self, data: bytes) -> FeatureRow:
        row = decode_row(data, self._keys)
        self._check_known(row)
        self.table(row.feature_set_id, len(row.values)).put(row)
        if isinstance(self.clock, ReplayClock):
            self.clock.advance_to(max(row.knowledge_time_ns, self.clock.now_ns()))
        return row

    def _check_known(self, row: FeatureRow) -> None:
        if row.sequence < 0:
            raise RowValueError(f"row of {row.instrument[:40]!r}: expected a sequence from 0, found {row.sequence}")
        if isinstance(self.clock, ReplayClock):
            return
        ahead_ns = row.knowledge_time_ns - self.clock.now_ns()
        if ahead_ns > AHEAD_NS:
            raise RowFromTheFuture(
                f"row of {row.instrument[:40]!r}: expected a knowledge time of now or before, found one {ahead_ns} ns "
                "ahead; set the publisher's clock"
            )

    def _new_table(self, feature_set_id: bytes, columns: int) -> FeatureTable:
        if len(self._tables) >= MAX_FEATURE_SETS:
            raise TableFull(f"expected at most {MAX_FEATURE_SETS} feature sets, found one more")
        table = self._tables[feature_set_id] = FeatureTable(feature_set_id, columns)
        return table
