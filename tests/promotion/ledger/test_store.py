"""What any ledger must do; SQLite is the one there is."""

from __future__ import annotations

import os
import shutil
import signal as signals
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from features.clock import SystemClock
from promotion.errors import (
    Conflict,
    EntryRefused,
    KeyReused,
    LedgerUnreadable,
    NotAllowed,
    WrongEnvironment,
)
from promotion.identity import KeyStore
from promotion.ledger.entry import GENESIS, sign
from promotion.ledger.store import SqliteLedger
from promotion.rollout import Rollout


def test_an_empty_ledger_has_no_head(tmp_path: Path) -> None:
    with SqliteLedger(tmp_path / "ledger.db") as ledger:
        assert (ledger.head().sequence, ledger.head().hash) == (0, GENESIS)
        assert ledger.entries() == []


def test_entries_are_numbered_chained_and_kept(desk: Any) -> None:
    entries = desk.ledger.entries()
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[0].previous == GENESIS
    assert [entry.previous for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]
    with SqliteLedger(desk.home.ledger, read_only=True) as again:
        assert again.entries() == entries
        assert again.head() == desk.ledger.head()


def test_entries_after_a_sequence(desk: Any) -> None:
    assert [entry.sequence for entry in desk.ledger.entries(after=2)] == [3]


def test_the_file_is_durable_without_a_write_ahead_log(desk: Any) -> None:
    with sqlite3.connect(desk.home.ledger) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_moved_signal_is_a_conflict_that_names_the_winner(live: Any) -> None:
    live.rollout.set_weight("large_caps", 0.5, why="drift", as_="monitor")
    with pytest.raises(Conflict, match=r"expected generation 2, found 3; moved by entry \d+ \(weight by monitor\)"):
        live.rollout.set_weight("large_caps", 0.8, why="late", as_="alice", expect_generation=2)


def test_a_generation_that_is_not_there_yet_is_a_conflict(live: Any) -> None:
    with pytest.raises(Conflict, match="moved by nothing yet"):
        live.rollout.set_weight("large_caps", 0.8, why="early", as_="alice", expect_generation=9)


def test_one_key_is_one_entry(live: Any) -> None:
    first = live.rollout.rollback("large_caps", why="bad scores", as_="alice", key="incident-7", expect_generation=2)
    again = live.rollout.rollback("large_caps", why="bad scores", as_="alice", key="incident-7")
    assert again == first
    assert live.ledger.state().signal("large_caps").generation == 3


def test_a_key_of_another_action_is_refused(live: Any) -> None:
    live.rollout.halt("large_caps", why="fire", as_="alice", key="incident-7")
    with pytest.raises(KeyReused, match="expected halted by alice"):
        live.rollout.freeze("large_caps", why="fire", as_="alice", key="incident-7")


def test_a_refused_action_leaves_nothing(live: Any) -> None:
    before = live.ledger.head(), live.ledger.state()
    with pytest.raises(EntryRefused):
        live.rollout.set_weight("large_caps", 1.5, why="greed", as_="alice")
    assert (live.ledger.head(), live.ledger.state()) == before
    with SqliteLedger(live.home.ledger) as again:
        assert again.head() == before[0]


def test_an_action_signed_with_another_s_key_is_refused(desk: Any, tmp_path: Path) -> None:
    impostor = KeyStore(tmp_path / "elsewhere").create("alice")
    action = sign(
        impostor, kind="lineage", role="researcher", time_ns=desk.clock.now_ns(),
        payload={"subject": "run", "id": "x", "facts": {}},
    )  # fmt: skip
    with pytest.raises(EntryRefused, match="expected alice's signature"):
        desk.ledger.append(action)


def test_a_stranger_is_refused(desk: Any) -> None:
    stranger = desk.keys.create("mallory")
    action = sign(
        stranger, kind="lineage", role="researcher", time_ns=desk.clock.now_ns(),
        payload={"subject": "run", "id": "x", "facts": {}},
    )  # fmt: skip
    with pytest.raises(NotAllowed, match="found 'mallory'"):
        desk.ledger.append(action)


def test_a_first_entry_signed_by_nobody_it_names_is_refused(tmp_path: Path) -> None:
    mallory = KeyStore(tmp_path / "keys").create("mallory")
    grant = {"name": "alice", "public_key": "ab" * 32, "roles": ["approver"]}
    payload = {"environment": "replay", "principals": [grant]}
    with SqliteLedger(tmp_path / "ledger.db") as ledger:
        with pytest.raises(NotAllowed):
            ledger.append(sign(mallory, kind="opened", role="approver", time_ns=1, payload=payload))
        assert ledger.head().sequence == 0


def test_two_ledger_objects_see_each_other_s_entries(desk: Any) -> None:
    with SqliteLedger(desk.home.ledger) as other:
        assert other.state().sequence == desk.ledger.state().sequence
        desk.try_once()
        assert other.state().sequence == desk.ledger.state().sequence


def test_threads_take_turns(desk: Any) -> None:
    def work() -> None:
        for _ in range(5):
            desk.rollout.append("lineage", {"subject": "run", "id": "x", "facts": {}}, as_="alice")

    threads = [threading.Thread(target=work) for _ in range(4)]
    before = desk.ledger.head().sequence
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert desk.ledger.head().sequence == before + 20


def test_connections_of_their_own_take_turns(desk: Any) -> None:
    """Each writer takes its turn before it reads: two that read first would wait for each other."""
    start = threading.Barrier(3)
    refused: list[Exception] = []

    def work() -> None:
        with SqliteLedger(desk.home.ledger, busy_timeout_ms=60_000) as ledger:
            rollout = Rollout(ledger, desk.keys, SystemClock())
            start.wait()
            try:
                for _ in range(15):
                    rollout.append("lineage", {"subject": "run", "id": "x", "facts": {}}, as_="alice")
            except LedgerUnreadable as error:
                refused.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    before = desk.ledger.head().sequence
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []
    assert desk.ledger.head().sequence == before + 45


