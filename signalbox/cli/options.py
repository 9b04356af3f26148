"""Options that commands share, and how results are shown: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_HOME = ".signalbox"


def home_option(function: Command) -> Command:
    """`--home DIR`: where the state is."""
    return click.option(
        "--home",
        "home_dir",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(DEFAULT_HOME),
        show_default=True,
        help="The directory that holds the state.",
    )(function)


def json_option(function: Command) -> Command:
    """`--json`: one JSON document on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)


def as_option(default: str) -> Callable[[Command], Command]:
    """`--as NAME`: the principal whose key signs."""
    return click.option("--as", "actor", default=default, show_default=True, help="The principal whose key signs.")


def note(text: str) -> None:
    """Progress and remarks: stderr."""
    print(text, file=sys.stderr, flush=True)


def show(document: Any, *, as_json: bool, text: Callable[[], str]) -> None:
    """Prints `document` as JSON, or what `text` makes of it."""
    print(json.dumps(document, indent=2, sort_keys=True) if as_json else text())


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A plain text table: columns as wide as their widest cell."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])
