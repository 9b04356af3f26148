"""Commands of the live side: `serve`, `publish`, `monitor`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from signalbox.cli.options import home_option, json_option, note

DAY = click.DateTime(["%Y-%m-%d"])


@click.command(epilog="Example: signalbox serve --home .signalbox --listen 127.0.0.1:8500 --workers 2")
@click.option("--listen", default="127.0.0.1:8500", show_default=True, help="HOST:PORT; worker i listens on PORT + i.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="One process and port each.")
@click.option("--transport", type=click.Choice(["grpcio"]), default="grpcio", show_default=True)
@click.option("--metrics", help="HOST:PORT of a /metrics page; none if left out.")
@click.option("--control", help="The control socket's path; HOME/run/control.sock if left out.")
@home_option
@json_option
def serve(
    listen: str,
    workers: int,
    transport: str,
    metrics: str | None,
    control: str | None,
    home_dir: Path,
    as_json: bool,
) -> None:
    """Serve what the ledger of this home says, until SIGTERM or Ctrl-C.

    Features come by `signalbox publish` or by Control.Push; without rows every answer is STALE.
    """
    from serving.host.hosting import Hosting
    from signalbox.scorer_process import run_scorer

    hosting = Hosting(listen=listen, workers=workers, transport=transport, control=control, metrics=metrics)
    run_scorer(home_dir, hosting, as_json=as_json)


@click.command(epilog="Example: signalbox publish --replay --from 2022-11-01 --speed 20")
@click.option("--replay", "is_replay", is_flag=True, help="Send the past as it would have happened.")
@click.option("--from", "first", type=DAY, help="First session; the last 63 of the snapshot if left out.")
@click.option("--to", "last", type=DAY, help="Last session; the snapshot's last if left out.")
@click.option("--speed", type=click.FloatRange(min=0), default=0.0, help="Sessions a second; as fast as it goes at 0.")
@click.option("--signal", "signal_name", help="A signal of signalbox.toml; the only one if left out.")
@click.option("--snapshot", "snapshot_id", help="A snapshot's id; the newest registered if left out.")
@home_option
@json_option
def publish(
    is_replay: bool,
    first: datetime | None,
    last: datetime | None,
    speed: float,
    signal_name: str | None,
    snapshot_id: str | None,
    home_dir: Path,
    as_json: bool,
) -> None:
    """Compute a signal's features from a snapshot and push them to this home's scorer, session by session."""
    from signalbox.desk import open_desk
    from signalbox.publishing import publish_replay

    if not is_replay:
        raise click.UsageError("expected --replay: rows are made from a snapshot's past")
    with open_desk(home_dir, read_only=True) as desk:
        sent = publish_replay(
            desk,
            signal_name,
            snapshot_id,
            first=None if first is None else first.date(),
            last=None if last is None else last.date(),
            sessions_per_second=speed,
            tell=note,
        )
    click.echo(sent.to_json() if as_json else str(sent))


@click.command(epilog="Example: signalbox monitor --scorer 127.0.0.1:8500")
@click.option("--scorer", "addresses", multiple=True, default=("127.0.0.1:8500",), show_default=True, help="Workers.")
@click.option("--signal", "signal_name", help="A signal of signalbox.toml; the only one if left out.")
@click.option("--snapshot", "snapshot_id", help="Where outcomes come from; the newest registered if left out.")
@click.option("--sessions", type=click.IntRange(min=1), help="Stop after so many sessions; run on if left out.")
@home_option
@json_option
def monitor(
    addresses: tuple[str, ...],
    signal_name: str | None,
    snapshot_id: str | None,
    sessions: int | None,
    home_dir: Path,
    as_json: bool,
) -> None:
    """Watch a signal: record its decisions, join outcomes, measure, judge, and cut or roll back by the policy."""
    from signalbox.monitoring_loop import run_monitor

    run_monitor(home_dir, addresses, signal_name, snapshot_id, sessions=sessions, as_json=as_json)
