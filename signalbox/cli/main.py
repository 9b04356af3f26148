"""The command table: every command, where it lives, and the one place where errors become exit codes."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click


@dataclass(frozen=True)
class Lazy:
    """Where a command lives, and its one line in the list: its module is imported only when it runs."""

    module: str
    attribute: str
    line: str


COMMANDS = {
    "demo": Lazy("demo", "demo", "The whole path on real prices, in about two minutes."),
    "init": Lazy("setup", "init", "Found a home: keys, ledger, policies in force."),
    "snapshot": Lazy("data", "snapshot", "Take prices into an immutable snapshot."),
    "features": Lazy("data", "features", "What a model sees: list the features, or compute them."),
    "train": Lazy("research", "train", "Train a model; every candidate is a trial in the ledger."),
    "sweep": Lazy("research", "sweep", "Try many random candidates; each counts at the gate."),
    "backtest": Lazy("research", "backtest", "What a run would have earned out of sample."),
    "validate": Lazy("research", "validate", "Evidence computed anew, and a signed release."),
    "promote": Lazy("promotion", "promote", "Put a release in service."),
    "approve": Lazy("promotion", "approve", "Approve a plan, as another person."),
    "rollback": Lazy("promotion", "rollback", "Back to the last good release, at once."),
    "weight": Lazy("promotion", "weight", "Set a signal's capital weight."),
    "halt": Lazy("promotion", "halt", "Halt a signal: every score is refused."),
    "resume": Lazy("promotion", "resume", "Back to NORMAL after NO_NEW_RISK or HALTED."),
    "serve": Lazy("live", "serve", "Serve what the ledger says."),
    "publish": Lazy("live", "publish", "Compute features and push them to the scorer."),
    "monitor": Lazy("live", "monitor", "Watch a signal, and act by the policy."),
    "status": Lazy("account", "status", "What every signal serves, at what weight and posture."),
    "history": Lazy("account", "history", "The ledger: who did what, when and why."),
    "audit": Lazy("account", "audit", "Check that the history is what it was."),
}
USAGE = 64
OUTER_ROOMS = ("training", "serving", "monitoring", "protos")


class SignalboxGroup(click.Group):
    """Loads a command when it is needed, and turns domain errors into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of a release's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command called `cmd_name`, imported now."""
        if cmd_name not in COMMANDS:
            return None
        lazy = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"signalbox.cli.{lazy.module}"), lazy.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.line) for name, lazy in COMMANDS.items()])

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
    except Exception as error:  # noqa: BLE001 - an error that is none of ours is raised again below
        code = exit_code_of(error)
        print(f"signalbox: {error}", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def exit_code_of(error: Exception) -> int:
    """The exit code of a domain error; an error that is none of ours is a defect and is raised again.

    promotion.exit_codes knows the lower rooms' errors; those of the outer rooms mean that a call was wrong (64), or
    that nobody answered (8).
    """
    from promotion.exit_codes import UNREACHABLE, exit_code  # the table is only needed once something went wrong
    from protos.errors import Shed, TimedOut, Unreachable

    code = exit_code(error)
    if code is not None:
        return code
    if isinstance(error, (Unreachable, TimedOut, Shed)):
        return UNREACHABLE
    if type(error).__module__.partition(".")[0] not in OUTER_ROOMS:
        raise error
    return USAGE


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
