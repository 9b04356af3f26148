"""`signalbox init`: a home of one's own."""

from __future__ import annotations

from pathlib import Path

import click

from signalbox.cli.options import home_option, json_option, note, show


@click.command(epilog="Example: signalbox init --home desk --config signalbox.toml")
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Start from this file; else the demo's."
)
@home_option
@json_option
def init(config: Path | None, home_dir: Path, as_json: bool) -> None:
    """Found a home: keys of its first principals, the ledger, and the policies of its configuration in force.

    The founding principals' keys lie on this machine: good for trying out. Where four eyes are to mean something,
    each person keeps their own key on their own machine.
    """
    from features.clock import SystemClock
    from promotion.config import ConfigError
    from signalbox.founding import PRINCIPALS, demo_config_text, found_home

    try:
        text = demo_config_text() if config is None else config.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{config}: expected a configuration file, found none ({error.strerror})") from error
    home = found_home(home_dir, config_text=text, clock=SystemClock())
    note(f"edit {home.config} before the first snapshot; its policies are in force as they stand now")
    document = {"home": str(home.root), "principals": {name: list(roles) for name, roles in PRINCIPALS.items()}}
    show(document, as_json=as_json, text=lambda: str(home.root))
