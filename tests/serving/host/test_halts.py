"""Halts are kept whole, or said not to be kept; what cannot be read halts everything."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promotion.home import Home
from serving.errors import HaltNotKept
from serving.host.halts import EVERY, HaltFile, scorer_halts, worker_halts

SIGNALS = st.sampled_from(["large_caps", "a b/c", "späte_signale", EVERY])


def test_nothing_is_halted_where_nothing_was_written(tmp_path: Path) -> None:
    assert scorer_halts(Home(tmp_path)).read() == {}
    assert scorer_halts(Home(tmp_path)).path != worker_halts(Home(tmp_path), 0).path


@settings(max_examples=15)  # each change is flushed to the disk
@given(st.lists(st.tuples(st.booleans(), SIGNALS, st.text(max_size=20)), max_size=6))
def test_the_file_is_what_was_halted_and_not_resumed(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[bool, str, str]]
) -> None:
    file = HaltFile(tmp_path_factory.mktemp("home") / "halts" / "scorer.json")
    expected: dict[str, str] = {}
    for is_halt, signal, reason in changes:
        if is_halt:
            file.add(signal, reason)
            expected[signal] = reason
        else:
            file.remove(signal)
            expected = {} if signal == EVERY else {key: why for key, why in expected.items() if key != signal}
        assert HaltFile(file.path).read() == expected
    assert file.path.stat().st_mode & 0o777 == 0o600 if changes else not file.path.exists()
    assert list(file.path.parent.glob("*.new")) == []


@pytest.mark.parametrize("body", [b"", b'{"large_caps": "w', b'["large_caps"]', b'{"large_caps": 1}', b"\xff"])
def test_a_damaged_file_halts_every_signal_until_that_is_taken_back(tmp_path: Path, body: bytes) -> None:
    file = HaltFile(tmp_path / "scorer.json")
    file.path.write_bytes(body)
    assert list(file.read()) == [EVERY]
    assert "expected the halts" in file.read()[EVERY]
    file.add("large_caps", "why")
    assert set(file.read()) == {EVERY, "large_caps"}, "nobody took back what the file may have held"
    file.remove(EVERY)
    assert file.read() == {}


def test_a_halt_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "halts").write_text("a file where the folder should be")
    with pytest.raises(HaltNotKept, match="is in force here, but expected to be written"):
        scorer_halts(Home(tmp_path)).add("large_caps", "why")


def test_two_that_halt_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "halts" / "worker-0.json"
    signals = [f"signal_{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as threads:  # each with a file of its own, as two processes have
        list(threads.map(lambda signal: HaltFile(path).add(signal, "why"), signals))
    assert HaltFile(path).read() == dict.fromkeys(signals, "why")
