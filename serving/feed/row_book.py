"""The newest accepted row of every instrument, as bytes: what a worker that starts anew is fed with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from serving.feature_table import FeatureTables, Taken


class RowBook:
    """Judges pushed rows as the workers do, and keeps what they accept. Lives as long as the supervisor."""

    def __init__(self, tables: FeatureTables) -> None:
        self._tables = tables
        self._newest: dict[tuple[bytes, str], bytes] = {}

    def take(self, batch: Sequence[bytes]) -> Taken:
        """Takes a batch of encoded rows; see FeatureTables.take."""
        taken = self._tables.take(batch)
        for index, row in taken.rows.items():
            self._newest[row.feature_set_id, row.instrument] = batch[index]
        return taken

    def newest(self) -> tuple[bytes, ...]:
        """The newest row of every instrument of every feature set."""
        return tuple(self._newest.values())

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._newest.values())
