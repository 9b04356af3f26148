"""A table of bars that something must keep, and the bench that measures it, part by part.

A part is a module that exports `rows() -> list[Row]`, states its question, method, load model and limits in its own
docstring, and measures lines of one table. Parts run one after the other. One that fails costs its own lines alone:
they stand in the results as not measured, with the reason; so does a line that no part measures.
"""

from __future__ import annotations

import argparse
import importlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loadtests.harness.progress import say
from loadtests.harness.results import Row, write


@dataclass(frozen=True)
class Bar:
    """One line of a table. must: what must be reached, in words, copied into every row of this line."""

    what: str
    must: str


@dataclass(frozen=True, eq=False)
class Table:
    """Bars by the ids of their lines."""

    bars: Mapping[str, Bar]

    def row(self, row_id: str, what: str, value: float, unit: str, *, ok: bool) -> Row:
        """A row. row_id: the line's id, and a letter where it has several readings (`02.5b`)."""
        return Row(row_id, what, value, unit, self.bars[self.line_of(row_id)].must, ok)

    def failed(self, row_id: str, words: str) -> Row:
        """A row whose reading could not be taken: value 0, not kept, and why."""
        what = self.bars[self.line_of(row_id)].what
        return self.row(row_id, f"{what}; not measured: {words}", 0.0, "none", ok=False)

    def line_of(self, row_id: str) -> str:
        """ "02.5b" → "02.5"; KeyError for a line that the table does not have."""
        line = row_id.rstrip("abcdefghijklmnopqrstuvwxyz")
        if line not in self.bars:
            raise KeyError(f"{row_id}: expected a row of a line of the table ({', '.join(self.bars)})")
        return line


@dataclass(frozen=True)
class Part:
    """A module, and the lines of the table that it measures; the ids of its rows where another has the line too."""

    module: str
    lines: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Bench:
    """What `make bench-NAME` does. how: command, method and load model, in words, `{modules}` in it.

    minutes: no part is begun later than this after the first. require: raises where a tool that is needed is not there.
    """

    name: str
    table: Table
    parts: tuple[Part, ...]
    how: str
    minutes: float
    require: Callable[[], None] = lambda: None

    def main(self) -> None:
        """Runs the parts that the command line asks for, and writes the results."""
        parser = argparse.ArgumentParser(prog=f"{self.name}.bench", description=f"The bench of {self.name}.")
        lines = list(self.table.bars)
        parser.add_argument("--only", nargs="+", metavar="LINE", choices=lines, help="parts with these lines alone")
        only = parser.parse_args().only
        self.require()
        parts = [part for part in self.parts if not only or set(only) & set(map(self.table.line_of, part.lines))]
        modules = ",".join(part.module.rpartition(".")[2] for part in parts)
        how = self.how.strip().format(modules=f"{{{modules}}}").replace("\n", " ")
        print(write(self.name, collect(self.table, parts, minutes=self.minutes), how=how))


def collect(table: Table, parts: Sequence[Part], *, minutes: float) -> list[Row]:
    """The rows of all parts, in the table's order; every line of the table is among them."""
    rows: list[Row] = []
    deadline = time.monotonic() + minutes * 60
    for part in parts:
        say(f"{part.module}: lines {', '.join(part.lines)}")
        try:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not begun: more than {minutes:g} minutes had passed")
            rows += importlib.import_module(part.module).rows()
        except Exception as error:  # noqa: BLE001 - whatever a part raises, the others' readings are kept
            traceback.print_exc()
            words = str(error).splitlines() or [""]
            rows += [table.failed(line, f"{type(error).__name__}: {words[0]}") for line in part.lines]
    measured = {table.line_of(each.id) for each in rows}
    rows += [table.failed(line, "no part of this run measures it") for line in table.bars if line not in measured]
    order = list(table.bars)
    return sorted(rows, key=lambda each: (order.index(table.line_of(each.id)), each.id))
