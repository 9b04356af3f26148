"""Whatever is done to the file, the first bad entry is named."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.canonical import canonical_json
from features.clock import SystemClock
from promotion.errors import BrokenChain
from promotion.identity import KeyStore
from promotion.ledger.entry import read_entry
from promotion.ledger.fold import fold
from promotion.ledger.store import Head, SqliteLedger
from promotion.ledger.verify import verify
from promotion.rollout import Rollout, found_ledger

Stored = list[tuple[int, bytes]]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    root = tmp_path_factory.mktemp("history")
    principals = {"alice": ("researcher", "approver"), "bob": ("validator", "approver")}
    with SqliteLedger(root / "ledger.db") as ledger:
        keys = KeyStore(root)
        found_ledger(ledger, keys, environment="replay", principals=principals, clock=SystemClock())
        rollout = Rollout(ledger, keys, SystemClock())
        for number in range(6):
            facts = {"rows": number}
            rollout.append("lineage", {"subject": "run", "id": f"run {number}", "facts": facts}, as_="alice")
        return ledger.bodies()


def _edited(body: bytes, **changes: Any) -> bytes:
    return canonical_json({**json.loads(body), **changes})


def test_a_whole_history_verifies(stored: Stored) -> None:
    assert verify(stored) == fold(read_entry(body) for _, body in stored)


@pytest.mark.parametrize("at", range(7))
@pytest.mark.parametrize(
    "changes",
    [
        {"payload": {"subject": "run", "id": "other", "facts": {}}},
        {"time_ns": 1},
        {"actor": "bob", "role": "validator"},
        {"signature": "00" * 64},
        {"idempotency_key": "k"},
        {"previous": "0f" * 32},
    ],
)
def test_an_edited_entry_is_named(stored: Stored, at: int, changes: dict[str, Any]) -> None:
    altered = [(n, _edited(body, **changes) if n == at + 1 else body) for n, body in stored]
    with pytest.raises(BrokenChain) as caught:
        verify(altered)
    assert caught.value.sequence == at + 1
    assert f"entry {at + 1}:" in str(caught.value)


@pytest.mark.parametrize("at", range(6))
def test_a_dropped_entry_is_named(stored: Stored, at: int) -> None:
    with pytest.raises(BrokenChain) as caught:
        verify([item for position, item in enumerate(stored) if position != at])
    assert caught.value.sequence == at + 1


def test_renumbering_does_not_hide_a_dropped_entry(stored: Stored) -> None:
    kept = [body for position, (_, body) in enumerate(stored) if position != 2]
    with pytest.raises(BrokenChain) as caught:
        verify((n, _edited(body, sequence=n)) for n, body in enumerate(kept, start=1))
    assert caught.value.sequence == 3


def test_reordered_entries_are_named(stored: Stored) -> None:
    swapped = [*stored[:3], (4, stored[4][1]), (5, stored[3][1]), *stored[5:]]
    with pytest.raises(BrokenChain) as caught:
        verify(swapped)
    assert caught.value.sequence == 4


def test_a_chain_restamped_without_the_keys_is_named(stored: Stored) -> None:
    """Edit entry 3 and put every later link right: its signature gives it away."""
    bodies: Stored = stored[:2]
    for n, body in stored[2:]:
        entry = read_entry(body)
        payload = {**entry.payload, "id": "other"} if n == 3 else entry.payload
        entry = msgspec.structs.replace(entry, payload=payload, previous=read_entry(bodies[-1][1]).hash)
        bodies = [*bodies, (n, entry.body())]
    with pytest.raises(BrokenChain) as caught:
        verify(bodies)
    assert caught.value.sequence == 3


def test_bytes_that_are_not_canonical_are_named(stored: Stored) -> None:
    spaced = json.dumps(json.loads(stored[3][1]), sort_keys=True).encode()
    with pytest.raises(BrokenChain, match="entry 4: expected canonical bytes"):
        verify([*stored[:3], (4, spaced), *stored[4:]])


def test_truncation_is_found_by_a_head_kept_elsewhere(stored: Stored) -> None:
    head = Head(len(stored), read_entry(stored[-1][1]).hash)
    assert verify(stored, expected_head=head).head == head.hash
    verify(stored[:-2])  # alone it looks whole
    with pytest.raises(BrokenChain, match="the end was cut off") as caught:
        verify(stored[:-2], expected_head=head)
    assert caught.value.sequence == len(stored) - 1


def test_a_rewritten_history_is_found_by_a_head_kept_elsewhere(stored: Stored) -> None:
    with pytest.raises(BrokenChain, match="the history was rewritten"):
        verify(stored, expected_head=Head(4, "ab" * 32))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_named(stored: Stored, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(stored) - 1))
    body = bytearray(stored[at][1])
    position = data.draw(st.integers(0, len(body) - 1))
    body[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BrokenChain) as caught:
        verify([*stored[:at], (at + 1, bytes(body)), *stored[at + 1 :]])
    assert caught.value.sequence == at + 1


def test_a_store_whose_file_was_altered_names_the_entry_and_takes_no_more(desk: Any) -> None:
    desk.ledger.close()
    connection = sqlite3.connect(desk.home.ledger)
    connection.execute("DROP TRIGGER entries_stay")
    body = connection.execute("SELECT body FROM entries WHERE sequence = 2").fetchone()[0]
    edited = _edited(body, time_ns=5)
    connection.execute("UPDATE entries SET body = ? WHERE sequence = 2", (edited,))
    connection.commit()
    connection.close()
    with SqliteLedger(desk.home.ledger) as ledger:
        with pytest.raises(BrokenChain, match=r"^entry 2: expected alice's signature"):
            ledger.state()
        with pytest.raises(BrokenChain, match=r"^entry 2:"):
            ledger.append(read_entry(edited))
