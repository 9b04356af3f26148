"""Commands that move a signal by one signed entry: `promote`, `approve`, `rollback`, `weight`, `halt`, `resume`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from signalbox.cli.options import as_option, home_option, json_option, note, show, table

if TYPE_CHECKING:
    from promotion.ledger.entry import Entry
    from promotion.rollout import Rollout
    from signalbox.desk import Desk
    from signalbox.scorers import Bulletin

GATE_FAILED = 3
APPROVAL_NEEDED = 4
UNREACHABLE = 8
why_option = click.option("--why", required=True, help="The reason; it stands in the ledger.")
signal_argument = click.argument("signal_name", metavar="SIGNAL")


@click.command(epilog="Example: promote large_caps@3f2a --to live")
@click.argument("target", metavar="SIGNAL@RELEASE")
@click.option("--to", "stage", type=click.Choice(["shadow", "live"]), default="live", show_default=True)
@click.option("--weight", "capital_weight", type=click.FloatRange(0, 1), help="Capital weight; the release's limit.")
@click.option("--plan", "plan_only", is_flag=True, help="Say what would happen and what each gate measures; no entry.")
@click.option("--idempotency-key", default="", help="The same command under the same key is carried out once.")
@as_option("operator")
@home_option
@json_option
def promote(
    target: str,
    stage: str,
    capital_weight: float | None,
    plan_only: bool,
    idempotency_key: str,
    actor: str,
    home_dir: Path,
    as_json: bool,
) -> None:
    """Put a release in service: judge it anew, plan, and carry the plan out once another person has approved it.

    The first call makes the plan and ends with exit code 4 and the approval command; the same call after the approval
    carries it out. Exit code 3: a gate refuses, with reasons.
    """
    from signalbox.desk import open_desk
    from signalbox.promoting import Request, describe_plan, find_release, mirror, plan_or_promote
    from signalbox.scorers import Bulletin

    with open_desk(home_dir) as desk:
        bulletin = Bulletin(desk.home, desk.config)
        digest = find_release(desk, target)
        if plan_only:
            document = describe_plan(desk, digest, stage)
        else:
            request = Request(digest, "live" if stage == "live" else "shadow", capital_weight, actor, idempotency_key)
            document = plan_or_promote(desk, desk.rollout(bulletin), request)
            if document["state"] == "promoted":
                note(mirror(desk, document["signal"], stage, digest))
    show(document, as_json=as_json, text=lambda: _plan_text(document))
    if document["state"] == "waits for approval":
        note(f"approval by another principal is needed: signalbox approve {document['plan'][:12]} --as approver")
        raise click.exceptions.Exit(APPROVAL_NEEDED)
    if document["state"] == "would be refused":
        raise click.exceptions.Exit(GATE_FAILED)
    _say_unreached(bulletin)


@click.command(epilog="Example: signalbox approve 5c1d --as approver")
@click.argument("plan_hash", metavar="PLAN")
@as_option("approver")
@home_option
@json_option
def approve(plan_hash: str, actor: str, home_dir: Path, as_json: bool) -> None:
    """Approve a plan by its hash, as another principal than the one who made it and the release's author."""
    from signalbox.promoting import find_plan

    _act(home_dir, as_json, lambda desk, rollout: rollout.approve(find_plan(desk, plan_hash), as_=actor))


@click.command(epilog='Example: rollback large_caps --why "scores look wrong"')
@signal_argument
@click.option("--to", "release", help="A release that was live before; the last good one if left out.")
@click.option("--why", default="rollback by hand", show_default=True, help="The reason; it stands in the ledger.")
@click.option("--idempotency-key", default="", help="The same command under the same key is carried out once.")
@as_option("operator")
@home_option
@json_option
def rollback(
    signal_name: str, release: str | None, why: str, idempotency_key: str, actor: str, home_dir: Path, as_json: bool
) -> None:
    """Go back to the last good release, at once: no approval, no loading. The capital weight is never raised by it."""
    from signalbox.promoting import find_digest

    def body(desk: Desk, rollout: Rollout) -> Entry:
        to = None if release is None else find_digest(desk, signal_name, release)
        return rollout.rollback(signal_name, why=why, as_=actor, to=to, key=idempotency_key)

    _act(home_dir, as_json, body)


@click.command(epilog='Example: signalbox weight large_caps 1.0 --why "reviewed with the desk"')
@signal_argument
@click.argument("capital_weight", type=click.FloatRange(0, 1))
@why_option
@as_option("operator")
@home_option
@json_option
def weight(signal_name: str, capital_weight: float, why: str, actor: str, home_dir: Path, as_json: bool) -> None:
    """Set a signal's capital weight, 0 to 1. Only a person may raise it."""
    _act(home_dir, as_json, lambda _, rollout: rollout.set_weight(signal_name, capital_weight, why=why, as_=actor))


@click.command(epilog='Example: signalbox halt large_caps --why "wrong prices"')
@signal_argument
@why_option
@as_option("operator")
@home_option
@json_option
def halt(signal_name: str, why: str, actor: str, home_dir: Path, as_json: bool) -> None:
    """Halt a signal: every score is REFUSED from now on. Only a person resumes it."""
    _act(home_dir, as_json, lambda _, rollout: rollout.halt(signal_name, why=why, as_=actor))


@click.command(epilog='Example: signalbox resume large_caps --why "feed repaired"')
@signal_argument
@why_option
@as_option("operator")
@home_option
@json_option
def resume(signal_name: str, why: str, actor: str, home_dir: Path, as_json: bool) -> None:
    """Take a signal from NO_NEW_RISK or HALTED back to NORMAL."""
    _act(home_dir, as_json, lambda _, rollout: rollout.resume(signal_name, why=why, as_=actor))


def _act(home_dir: Path, as_json: bool, body: Callable[[Desk, Rollout], Entry]) -> None:
    from signalbox.desk import open_desk
    from signalbox.ledger_text import entry_document, entry_row
    from signalbox.scorers import Bulletin

    with open_desk(home_dir) as desk:
        bulletin = Bulletin(desk.home, desk.config)
        entry = body(desk, desk.rollout(bulletin))
    header = ("entry", "time", "kind", "signal", "actor", "what")
    show(entry_document(entry), as_json=as_json, text=lambda: table(header, [entry_row(entry)]))
    _say_unreached(bulletin)


def _say_unreached(bulletin: Bulletin) -> None:
    """Exit code 8, after the entry was shown: it stands, and repeating the command would be another act."""
    if bulletin.unreached:
        note(f"done in the ledger, do not repeat it; {bulletin.unreached}")
        raise click.exceptions.Exit(UNREACHABLE)


def _plan_text(document: dict[str, Any]) -> str:
    rows = [(name, value) for name, value in document.items() if name not in ("measured", "reasons")]
    rows += [(f"  {name}", value) for name, value in document.get("measured", {}).items()]
    rows += [("  refused", reason) for reason in document.get("reasons", [])]
    return table(("what", "value"), rows)
