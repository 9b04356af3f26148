"""A small Signalbox to serve: a ledger, two promoted releases of a linear model, row keys, a configuration."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.row import FeatureRow
from loadtests.harness.desk import Desk
from loadtests.harness.small_release import DAY_NS, FEATURE_SET_ID, encode_rows
from promotion.config import Config
from serving.feed.row_keys import create_row_key
from tests.desks import COLUMNS, UNIVERSE, make_config, open_desk

FIRST_NS = 1_300_000_000_000_000_000


@dataclass
class ServedDesk(Desk):
    """A desk whose feature rows are signed with `row_key`."""

    row_key: bytes = b""

    def rows(self, session: int, values: Any = None, *, instruments: Sequence[str] = UNIVERSE) -> list[bytes]:
        """One encoded row per instrument; the default values of instrument i are i+1 in every column."""
        if values is None:
            values = np.repeat(np.arange(1.0, len(instruments) + 1)[:, None], len(COLUMNS), axis=1)
        known_ns = FIRST_NS + session * DAY_NS
        return encode_rows(instruments, values, sequence=session, known_ns=known_ns, key=self.row_key)


@pytest.fixture
def empty_desk(tmp_path: Path) -> Iterator[ServedDesk]:
    """A founded ledger with a policy in force, and no release."""
    with open_desk(tmp_path / "home", ServedDesk) as desk:
        desk.row_key = create_row_key(desk.home)
        desk.put_policy_in_force()
        yield desk
    shutil.rmtree(desk.home.ring(0, FEATURE_SET_ID.hex()).parent, ignore_errors=True)  # rings outlive their workers


@pytest.fixture
def desk(empty_desk: ServedDesk) -> ServedDesk:
    """Its signal `large_caps` was promoted: slope 1 first, then slope 2 (live, weight 1)."""
    empty_desk.promote(slope=1.0)
    empty_desk.promote(slope=2.0)
    return empty_desk


@pytest.fixture
def config() -> Config:
    return make_config()


@pytest.fixture
def make_row() -> Callable[..., FeatureRow]:
    def make(instrument: str = "AAA", sequence: int = 0, **changes: Any) -> FeatureRow:
        known_ns = changes.pop("knowledge_time_ns", FIRST_NS + sequence * DAY_NS)
        facts: dict[str, Any] = {
            "feature_set_id": FEATURE_SET_ID,
            "instrument": instrument,
            "event_time_ns": known_ns - 60,
            "knowledge_time_ns": known_ns,
            "sequence": sequence,
            "valid_until_ns": known_ns + DAY_NS,
            "values": np.ones(len(COLUMNS), np.float32),
        }
        return FeatureRow(**(facts | changes))

    return make
