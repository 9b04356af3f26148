"""The commands on a small home, each in a process of its own: what they print, write and refuse."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

Cli = Callable[..., Any]


def test_status_and_history_tell_what_was_done(cli: Cli, home: Path, ids: dict[str, Any]) -> None:
    (row,) = cli("status", "--home", str(home), "--json").document
    assert (row["generation"], row["live"], row["previous"]) == (2, ids["releases"][1][:12], ids["releases"][0][:12])
    assert (row["weight"], row["posture"]) == (1.0, "NORMAL")
    kinds = [entry["kind"] for entry in cli("history", "--home", str(home), "--json").document]
    assert kinds[0] == "opened"
    assert kinds.index("trial_opened") < kinds.index("trial_closed") < kinds.index("release_registered")
    assert kinds.count("promoted") == kinds.count("plan_approved") == 2
    only = cli("history", "--home", str(home), "--kind", "promoted", "--last", "1", "--json").document
    assert [entry["payload"]["release"] for entry in only] == [ids["releases"][1]]


def test_rollback_needs_nothing_and_is_one_entry(cli: Cli, home: Path, ids: dict[str, Any]) -> None:
    done = cli("rollback", "large_caps", "--why", "it drifts", "--home", str(home), "--json")
    assert (done.code, done.document["kind"], done.document["payload"]["to"]) == (0, "rolled_back", ids["releases"][0])
    (row,) = cli("status", "--home", str(home), "--json").document
    assert (row["generation"], row["live"]) == (3, ids["releases"][0][:12])
    again = cli("rollback", "large_caps", "--home", str(home))
    assert again.code == 64
    assert "expected a release before the live one" in again.err


def test_weight_and_halt_and_resume(cli: Cli, home: Path) -> None:
    assert cli("weight", "large_caps", "0.5", "--why", "review", "--home", str(home)).code == 0
    assert cli("halt", "large_caps", "--why", "wrong prices", "--home", str(home), "--as", "kill-switch").code == 0
    (row,) = cli("status", "--home", str(home), "--json").document
    assert (row["weight"], row["posture"]) == (0.5, "HALTED")
    refused = cli("resume", "large_caps", "--why", "fine again", "--home", str(home), "--as", "monitor")
    assert refused.code == 4
    assert cli("resume", "large_caps", "--why", "fine again", "--home", str(home)).code == 0


def test_the_monitors_principal_cannot_raise_the_weight(cli: Cli, home: Path) -> None:
    assert cli("weight", "large_caps", "0.5", "--why", "cut", "--home", str(home), "--as", "monitor").code == 0
    refused = cli("weight", "large_caps", "1.0", "--why", "looks good", "--home", str(home), "--as", "monitor")
    assert refused.code == 4
    assert "reduce" in refused.err


def test_an_approver_cannot_approve_what_they_proposed(cli: Cli, home: Path, ids: dict[str, Any]) -> None:
    waits = cli("promote", f"large_caps@{ids['releases'][0]}", "--home", str(home), "--json")
    assert waits.code == 4
    refused = cli("approve", waits.document["plan"], "--as", "operator", "--home", str(home))
    assert refused.code == 4


def test_plan_writes_nothing(cli: Cli, home: Path, ids: dict[str, Any]) -> None:
    before = (home / "ledger.db").read_bytes()
    plan = cli("promote", f"large_caps@{ids['releases'][0]}", "--plan", "--home", str(home), "--json")
    assert (plan.code, plan.document["state"]) == (0, "would pass")
    assert (home / "ledger.db").read_bytes() == before


def test_a_plan_is_carried_out_at_the_weight_that_was_asked_for(
    cli: Cli, process: Cli, home: Path, ids: dict[str, Any]
) -> None:
    def promote(*more: str) -> Any:
        return process("promote", f"large_caps@{ids['releases'][0]}", *more, "--home", str(home), "--json")

    full, little = promote().document, promote("--weight", "0.2").document
    assert (full["weight"], little["weight"]) == ("1.0", "0.2")
    assert cli("approve", full["plan"], "--home", str(home)).code == 0
    assert promote("--weight", "0.2").code == 4  # the approval is of the other plan
    assert cli("approve", little["plan"], "--home", str(home)).code == 0
    assert promote("--weight", "0.2", "--idempotency-key", "k1").code == 0
    (row,) = cli("status", "--home", str(home), "--json").document
    assert (row["weight"], row["generation"]) == (0.2, 3)
    again = promote("--weight", "0.2", "--idempotency-key", "k1")
    assert (again.code, again.document["state"], again.document["generation"]) == (0, "promoted", 3)


def test_backtest_and_features(cli: Cli, home: Path, ids: dict[str, Any], tmp_path: Path) -> None:
    periods = cli("backtest", ids["run"][:10], "--home", str(home), "--json").document["periods"]
    assert [row["period"] for row in periods] == ["all", "2000", "2001"]
    assert "adv_assumed" in cli("backtest", ids["run"], "--home", str(home)).out
    out = tmp_path / "features.parquet"
    built = cli("features", "build", "--as-of", "1995-12-29", "--out", str(out), "--home", str(home), "--json")
    frame = pl.read_parquet(out)
    assert built.document["rows"] == frame.height
    assert frame["knowledge_time"].max() <= pl.Series(["1995-12-30"]).str.to_datetime(time_zone="UTC")[0]


def test_audit_verifies_and_names_the_first_bad_entry(cli: Cli, process: Cli, home: Path) -> None:
    good = cli("audit", "verify", "--home", str(home), "--json")
    assert (good.code, good.document["releases"]) == (0, 2)
    ledger = sqlite3.connect(home / "ledger.db")
    (body,) = ledger.execute("SELECT body FROM entries WHERE sequence = 5").fetchone()
    ledger.execute("DROP TRIGGER entries_stay")
    altered = body.replace(b'"time_ns":1', b'"time_ns":2')
    assert altered != body
    ledger.execute("UPDATE entries SET body = ? WHERE sequence = 5", (altered,))
    ledger.commit()
    ledger.close()
    for command in (("audit", "verify"), ("serve", "--listen", "127.0.0.1:0")):
        bad = process(*command, "--home", str(home))
        assert bad.code == 2
        assert "entry 5" in bad.err


def test_an_altered_byte_in_a_release_is_named(cli: Cli, home: Path, ids: dict[str, Any]) -> None:
    model = home / "releases" / ids["releases"][1] / "model.onnx"
    body = bytearray(model.read_bytes())
    body[len(body) // 2] ^= 1
    model.chmod(0o644)
    model.write_bytes(bytes(body))
    bad = cli("audit", "verify", "--home", str(home))
    assert bad.code == 3
    assert "model.onnx" in bad.err


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        (("status",), 8, "expected a Signalbox home, found none"),
        (("snapshot", "nowhere.csv"), 8, "expected a Signalbox home"),
        (("promote", "large_caps"), 8, "expected a Signalbox home"),
        (("rollback",), 64, "Missing argument"),
        (("history", "--last", "0"), 64, "range"),
        (("no-such-command",), 64, "No such command"),
    ],
)
def test_a_wrong_call_says_so(cli: Cli, tmp_path: Path, call: tuple[str, ...], code: int, words: str) -> None:
    extra = () if call[0] == "no-such-command" else ("--home", str(tmp_path / "nothing"))
    done = cli(*call, *extra)
    assert done.code == code
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("promote", "large_caps@ffff"), "expected one release of large_caps"),
        (("promote", "large_caps"), "expected SIGNAL@RELEASE"),
        (("promote", "unknown@ffff"), "expected one release of unknown"),
        (("approve", "ffff"), "expected one plan"),
        (("backtest", "ffff"), "expected one run"),
        (("rollback", "unknown"), "expected a signal of this ledger"),
        (("features", "build", "--signal", "unknown"), "expected a signal of signalbox.toml"),
        (("snapshot", "nowhere.csv"), "nowhere.csv"),
        (("halt", "large_caps", "--why", "x", "--as", "nobody"), "expected a private key of 'nobody'"),
    ],
)
def test_an_unknown_name_is_refused_by_name(cli: Cli, home: Path, call: tuple[str, ...], words: str) -> None:
    done = cli(*call, "--home", str(home))
    assert done.code == 64
    assert words in done.err
    assert "Traceback" not in done.err


def test_bad_prices_are_refused_by_row_and_column(cli: Cli, home: Path, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("instrument,event_time,close\nAAA,2020-01-02,10\nAAA,2020-01-03,-1\n")
    done = cli("snapshot", str(file), "--home", str(home))
    assert done.code == 64
    assert "column close" in done.err
    assert "row 2" in done.err
    file.write_text("ticker,day,price\nAAA,2020-01-02,10\n")
    done = cli("snapshot", str(file), "--home", str(home))
    assert "instrument, event_time, close" in done.err


def test_a_policy_edited_on_disk_is_not_in_force(cli: Cli, home: Path, ids: dict[str, Any]) -> None:
    config = home / "signalbox.toml"
    config.write_text(config.read_text().replace('"observations", at_least = 100.0', '"observations", at_least = 1.0'))
    done = cli("promote", f"large_caps@{ids['releases'][0]}", "--home", str(home))
    assert done.code == 2
    assert "policy in force" in done.err


def test_an_unknown_key_of_the_configuration_is_named(cli: Cli, home: Path) -> None:
    config = home / "signalbox.toml"
    config.write_text("colour = 1\n" + config.read_text())
    done = cli("status", "--home", str(home))
    assert done.code == 64
    assert "colour" in done.err
