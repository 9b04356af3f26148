"""Scored rows into the rings: one per feature set, and all that the hot path writes (design D10)."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from promotion.home import Home
from promotion.record import INLINE, RingWriter
from serving.feature_table import FeatureTables, Rows
from serving.runtime.backend import Model

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


class Recorder(Protocol):
    """Where scored rows are recorded (the ring)."""

    def record(
        self, model: Model, slots: Int64s | None, rows: Rows | Float32s, scores: Float32s, status: Bytes
    ) -> None:
        """Records rows that `model` scored for the first time; slots None and bare values for inline rows."""
        ...

    def record_inline(self, model: Model, rows: Float32s, scores: Float32s) -> None:
        """Records inline rows whose scores are all OK: what `record` does, sooner."""
        ...


class NoRecorder:
    """Records nothing: where no monitor reads."""

    def record(
        self, model: Model, slots: Int64s | None, rows: Rows | Float32s, scores: Float32s, status: Bytes
    ) -> None:
        """See Recorder.record."""

    def record_inline(self, model: Model, rows: Float32s, scores: Float32s) -> None:
        """See Recorder.record_inline."""


class Ring:
    """The ring of one feature set. slots: the table's, of the instruments that its header names."""

    def __init__(self, writer: RingWriter, slots: Int64s) -> None:
        self.writer = writer
        self._index_of: Int32s = np.full(int(slots.max(initial=-1)) + 1, INLINE, np.int32)
        self._index_of[slots] = np.arange(len(slots), dtype=np.int32)

    def instruments(self, slots: Int64s) -> Int32s:
        """The header's index of the instruments at table `slots`."""
        return self._index_of[slots]


class RingRecorder:
    """One worker's rings. Owned by a `with`; a ring is made when a release of its feature set is first served.

    instruments: what the rings' headers name: every signal's universe.
    """

    def __init__(self, home: Home, worker: int, tables: FeatureTables, instruments: Iterable[str]) -> None:
        self._home = home
        self._worker = worker
        self._tables = tables
        self._instruments = tuple(dict.fromkeys(instruments))
        self._rings: dict[bytes, Ring] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rings.clear()
        self._open.close()

    @property
    def written(self) -> int:
        """Records written to all rings so far."""
        return sum(ring.writer.written for ring in self._rings.values())

    @property
    def overwritten(self) -> int:
        """How many of them have made way for newer ones, read or not."""
        return sum(max(0, ring.writer.written - ring.writer.capacity) for ring in self._rings.values())

    def prepare(self, models: Iterable[Model]) -> None:
        """Makes the rings that `models` need. RingError when one cannot be made."""
        for model in models:
            if model.feature_set_id not in self._rings:
                self._rings[model.feature_set_id] = self._make(model)
            self._rings[model.feature_set_id].writer.release_index(model.digest)

    def record(
        self, model: Model, slots: Int64s | None, rows: Rows | Float32s, scores: Float32s, status: Bytes
    ) -> None:
        """Records rows that `model` scored; slots None and bare values for inline rows."""
        ring = self._rings[model.feature_set_id]
        table = rows if isinstance(rows, Rows) else None
        ring.writer.write(
            scored_at_ns=self._tables.clock.now_ns(),
            event_time_ns=0 if table is None else table.event_times_ns,
            knowledge_time_ns=0 if table is None else table.knowledge_times_ns,
            instrument=INLINE if slots is None else ring.instruments(slots),
            release=ring.writer.release_index(model.digest),
            status=status,
            score=np.where(status == 0, scores, np.float32(np.nan)),
            values=rows.values if isinstance(rows, Rows) else rows,
        )

    def record_inline(self, model: Model, rows: Float32s, scores: Float32s) -> None:
        """Records inline rows whose scores are all OK."""
        writer = self._rings[model.feature_set_id].writer
        writer.write_inline(self._tables.clock.now_ns(), writer.release_index(model.digest), scores, rows)

    def _make(self, model: Model) -> Ring:
        feature_set_id = model.feature_set_id.hex()
        writer = RingWriter(
            self._home.ring(self._worker, feature_set_id),
            feature_set_id=feature_set_id,
            columns=model.features,
            instruments=self._instruments,
        )
        table = self._tables.table(model.feature_set_id, model.columns)
        return Ring(self._open.enter_context(writer), table.slots(self._instruments))
