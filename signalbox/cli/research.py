"""Commands of research: `train`, `sweep`, `backtest`, `validate`. Each works on one home and prints an id."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signalbox.cli.options import as_option, home_option, json_option, note, show, table

if TYPE_CHECKING:
    from training.plan import Plan
    from training.sweep import Trial

DAY = click.DateTime(["%Y-%m-%d"])
signal_option = click.option("--signal", "signal_name", help="A signal of signalbox.toml; the only one if left out.")
snapshot_option = click.option("--snapshot", "snapshot_id", help="A snapshot's id; the newest registered if left out.")
as_of_option = click.option("--as-of", type=DAY, required=True, help="The last day whose knowledge may be used.")
first_test_option = click.option(
    "--first-test", type=DAY, required=True, help="From this day on every session is scored out of sample."
)


@click.command(epilog="Example: signalbox train --as-of 2014-12-31 --first-test 1996-01-02")
@signal_option
@snapshot_option
@as_of_option
@first_test_option
@click.option("--trainer", help="One trainer (built in or installed); the default plan's candidates if left out.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="A parameter of --trainer.")
@click.option("--seed", type=int, default=1, show_default=True, help="The seed of --trainer.")
@as_option("researcher")
@home_option
@json_option
def train(
    signal_name: str | None,
    snapshot_id: str | None,
    as_of: datetime,
    first_test: datetime,
    trainer: str | None,
    settings: tuple[str, ...],
    seed: int,
    actor: str,
    home_dir: Path,
    as_json: bool,
) -> None:
    """Train a signal's model by purged and embargoed walk-forward; every candidate is a trial in the ledger."""
    from training.plan import Candidate, Plan, honest_plan

    if trainer is None:
        if settings:
            raise click.UsageError("expected --trainer beside --set; name the trainer whose parameter it is")
        plan = honest_plan(as_of.date(), first_test=first_test.date(), label="train")
    else:
        candidate = Candidate(trainer=trainer, parameters=dict(map(_setting, settings)), seed=seed)
        plan = Plan(label="train", as_of=as_of.date(), first_test=first_test.date(), candidates=(candidate,))
    _run_plan(plan, signal_name, snapshot_id, actor, home_dir, as_json)


@click.command(epilog="Example: signalbox sweep --trials 40 --as-of 2014-12-31 --first-test 2010-01-04")
@signal_option
@snapshot_option
@as_of_option
@first_test_option
@click.option("--trials", type=click.IntRange(min=1), default=40, show_default=True, help="How many models to try.")
@click.option("--seed", type=int, default=7, show_default=True, help="Of the random search.")
@as_option("researcher")
@home_option
@json_option
def sweep(
    signal_name: str | None,
    snapshot_id: str | None,
    as_of: datetime,
    first_test: datetime,
    trials: int,
    seed: int,
    actor: str,
    home_dir: Path,
    as_json: bool,
) -> None:
    """Try many random LightGBM candidates and keep the best. Every one of them counts against it at the gate."""
    from training.plan import overfitted_plan

    plan = overfitted_plan(as_of.date(), first_test=first_test.date(), label="sweep", trials=trials, seed=seed)
    _run_plan(plan, signal_name, snapshot_id, actor, home_dir, as_json)


@click.command(epilog="Example: signalbox backtest RUN")
@click.argument("run_id", metavar="RUN")
@home_option
@json_option
def backtest(run_id: str, home_dir: Path, as_json: bool) -> None:
    """What a run's model would have earned out of sample, after costs, year by year."""
    from signalbox.backtest_text import backtest_document, backtest_table
    from signalbox.desk import open_desk
    from signalbox.workshop import find_run

    with open_desk(home_dir, read_only=True) as desk:
        document = backtest_document(find_run(desk.home, run_id))
    show(document, as_json=as_json, text=lambda: backtest_table(document))


@click.command(epilog="Example: signalbox validate RUN --as validator")
@click.argument("run_id", metavar="RUN")
@as_option("validator")
@home_option
@json_option
def validate(run_id: str, actor: str, home_dir: Path, as_json: bool) -> None:
    """Compute a run's evidence anew, package it as a signed release and say what each gate makes of it."""
    from signalbox import workshop
    from signalbox.desk import open_desk

    with open_desk(home_dir) as desk, workshop.tracking(desk) as tracker:
        judged = workshop.validate(desk, workshop.find_run(desk.home, run_id), validator=actor, tracker=tracker)
        report = desk.home.releases / judged.digest / "report.html"
    note(f"report: {report}")
    rows = [(one.environment, "passes" if one.passed else "refused", "; ".join(one.reasons)) for one in judged.verdicts]
    show(
        judged.document(),
        as_json=as_json,
        text=lambda: f"{judged.digest}\n" + table(("gate", "verdict", "reasons"), rows),
    )


def _run_plan(
    plan: Plan, signal_name: str | None, snapshot_id: str | None, actor: str, home_dir: Path, as_json: bool
) -> None:
    from signalbox import workshop
    from signalbox.desk import open_desk

    with open_desk(home_dir) as desk, workshop.tracking(desk) as tracker:
        name, _ = desk.signal(signal_name)
        snapshot = desk.snapshot(snapshot_id)
        run = workshop.train(desk, name, plan, snapshot, actor=actor, tracker=tracker, progress=_tell_trial)
    document: dict[str, Any] = {
        "run": run.id,
        "signal": name,
        "snapshot": snapshot.id,
        "chosen": run.record["chosen"],
        "trials": run.record["trials"],
    }
    show(document, as_json=as_json, text=lambda: run.id)


def _tell_trial(trial: Trial) -> None:
    found = f"net Sharpe {trial.sharpe:.2f} a year" if trial.outcome == "finished" else trial.reason
    note(f"trial {trial.position} ({trial.candidate.trainer}) {trial.outcome}: {found}")


def _setting(text: str) -> tuple[str, Any]:
    name, given, value = text.partition("=")
    if not given or not name:
        raise click.UsageError(f"--set: expected NAME=VALUE, found {text!r}; for example --set trees=60")
    for convert in (int, float):
        try:
            return name, convert(value)
        except ValueError:
            continue
    return name, value
