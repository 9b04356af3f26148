"""A home to put under load: one signal, a few promoted releases of given ONNX models, a key for feature rows.

Everything is product code, from the founding of the home to the promotion of each release, so that `signalbox serve`,
`rollback`, `promote` and a control client work on it as on any other. The history behind the releases is made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from features.clock import SystemClock
from loadtests.harness.desk import Desk, People
from loadtests.harness.small_release import ROW_KEY_ID, SIGNAL, encode_rows
from promotion.config import read_config
from promotion.home import Home
from promotion.ledger.store import SqliteLedger
from serving.feed.row_keys import read_row_keys
from signalbox.founding import found_home

Float32s = npt.NDArray[np.float32]

PEOPLE = People("researcher", "validator", "operator", "approver")
_CONFIG = """
environment = "paper"

[signals.{signal}]
owner = "desk"
universe = [{universe}]
features = [{features}]
horizon_sessions = 5
calendar = "XNYS"
latency_budget_us = 1000
limits = {{ max_capital_weight = 1.0, max_abs_score = 1000.0, max_scores_per_second = 1_000_000_000 }}
construction = {{ gross_leverage = 1.0 }}
costs = {{ half_spread_bps = 1.0, impact_coefficient = 0.5, adv_assumed_usd = 1e9, capital_usd = 1e7 }}

[sources.made]
description = "made up for a load test"
licence = "none"
calendar = "XNYS"
delay_minutes = 15.0

[gates.paper]
thresholds = [{{ metric = "observations", at_least = 100.0 }}]
"""


@dataclass(frozen=True)
class SmallHome:
    """A home that can be served. releases: digests in the order of promotion; the last is live, with weight 1."""

    home: Home
    releases: tuple[str, ...]
    universe: tuple[str, ...]
    columns: int

    def rows(self, values: Float32s, *, sequence: int, known_ns: int) -> list[bytes]:
        """See `encode_rows`: one for each instrument of the universe, signed with the home's key."""
        key = read_row_keys(self.home)[ROW_KEY_ID]
        return encode_rows(self.universe, values, sequence=sequence, known_ns=known_ns, key=key)


def make_small_home(root: Path, models: Sequence[bytes], *, columns: int, instruments: int) -> SmallHome:
    """A home in `root`, which must not be one yet, with every model of `models` promoted in turn.

    models: ONNX bytes, float32 [n, columns] to [n, 1].
    """
    universe = tuple(f"I{number:05d}" for number in range(instruments))
    home = found_home(root, config_text=_config_text(universe, columns), clock=SystemClock())
    with SqliteLedger(home.ledger) as ledger:
        desk = Desk(home, ledger, read_config(home.config), PEOPLE, SystemClock())
        desk.try_once()
        for model in models:
            desk.promote(model)
    return SmallHome(home, desk.releases, universe, columns)


def open_small_home(root: Path) -> SmallHome:
    """The home that `make_small_home` made in `root`."""
    home = Home(root)
    signal = read_config(home.config).signals[SIGNAL]
    with SqliteLedger(home.ledger) as ledger:
        releases = ledger.state().releases
    promoted = sorted(releases, key=lambda digest: releases[digest].sequence)
    return SmallHome(home, tuple(promoted), signal.universe, len(signal.features))


def _config_text(universe: Sequence[str], columns: int) -> str:
    return _CONFIG.format(
        signal=SIGNAL,
        universe=", ".join(f'"{name}"' for name in universe),
        features=", ".join(f'"feature_{number}"' for number in range(columns)),
    )
