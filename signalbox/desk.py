"""A home, opened: what the command line and the demo do with it. One `with` owns the ledger's file.

with open_desk(Path(".signalbox")) as desk:
    print(desk.status())
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from features.blobs import BlobStore
from features.clock import Clock, SystemClock
from features.ingest import validate_long
from features.snapshot import Snapshot, open_snapshot, write_snapshot
from features.source import NS_PER_MINUTE, SourceTerms
from promotion.config import Config, ConfigError, Signal, Source, read_config
from promotion.errors import LedgerUnreadable
from promotion.home import Home
from promotion.identity import KeyStore, Signer
from promotion.ledger.store import SqliteLedger
from promotion.ledger.verify import verify
from promotion.lineage import register
from promotion.rollout import Rollout, tell_nobody


@dataclass(frozen=True)
class Desk:
    """An open home. clock: stamps what is appended."""

    home: Home
    config: Config
    ledger: SqliteLedger
    keys: KeyStore
    clock: Clock

    def with_clock(self, clock: Clock) -> Desk:
        """The same home by another clock."""
        return replace(self, clock=clock)

    def signer(self, name: str) -> Signer:
        """The key of principal `name`."""
        return self.keys.signer(name)

    def rollout(self, notify: Callable[[int], None] = tell_nobody) -> Rollout:
        """What principals can do to signals; `notify` is told each new generation."""
        return Rollout(self.ledger, self.keys, self.clock, notify)

    def signal(self, name: str | None = None) -> tuple[str, Signal]:
        """The signal called `name`; without a name, the only one. ConfigError otherwise."""
        known = self.config.signals
        if name is None and len(known) == 1:
            name = next(iter(known))
        if name is None or name not in known:
            raise ConfigError(f"expected a signal of signalbox.toml ({', '.join(known)}), found {name!r}; name one")
        return name, known[name]

    def source(self, name: str | None) -> tuple[str, SourceTerms]:
        """The declared source called `name`; without a name, the only one. ConfigError otherwise."""
        known = self.config.sources
        if name is None and len(known) == 1:
            name = next(iter(known))
        if name is None or name not in known:
            raise ConfigError(f"expected a source of signalbox.toml ({', '.join(known)}), found {name!r}; name one")
        return name, source_terms(known[name])

    def take_snapshot(self, frame: pl.DataFrame, *, source_name: str | None, actor: str, now_ns: int) -> Snapshot:
        """Checks rows in long form, keeps them as a snapshot and registers it in the ledger."""
        name, terms = self.source(source_name)
        rows = validate_long(frame, source=terms, now_ns=now_ns)
        snapshot = write_snapshot(rows, source_name=name, source=terms, store=self._blobs)
        facts = {"source": name, "rows": snapshot.rows, "inputs": list(snapshot.inputs)}
        register(self.rollout(), "snapshot", snapshot.id, facts, as_=actor)
        return snapshot

    def snapshot(self, snapshot_id: str | None = None) -> Snapshot:
        """The snapshot of that id (its first digits suffice); without one, the newest that the ledger knows."""
        known = [key for kind, key in self.ledger.state().lineage if kind == "snapshot"]
        found = known[-1:] if snapshot_id is None else [one for one in known if one.startswith(snapshot_id)]
        if len(found) != 1:
            raise ConfigError(
                f"expected one snapshot of this home ({', '.join(one[:12] for one in known) or 'none'}), found "
                f"{snapshot_id!r}; run: signalbox snapshot"
            )
        return open_snapshot(self._blobs, found[0])

    def status(self) -> list[dict[str, Any]]:
        """One row a signal of the ledger."""
        states = self.ledger.state().signals.values()
        return [
            {
                "signal": state.signal,
                "generation": state.generation,
                "live": (state.live or "")[:12] or "none",
                "previous": (state.previous or "")[:12] or "none",
                "weight": state.weight,
                "posture": state.posture,
                "frozen": state.frozen,
                "last entry": state.sequence,
            }
            for state in states
        ]

    def audit(self) -> dict[str, Any]:
        """Checks the whole ledger and every registered release. BrokenChain or ReleaseRefused names what is wrong."""
        from promotion.release.open import verify_release  # brings in ONNX, which nothing else here needs

        bodies = self.ledger.bodies()
        state = verify(bodies)
        for digest in state.releases:
            verify_release(self.home, digest, environment=self.config.environment, principals=state.principals)
        return {
            "entries": len(bodies),
            "head": state.head,
            "releases": len(state.releases),
            "principals": sorted(state.principals),
        }

    @property
    def _blobs(self) -> BlobStore:
        return BlobStore(self.home.blobs)


@contextmanager
def open_desk(home_dir: Path, *, clock: Clock | None = None, read_only: bool = False) -> Iterator[Desk]:
    """The home at `home_dir`, opened. LedgerUnreadable when there is none there."""
    home = Home(home_dir)
    if not home.ledger.exists():
        raise LedgerUnreadable(
            f"{home_dir}: expected a Signalbox home, found none; run `signalbox demo` or `signalbox init`"
        )
    config = read_config(home.config)
    with SqliteLedger(home.ledger, environment=config.environment, read_only=read_only) as ledger:
        yield Desk(home, config, ledger, KeyStore(home.keys), clock or SystemClock())


def source_terms(source: Source) -> SourceTerms:
    """A source of the configuration, as the terms that features are read by."""
    return SourceTerms(
        description=source.description,
        licence=source.licence,
        calendar=source.calendar,
        delay_ns=round(source.delay_minutes * NS_PER_MINUTE),
        close_is=source.close_is,
    )


def end_of_day_ns(day: dt.date) -> int:
    """The last instant of `day`, UTC nanoseconds."""
    midnight = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), dt.UTC)
    return int(midnight.timestamp()) * 1_000_000_000 - 1
