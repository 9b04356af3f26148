"""Commands of the live side: `serve`, `publish`, `monitor`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from signalbox.cli.options import home_option, json_option, note

if TYPE_CHECKING:  # a command imports its room when it runs
    from serving.host.hosting import TransportName
    from serving.transport.listen import Tls

DAY = click.DateTime(["%Y-%m-%d"])


class Cores(click.ParamType[tuple[int, ...]]):
    """Cores as they are named on the command line: 0,1 → (0, 1)."""

    name = "N,N..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """See click.ParamType."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() for part in parts):
            self.fail(f"expected core numbers like 0,1, found {value!r}", param, ctx)
        return tuple(int(part) for part in parts)


class Scratch(click.ParamType[tuple[str, Path]]):
    """A scratch model as it is named on the command line: mine=model.onnx → ("mine", Path("model.onnx"))."""

    name = "NAME=FILE.onnx"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        """See click.ParamType."""
        if isinstance(value, tuple):
            return value
        name, equals, file = str(value).partition("=")
        if not (name and equals and file):
            self.fail(f"expected NAME=FILE.onnx, found {value!r}", param, ctx)
        return name, Path(file)


@click.command(epilog="Example: signalbox serve --home .signalbox --listen 127.0.0.1:8500 --workers 2 --cores 0,1")
@click.option(
    "--listen",
    default="127.0.0.1:8500",
    show_default=True,
    help="HOST:PORT; worker i listens on PORT + i. Or unix:PATH; PATH.i with several workers.",
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="One process and port each.")
@click.option(
    "--transport", type=click.Choice(["native", "grpcio"]), default="native", show_default=True, help="Same answers."
)
@click.option("--reuse-port", is_flag=True, help="Every worker at HOST:PORT itself; the kernel deals connections out.")
@click.option("--cores", type=Cores(), default=(), help="Worker i runs on the i-th of these cores alone, as in 0,1.")
@click.option("--busy-poll", is_flag=True, help="The workers' loops never sleep: faster alone; a whole core each.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="PEM certificate: calls come by TLS.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its PEM key, mode 0600.")
@click.option("--tls-client-ca", type=click.Path(path_type=Path), help="PEM: clients must show a certificate of it.")
@click.option("--metrics", help="HOST:PORT of a /metrics page; none if left out.")
@click.option("--control", help="The control socket's path; HOME/run/control.sock if left out.")
@click.option(
    "--scratch",
    type=Scratch(),
    multiple=True,
    help="Serve this file instead of a home: on loopback alone, no ledger, no signature, weight 0.",
)
@click.option(
    "--instruments",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="With --scratch: the universe, i0, i1, ...",
)
@home_option
@json_option
@click.pass_context
def serve(
    ctx: click.Context,
    listen: str,
    workers: int,
    transport: TransportName,
    reuse_port: bool,
    cores: tuple[int, ...],
    busy_poll: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    metrics: str | None,
    control: str | None,
    scratch: tuple[tuple[str, Path], ...],
    instruments: int,
    home_dir: Path,
    as_json: bool,
) -> None:
    """Serve what the ledger of this home says, until SIGTERM or Ctrl-C; then what was accepted is answered.

    Features come by `signalbox publish` or by Control.Push; without rows every answer is STALE. SIGHUP replaces one
    worker after the other, and loses no call.
    """
    from serving.host.hosting import Hosting
    from signalbox.scorer_process import run_scorer, run_scratch

    hosting = Hosting(
        listen=listen,
        workers=workers,
        transport=transport,
        reuse_port=reuse_port,
        control=control,
        metrics=metrics,
        tls=_tls(tls_cert, tls_key, tls_client_ca),
        cores=cores,
        busy_poll=busy_poll,
    )
    if not scratch:
        run_scorer(home_dir, hosting, as_json=as_json)
        return
    for option in ("home_dir", "control"):
        if ctx.get_parameter_source(option) is ParameterSource.COMMANDLINE:
            raise click.UsageError("expected --scratch or --home and --control, found both: a scratch home is its own")
    if len(dict(scratch)) < len(scratch):
        raise click.UsageError("expected a name once, found two --scratch of one name")
    run_scratch(dict(scratch), hosting, instruments=instruments, as_json=as_json)


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    from serving.transport.listen import Tls

    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise click.UsageError("expected --tls-cert and --tls-key together, found one without the other")
    return Tls(certificate=certificate.resolve(), key=key.resolve(), client_ca=client_ca and client_ca.resolve())


@click.command(epilog="Example: signalbox publish --replay --from 2022-11-01 --speed 20")
@click.option("--replay", "is_replay", is_flag=True, help="Send the past as it would have happened.")
@click.option("--from", "first", type=DAY, help="First session; the last 63 of the snapshot if left out.")
@click.option("--to", "last", type=DAY, help="Last session; the snapshot's last if left out.")
@click.option("--redis", "through_redis", is_flag=True, help="Send to the [redis] of signalbox.toml instead.")
@click.option("--speed", type=click.FloatRange(min=0), default=0.0, help="Sessions a second; as fast as it goes at 0.")
@click.option("--signal", "signal_name", help="A signal of signalbox.toml; the only one if left out.")
@click.option("--snapshot", "snapshot_id", help="A snapshot's id; the newest registered if left out.")
@home_option
@json_option
def publish(
    is_replay: bool,
    first: datetime | None,
    last: datetime | None,
    through_redis: bool,
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
            through_redis=through_redis,
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
