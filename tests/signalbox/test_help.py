"""The command line cannot drift from its own help."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import click
import pytest

from signalbox.cli.main import COMMANDS, signalbox


def _leaves(name: str) -> list[tuple[str, click.Command]]:
    command = signalbox.get_command(click.Context(signalbox), name)
    assert command is not None
    if isinstance(command, click.Group):
        return [(f"{name} {sub}", each) for sub, each in command.commands.items()]
    return [(name, command)]


LEAVES = [leaf for name in COMMANDS for leaf in _leaves(name)]


@pytest.mark.parametrize(("name", "command"), LEAVES, ids=[name for name, _ in LEAVES])
def test_every_command_says_what_it_does_with_an_example_and_speaks_json(name: str, command: click.Command) -> None:
    assert command.help
    assert command.epilog
    assert command.epilog.startswith("Example:")
    assert name.split()[-1] in command.epilog
    options = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in options
    undocumented = [p.name for p in command.params if isinstance(p, click.Option) and not p.help and p.opts != ["--to"]]
    assert undocumented in ([], ["transport"]), undocumented


def test_every_command_of_the_contract_is_there() -> None:
    promised = "demo snapshot features train sweep backtest validate publish serve monitor status history audit"
    assert {*promised.split(), "promote", "rollback"} <= set(COMMANDS)


def test_help_imports_no_room() -> None:
    rooms = ["features", "promotion", "training", "serving", "monitoring", "protos", "numpy", "polars", "grpc"]
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from signalbox.cli.main import signalbox\n"
        "import click\n"
        "print(signalbox.get_help(click.Context(signalbox)))\n"
        f"print('IMPORTED', sorted({{m.split('.')[0] for m in sys.modules}} & set({rooms!r})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "IMPORTED []" in done.stdout
    assert all(name in done.stdout for name in COMMANDS)


def test_importing_the_commands_imports_no_room() -> None:
    modules = sorted({f"signalbox.cli.{lazy.module}" for lazy in COMMANDS.values()})
    code = f"import sys\nfor m in {modules!r}: __import__(m)\nprint(sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"'numpy'", "'grpc'", "'polars'", "'mlflow'"} & set(done.stdout.strip("[]\n").split(", "))
    for name in modules:
        import_module(name)
