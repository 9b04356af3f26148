"""Scored rows into the rings: one per feature set, and all that the hot path writes (design D10)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt

from features.clock import Clock
from promotion.home import Home
from promotion.record import INLINE, RingWriter
from serving.feature_table import Rows
from serving.routes import Route
from serving.runtime.backend import Model

Float32s = npt.NDArray[np.float32]
Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


class Ring:
    """The ring of one feature set, with the names its header gives instruments."""

    def __init__(self, writer: RingWriter, places: Iterable[int]) -> None:
        slots = list(places)
        self.writer = writer
        self.instrument_of: Int32s = np.full(max(slots, default=-1) + 1, INLINE, np.int32)
        self.instrument_of[slots] = np.arange(len(slots), dtype=np.int32)

    def instruments(self, slots: Int64s) -> Int32s:
        """The header's index of the instruments at table `slots`."""
        return self.instrument_of[slots]


class RingRecorder:
    """One worker's rings. Owned by a `with`; a ring is made when a release of its feature set is first served."""

    def __init__(self, home: Home, worker: int, clock: Clock) -> None:
        self._home = home
        self._worker = worker
        self._clock = clock
        self._rings: dict[bytes, Ring] = {}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rings.clear()
        self._open.close()

    def prepare(self, routes: Iterable[Route]) -> None:
        """Makes the rings that `routes` need. RingError when one cannot be made."""
        for route in routes:
            for model in route.models.values():
                self._ring(model, route.places[model.feature_set_id]).writer.release_index(model.digest)

    def record(
        self, model: Model, slots: Int64s | None, rows: Rows | Float32s, scores: Float32s, status: Bytes
    ) -> None:
        """Records rows that `model` scored; slots None and bare values for inline rows."""
        ring = self._rings[model.feature_set_id]
        table = rows if isinstance(rows, Rows) else None
        ring.writer.write(
            scored_at_ns=self._clock.now_ns(),
            event_time_ns=0 if table is None else table.event_times_ns,
            knowledge_time_ns=0 if table is None else table.knowledge_times_ns,
            instrument=INLINE if slots is None else ring.instruments(slots),
            release=ring.writer.release_index(model.digest),
            status=status,
            score=np.where(status == 0, scores, np.float32(np.nan)),
            values=rows.values if isinstance(rows, Rows) else rows,
        )

    def _ring(self, model: Model, places: Mapping[str, int]) -> Ring:
        ring = self._rings.get(model.feature_set_id)
        if ring is None:
            feature_set_id = model.feature_set_id.hex()
            writer = self._open.enter_context(
                RingWriter(
                    self._home.ring(self._worker, feature_set_id),
                    feature_set_id=feature_set_id,
                    columns=model.features,
                    instruments=tuple(places),
                )
            )
            ring = self._rings[model.feature_set_id] = Ring(writer, places.values())
        return ring
