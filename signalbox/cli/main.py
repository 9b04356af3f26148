"""The command table: every command, where it lives, and the one place where errors become exit codes."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

# name -> (module, attribute): a command's module is imported when the command runs or its help is asked for.
COMMANDS = {
    "demo": ("signalbox.cli.demo", "demo"),
    "init": ("signalbox.cli.setup", "init"),
    "snapshot": ("signalbox.cli.data", "snapshot"),
    "features": ("signalbox.cli.data", "features"),
    "train": ("signalbox.cli.research", "train"),
    "sweep": ("signalbox.cli.research", "sweep"),
    "backtest": ("signalbox.cli.research", "backtest"),
    "validate": ("signalbox.cli.research", "validate"),
    "promote": ("signalbox.cli.promotion", "promote"),
    "rollback": ("signalbox.cli.promotion", "rollback"),
    "approve": ("signalbox.cli.promotion", "approve"),
    "weight": ("signalbox.cli.promotion", "weight"),
    "halt": ("signalbox.cli.promotion", "halt"),
    "resume": ("signalbox.cli.promotion", "resume"),
    "serve": ("signalbox.cli.live", "serve"),
    "publish": ("signalbox.cli.live", "publish"),
    "monitor": ("signalbox.cli.live", "monitor"),
    "status": ("signalbox.cli.account", "status"),
    "history": ("signalbox.cli.account", "history"),
    "audit": ("signalbox.cli.account", "audit"),
}
USAGE = 64


class SignalboxGroup(click.Group):
    """Loads a command when it is needed, and turns domain errors into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of a release's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`, imported now."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the command line; exits with the code of the contracts."""
        kwargs["standalone_mode"] = False
        run_and_exit(lambda: super(SignalboxGroup, self).main(*args, **kwargs))


def run_and_exit(body: Any) -> None:
    """Runs `body` and exits: 0, the code of a domain error (promotion.exit_codes), or 64 for a call that is wrong."""
    try:
        code = body()
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.ClickException as error:
        error.show()
        code = USAGE
    except click.Abort:
        print("stopped", file=sys.stderr)
        code = 130
    except (ValueError, OSError, RuntimeError) as error:
        code = exit_code_of(error)
        print(f"signalbox: {error}", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def exit_code_of(error: Exception) -> int:
    """The exit code of a domain error; an error that is none of ours is a defect and is raised again."""
    from promotion.exit_codes import exit_code  # the table is only needed once something went wrong

    code = exit_code(error)
    if code is None:
        raise error
    return code


@click.group(cls=SignalboxGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="signalbox")
def signalbox() -> None:
    """A model's way from research to capital: gated, signed, served and watched.

    \b
    Examples:
      signalbox demo                       the whole path on real prices, in two minutes
      signalbox status --home .signalbox   what is live, at what weight, and why
      promote large_caps@DIGEST --to live  put a release in service
      rollback large_caps --why "..."      back to the last good release, at once
    """


def promote() -> None:
    """The console script `promote`."""
    signalbox.main(args=["promote", *sys.argv[1:]], prog_name="signalbox")


def rollback() -> None:
    """The console script `rollback`."""
    signalbox.main(args=["rollback", *sys.argv[1:]], prog_name="signalbox")
