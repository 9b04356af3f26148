"""A small Signalbox: a ledger with principals, and a release whose every byte is made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loadtests.harness.desk import Desk
from loadtests.harness.small_release import linear_model
from promotion.release.build import ReleaseParts
from tests import desks


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desks.open_desk(tmp_path / "home", Desk) as opened:
        yield opened


@pytest.fixture
def live(desk: Desk) -> Desk:
    """A desk whose signal has been promoted twice: slope 1, then slope 2 (live, weight 1)."""
    desk.put_policy_in_force()
    desk.promote(slope=1.0)
    desk.promote(slope=2.0)
    return desk


@pytest.fixture
def make_parts() -> Callable[..., ReleaseParts]:
    return desks.make_parts


@pytest.fixture
def make_model() -> Callable[..., bytes]:
    return linear_model