def test_of_many_processes_one_wins_each_generation(live: Any) -> None:
    """Four processes lower the weight from generation 2 at once: one entry, three conflicts that name it."""
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from features.clock import SystemClock
        from promotion.errors import Conflict
        from promotion.home import Home
        from promotion.identity import KeyStore
        from promotion.ledger.store import SqliteLedger
        from promotion.rollout import Rollout
        home = Home(Path(sys.argv[1]))
        with SqliteLedger(home.ledger, busy_timeout_ms=20000) as ledger:
            rollout = Rollout(ledger, KeyStore(home.keys), SystemClock())
            try:
                rollout.set_weight("large_caps", 0.5, why="race", as_="monitor", expect_generation=2)
                print("won")
            except Conflict as error:
                print("lost to", "monitor" in str(error))
        """
    )
    racers = [
        subprocess.Popen([sys.executable, "-c", code, str(live.home.root)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    outcomes = sorted(racer.communicate(timeout=60)[0].strip() for racer in racers)
    assert outcomes == ["lost to True"] * 3 + ["won"]
    assert live.ledger.state().signal("large_caps").generation == 3


def test_a_writer_killed_at_any_moment_leaves_a_whole_chain(desk: Any) -> None:
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from features.clock import SystemClock
        from promotion.home import Home
        from promotion.identity import KeyStore
        from promotion.ledger.store import SqliteLedger
        from promotion.rollout import Rollout
        home = Home(Path(sys.argv[1]))
        with SqliteLedger(home.ledger) as ledger:
            rollout = Rollout(ledger, KeyStore(home.keys), SystemClock())
            while True:
                entry = rollout.append("lineage", {"subject": "run", "id": "x", "facts": {}}, as_="alice")
                print(entry.sequence, flush=True)
        """
    )
    for lines in (1, 3, 10):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(desk.home.root)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            acknowledged = [int(writer.stdout.readline()) for _ in range(lines)]
            os.kill(writer.pid, signals.SIGKILL)
        with SqliteLedger(desk.home.ledger) as ledger:
            assert ledger.head().sequence >= acknowledged[-1]
            assert ledger.state().sequence == ledger.head().sequence


def test_a_ledger_of_another_environment_is_refused(desk: Any) -> None:
    with (
        SqliteLedger(desk.home.ledger, environment="prod") as ledger,
        pytest.raises(WrongEnvironment, match="expected a ledger of environment prod, found replay"),
    ):
        ledger.state()


def test_a_read_only_ledger_takes_nothing(desk: Any) -> None:
    with SqliteLedger(desk.home.ledger, read_only=True) as ledger:
        action = sign(desk.keys.signer("alice"), kind="halted", role="operator", time_ns=1, payload={"why": "x"})
        with pytest.raises(LedgerUnreadable, match="opened read-only"):
            ledger.append(action)


def test_a_missing_ledger_is_not_made_by_reading(tmp_path: Path) -> None:
    with (
        pytest.raises(LedgerUnreadable, match="unable to open database file"),
        SqliteLedger(tmp_path / "none.db", read_only=True) as ledger,
    ):
        ledger.state()
    assert not (tmp_path / "none.db").exists()


def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"these are not the entries you are looking for" * 100)
    with (
        pytest.raises(LedgerUnreadable, match="file is not a database"),
        SqliteLedger(tmp_path / "ledger.db", read_only=True) as ledger,
    ):
        ledger.state()


def test_a_full_disk_leaves_the_state_before(live: Any) -> None:
    """The file may not grow by a page: the append is refused by name, and the same command converges later."""
    connection = live.ledger._connection
    connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")

    def fill() -> None:
        while True:
            live.rollout.append("lineage", {"subject": "run", "id": "x" * 900, "facts": {}}, as_="alice")

    with pytest.raises(LedgerUnreadable, match=r"full; nothing was appended"):
        fill()
    before = live.ledger.head()
    with pytest.raises(LedgerUnreadable, match=r"full; nothing was appended"):
        fill()
    assert live.ledger.head() == before
    connection.execute("PRAGMA max_page_count = 1000000")
    assert live.rollout.halt("large_caps", why="disk was full", as_="alice").sequence == before.sequence + 1


def test_a_reader_undoes_what_a_killed_writer_left_half_done(desk: Any, tmp_path: Path) -> None:
    """The file and its journal as they lie on disk in the middle of a transaction that spilled out of memory."""
    before = desk.ledger.head()
    writer = sqlite3.connect(desk.home.ledger, isolation_level=None)
    writer.execute("PRAGMA cache_size = 2")
    writer.execute("BEGIN IMMEDIATE")
    for sequence in range(100, 400):
        writer.execute("INSERT INTO entries VALUES (?, '', ?)", (sequence, b"half" * 500))
    for suffix in ("", "-journal"):
        shutil.copy(f"{desk.home.ledger}{suffix}", f"{tmp_path / 'ledger.db'}{suffix}")
    writer.execute("ROLLBACK")
    writer.close()
    assert (tmp_path / "ledger.db").stat().st_size > desk.home.ledger.stat().st_size
    with SqliteLedger(tmp_path / "ledger.db", read_only=True) as ledger:
        assert ledger.head() == before


def test_rows_cannot_be_changed_in_passing(desk: Any) -> None:
    connection = sqlite3.connect(desk.home.ledger)
    for statement in ("UPDATE entries SET body = x'00'", "DELETE FROM entries"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()
