"""What every test runs under: a coroutine of ours that blocks the loop fails its test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def honest_loop() -> Iterator[BlockBuster]:
    """Blocking calls made by the serving path inside a running loop raise BlockingError.

    Only what answers requests is held to this: the monitor writes its decisions durably in a loop of its own.
    """
    with blockbuster_ctx(scanned_modules=["serving", "protos"]) as detector:
        yield detector
