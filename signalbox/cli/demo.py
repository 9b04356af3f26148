"""`signalbox demo`."""

from __future__ import annotations

from pathlib import Path

import click

from signalbox.cli.options import home_option, json_option, show

MARK = "signalbox-demo"  # a file in the home: a directory without it is not the demo's to delete


@click.command(epilog="Example: signalbox demo --home .signalbox")
@home_option
@json_option
def demo(home_dir: Path, as_json: bool) -> None:
    """The whole path on real prices: train, gate, promote, serve, watch, cut, roll back. About two minutes.

    Makes a fresh home at each run: an earlier demo's home there is removed, anything else is left alone and refused.
    """
    import asyncio
    import shutil

    from promotion.config import ConfigError
    from signalbox.demo import summary
    from signalbox.demo.progress import Progress
    from signalbox.demo.story import tell

    if home_dir.exists() and any(home_dir.iterdir()):
        if not (home_dir / MARK).exists():
            raise ConfigError(
                f"{home_dir}: expected an earlier demo's home or nothing, found other files; name another"
            )
        shutil.rmtree(home_dir)
    home_dir.mkdir(parents=True, exist_ok=True)
    (home_dir / MARK).write_text("This directory is made afresh by every `signalbox demo`.\n")
    story = asyncio.run(tell(home_dir, Progress()))
    show(summary.document(story), as_json=as_json, text=lambda: summary.text(story))
