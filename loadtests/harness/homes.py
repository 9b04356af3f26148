"""A small home for the time of a bench, and its feature table filled by Push."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from loadtests.harness.model import COLUMNS, Float32s, bench_model
from loadtests.harness.small_home import SmallHome, make_small_home
from protos.client import ControlClient


@contextmanager
def home_of(models: Sequence[str], *, instruments: int) -> Iterator[SmallHome]:
    """A home whose releases are the models of those names, in this order; gone after the block, rings and all."""
    with tempfile.TemporaryDirectory(prefix="signalbox-bench-") as folder:
        files = [bench_model(name).path.read_bytes() for name in models]
        small = make_small_home(Path(folder) / "home", files, columns=COLUMNS, instruments=instruments)
        try:
            yield small
        finally:
            shutil.rmtree(small.home.ring(0, "0" * 64).parent, ignore_errors=True)  # rings outlive their workers


def fill(small: SmallHome, values: Float32s, *, sequence: int = 1) -> None:
    """Pushes one row of `values`, float32 [instrument, column], for each instrument; returns once all can be read."""
    rows = small.rows(values, sequence=sequence, known_ns=time.time_ns())
    with ControlClient(f"unix:{small.home.control_socket}") as control:
        pushed = control.push(rows)
    if pushed.accepted != len(rows):
        raise ValueError(f"push: expected {len(rows)} rows accepted, found {pushed.accepted}: {pushed.refused[:3]}")
