"""Commands on data: `snapshot` takes prices in, `features` computes what a model will see."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from signalbox.cli.options import as_option, home_option, json_option, note, show, table


@click.command(epilog="Example: signalbox snapshot prices.csv --source vendor_eod")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--source", "source_name", help="A [sources.NAME] of signalbox.toml; may be left out where there is one.")
@click.option("--demo-prices", is_flag=True, help="The real daily prices that ship in the skfolio wheel.")
@as_option("researcher")
@home_option
@json_option
def snapshot(
    file: Path | None, source_name: str | None, demo_prices: bool, actor: str, home_dir: Path, as_json: bool
) -> None:
    """Take prices into an immutable snapshot, named by the hash of its content.

    FILE is CSV or Parquet in long form: instrument, event_time, close, and optionally knowledge_time, sequence and
    further numeric columns. A date without a time is the close of that session on the source's calendar.
    """
    from time import time_ns

    from features import ingest
    from signalbox.desk import open_desk

    if (file is None) == (not demo_prices):
        raise click.UsageError("expected either FILE or --demo-prices; see signalbox snapshot --help")
    with open_desk(home_dir) as desk:
        frame = ingest.demo_prices() if file is None else ingest.read_long(file)
        taken = desk.take_snapshot(frame, source_name=source_name, actor=actor, now_ns=time_ns())
    note(f"{taken.rows} rows of {len(taken.instruments)} instruments; {taken.source.description}")
    document = {"snapshot": taken.id, "rows": taken.rows, "instruments": list(taken.instruments)}
    show(
        {**document, "inputs": list(taken.inputs), "source": taken.source_name}, as_json=as_json, text=lambda: taken.id
    )


@click.group()
def features() -> None:
    """What a model sees: list the features, or compute them."""


@features.command("list", epilog="Example: signalbox features list")
@json_option
def list_features(as_json: bool) -> None:
    """Every feature there is, built in and installed."""
    from features.registry import available

    known = available()
    rows = [(name, each.kind, each.window, each.unit, ", ".join(each.read_names)) for name, each in known.items()]
    show(
        {
            name: {"alias": each.alias, "identity": each.identity, "window": each.window, "unit": each.unit}
            for name, each in known.items()
        },
        as_json=as_json,
        text=lambda: table(("feature", "kind", "window", "unit", "inputs"), rows),
    )


@features.command(epilog="Example: signalbox features build --as-of 2014-12-31 --out features.parquet")
@click.option("--signal", "signal_name", help="A signal of signalbox.toml; may be left out where there is one.")
@click.option("--snapshot", "snapshot_id", help="A snapshot's id; the newest registered one if left out.")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="As known at the end of this day; now if left out.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write a Parquet file in long form.")
@home_option
@json_option
def build(
    signal_name: str | None,
    snapshot_id: str | None,
    as_of: datetime | None,
    out: Path | None,
    home_dir: Path,
    as_json: bool,
) -> None:
    """Compute a signal's features over a snapshot, as known at one instant."""
    from signalbox.desk import end_of_day_ns, open_desk
    from signalbox.workshop import build_features, feature_frame

    with open_desk(home_dir) as desk:
        name, signal = desk.signal(signal_name)
        known_at_ns = desk.clock.now_ns() if as_of is None else end_of_day_ns(as_of.date())
        matrix, feature_set = build_features(signal, desk.snapshot(snapshot_id), known_at_ns=known_at_ns)
    frame = feature_frame(matrix)
    if out is not None:
        frame.write_parquet(out)
        note(f"wrote {out}")
    document = {"signal": name, "feature_set_id": feature_set.feature_set_id, "rows": frame.height}
    show(document, as_json=as_json, text=lambda: f"{feature_set.feature_set_id}\n{frame.describe()}")
