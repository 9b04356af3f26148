"""Reads the rings of every worker from outside and says what rows were scored since it looked last."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from monitoring.errors import RingMismatch
from monitoring.release import SCORE
from promotion.record import INLINE, RingReader

Records = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Rows:
    """Feature rows that one release scored, each once, whichever worker did.

    event_time_ns: int64 [row], UTC. values: float32 [row, column]: the features in the rings' order, then the score
    (NaN where it was not OK).
    """

    release: str
    event_time_ns: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]

    def between(self, after_ns: int, until_ns: int) -> npt.NDArray[np.float32]:
        """The values of rows with an event time in (after_ns, until_ns]."""
        inside = (self.event_time_ns > after_ns) & (self.event_time_ns <= until_ns)
        return self.values[inside]


@dataclass(frozen=True)
class Collected:
    """What the rings brought: rows by release digest, and how many records were overwritten before they were read."""

    rows: dict[str, Rows]
    missed: int


class Collector:
    """Reads one ring a worker. A context manager that owns the readers.

    paths: the rings of one feature set. columns: of the rows it gives: the features in their order, then SCORE.
    A ring that is not there yet is looked for again at every collection, and one that its worker made anew is drained
    and then read from its start. Rows that came with a request are not the feed's: they are passed over. Until
    `settle`, what was collected is collected again: a session that fails loses nothing. RingMismatch when a ring is
    not of these columns.
    """

    def __init__(self, paths: Sequence[Path], columns: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._columns = tuple(columns)
        self._readers: dict[Path, RingReader] = {}
        self._held: dict[str, list[Records]] = {}
        self._missed = 0

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._readers.clear()

    def collect(self) -> Collected:
        """Everything scored since the last `settle`."""
        for path in self._paths:
            self._drain(path)
        rows = {release: _rows(release, _once(np.concatenate(parts))) for release, parts in self._held.items()}
        return Collected(rows, self._missed)

    def settle(self) -> None:
        """What was collected is recorded: it is not collected again."""
        self._held.clear()
        self._missed = 0

    def _drain(self, path: Path) -> None:
        reader = self._reader(path)
        if reader is None:
            return
        replaced = reader.replaced
        self._take(reader)
        if replaced and path.exists():
            reader.reopen()
            self._check(reader)
            self._take(reader)

    def _reader(self, path: Path) -> RingReader | None:
        if path not in self._readers:
            if not path.exists():
                return None
            reader = self._stack.enter_context(RingReader(path))
            self._check(reader)
            self._readers[path] = reader
        return self._readers[path]

    def _check(self, reader: RingReader) -> None:
        found = (*reader.columns, SCORE)
        if found != self._columns:
            raise RingMismatch(
                f"{reader.path}: expected columns {', '.join(self._columns)}, found {', '.join(found)}; "
                "attach the ring of the release's feature set"
            )

    def _take(self, reader: RingReader) -> None:
        batch = reader.read()
        self._missed += batch.missed
        fed = batch.records[batch.records["instrument"] != INLINE]
        digests = reader.releases
        for index in np.unique(fed["release"]):
            self._held.setdefault(digests[index], []).append(fed[fed["release"] == index])


def _once(records: Records) -> Records:
    """Each row version once: the same row is recorded by every worker that was asked for it."""
    _, first = np.unique(records[["event_time_ns", "knowledge_time_ns", "instrument"]], return_index=True)
    return records[np.sort(first)]


def _rows(release: str, records: Records) -> Rows:
    return Rows(release, records["event_time_ns"].copy(), np.column_stack([records["values"], records["score"]]))
