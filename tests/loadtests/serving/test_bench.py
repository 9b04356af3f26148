"""The table of bars, and what becomes of parts that fail."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from loadtests.clients import varied
from loadtests.harness.model import BenchModel
from loadtests.harness.readings import Reading
from loadtests.harness.results import Row
from loadtests.harness.rounds import Readings
from loadtests.harness.table import Part, collect
from loadtests.serving import varied_rows
from loadtests.serving.bars import BARS, TABLE, failed, line_of, row
from loadtests.serving.bench import MINUTES, PARTS
from loadtests.serving.closed_loop import JUDGED, contestants


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Part]:
    """Makes a part out of a `rows` function."""

    def make(name: str, lines: tuple[str, ...], rows: Callable[[], list[Row]]) -> Part:
        module = ModuleType(name)
        module.rows = rows  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
        return Part(name, lines)

    return make


def test_every_line_is_a_row_whatever_happens(part: Callable[..., Part]) -> None:
    def broken() -> list[Row]:
        raise RuntimeError("the server fell over\nand more")

    right = part("right", ("02.12",), lambda: [row("02.12a", "memory", 90.0, "MiB", ok=True)])
    rows = collect(TABLE, [part("broken", ("02.6", "02.7"), broken), right], minutes=MINUTES)
    assert [line_of(each.id) for each in rows] == list(BARS)
    by_id = {each.id: each for each in rows}
    assert by_id["02.12a"].ok
    assert (by_id["02.7"].value, by_id["02.7"].ok) == (0.0, False)
    assert by_id["02.7"].what.endswith("not measured: RuntimeError: the server fell over")
    assert by_id["02.1"].what.endswith("no part of this run measures it")


def test_a_part_is_not_begun_too_late(part: Callable[..., Part]) -> None:
    late = part("late", ("02.12",), lambda: [row("02.12a", "memory", 90.0, "MiB", ok=True)])
    assert "not begun" in {each.id: each for each in collect(TABLE, [late], minutes=-1)}["02.12"].what


def test_a_row_takes_its_bar_from_the_table() -> None:
    assert row("02.5b", "p99", 1.0, "µs", ok=True).bar == BARS["02.5"].must
    with pytest.raises(KeyError, match=r"02\.99"):
        failed("02.99", "no such line")


def test_the_parts_measure_lines_of_the_table_once() -> None:
    lines = [line for each in PARTS for line in each.lines]
    assert len(set(lines)) == len(lines)
    assert set(map(line_of, lines)) <= set(BARS)


def test_a_part_that_fails_is_seen_though_another_measures_its_line(part: Callable[..., Part]) -> None:
    def broken() -> list[Row]:
        raise RuntimeError("no client")

    right = part("right", ("02.1",), lambda: [row("02.1a", "h2load", 2e5, "requests/s", ok=True)])
    by_id = {each.id: each for each in collect(TABLE, [right, part("broken", ("02.1b",), broken)], minutes=MINUTES)}
    assert by_id["02.1a"].ok
    assert (by_id["02.1b"].ok, by_id["02.1b"].bar) == (False, BARS["02.1"].must)


def test_our_clients_rows_are_of_probes_that_are_taken(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = BenchModel("none", tmp_path_factory.mktemp("model") / "model.onnx")
    taken = {probe.name: probe for each in varied_rows.contestants(model) for probe in each.probes}
    judged = [*varied_rows.JUDGED]
    assert {name for each in judged for name in (each.probe, each.over) if name} == set(taken)
    assert {probe.measure for probe in taken.values()} == {varied.measure}
    (part,) = (each for each in PARTS if each.module == "loadtests.serving.varied_rows")
    named = {each.id if each.id in part.lines else line_of(each.id) for each in judged}
    assert named == set(part.lines)
    assert not {each.id for each in judged} & {each.id for each in JUDGED}


def test_closed_loop_judges_probes_that_it_takes(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = BenchModel("none", tmp_path_factory.mktemp("model") / "model.onnx")
    taken = {probe.name for each in contestants(model) for probe in each.probes}
    assert {name for judged in JUDGED for name in (judged.probe, judged.over) if name} == taken
    assert len({judged.id for judged in JUDGED}) == len(JUDGED)


@pytest.mark.parametrize(("per_second", "kept"), [(139_999.0, False), (140_000.0, True)])
def test_a_bar_is_kept_or_not(per_second: float, kept: bool) -> None:
    readings = Readings({"native-score.64": [Reading(100, per_second, 300.0, 290.0, 500.0, 5.0, 0.0)]})
    assert JUDGED[0].row(readings).ok is kept
