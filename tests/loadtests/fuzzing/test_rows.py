"""What a run of the fuzzer is judged by: nothing that broke, hung, grew or was left out passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.fuzzing.run import PLANS, Outcome, rows_of

INPUTS = 100_000
GOOD = [Outcome(plan.name, round(INPUTS * plan.share), 9.0, 1.0, 2.0, (), (), "") for plan in PLANS]


def failed(outcomes: list[Outcome]) -> list[str]:
    return [row.id for row in rows_of(outcomes, INPUTS) if not row.ok]


def test_all_is_well_when_nothing_broke() -> None:
    assert failed(GOOD) == []
    assert sum(plan.share for plan in PLANS) == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({"broken": (Path("crash-1"),)}, ["fuzz.server", "fuzz.broken"]),
        ({"hung": (Path("timeout-1"),)}, ["fuzz.server", "fuzz.hung"]),
        ({"mib_more": 65.0}, ["fuzz.growth"]),
        ({"inputs": 100}, ["fuzz.server", "fuzz.inputs"]),
    ],
)
def test_whatever_is_wrong_fails_its_row(changes: dict[str, object], rows: list[str]) -> None:
    assert failed([replace(GOOD[0], **changes), *GOOD[1:]]) == rows  # type: ignore[arg-type]
