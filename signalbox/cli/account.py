"""Commands that read the ledger: `status`, `history`, `audit verify`. None of them writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from signalbox.cli.options import home_option, json_option, show, table


@click.command(epilog="Example: signalbox status --home .signalbox")
@home_option
@json_option
def status(home_dir: Path, as_json: bool) -> None:
    """What every signal serves, at what weight and posture, and who moved it last."""
    from signalbox.desk import open_desk

    with open_desk(home_dir, read_only=True) as desk:
        rows = desk.status()

    def text() -> str:
        header = ("signal", "generation", "live", "previous", "weight", "posture", "frozen", "last entry")
        return table(header, [[row[column] for column in header] for row in rows])

    show(rows, as_json=as_json, text=text)


@click.command(epilog="Example: signalbox history --signal large_caps --last 20")
@click.option("--signal", "signal_name", help="Only entries that touch this signal.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind; may be given more than once.")
@click.option("--last", type=click.IntRange(min=1), help="Only the newest N.")
@home_option
@json_option
def history(signal_name: str | None, kinds: tuple[str, ...], last: int | None, home_dir: Path, as_json: bool) -> None:
    """The ledger, oldest entry first: who did what, when and why."""
    from signalbox.desk import open_desk
    from signalbox.ledger_text import entry_document, entry_row

    with open_desk(home_dir, read_only=True) as desk:
        entries = [
            entry
            for entry in desk.ledger.entries()
            if (signal_name is None or entry.signal == signal_name) and (not kinds or entry.kind in kinds)
        ][-(last or 0) :]
    header = ("entry", "time", "kind", "signal", "actor", "what")
    show(
        [entry_document(entry) for entry in entries],
        as_json=as_json,
        text=lambda: table(header, [entry_row(entry) for entry in entries]),
    )


@click.group()
def audit() -> None:
    """Check that the history is what it was."""


@audit.command(epilog="Example: signalbox audit verify --home .signalbox")
@home_option
@json_option
def verify(home_dir: Path, as_json: bool) -> None:
    """Check every entry's place in the chain, its signature and its right to be there; name the first bad one."""
    from signalbox.desk import open_desk

    with open_desk(home_dir, read_only=True) as desk:
        found: dict[str, Any] = desk.audit()
    show(
        found,
        as_json=as_json,
        text=lambda: (
            f"{found['entries']} entries and {found['releases']} releases verify; head {found['head']}, "
            f"written by {', '.join(found['principals'])}"
        ),
    )
