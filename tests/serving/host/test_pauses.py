"""What keeps a loop from its callers is counted; a loop that polls does not sleep."""

from __future__ import annotations

import asyncio
import gc
import selectors
import time

from serving.host.pauses import LAG_NS, busy_polling, watched_pauses


async def test_every_collection_is_timed() -> None:
    with watched_pauses() as pauses:
        before = sum(pauses.collections.counts)
        gc.collect()
        gc.collect()
        assert sum(pauses.collections.counts) == before + 2
        assert pauses.collections.total > 0
    gc.collect()
    assert sum(pauses.collections.counts) == before + 2, "nothing is measured when the block is left"


async def test_a_turn_that_takes_long_is_seen_by_the_timer() -> None:
    held_ns = 2 * LAG_NS
    with watched_pauses() as pauses:
        time.sleep(held_ns / 1e9)  # noqa: ASYNC251 - the loop is to be held
        await asyncio.sleep(LAG_NS / 1e9)
    assert pauses.lags.total >= held_ns - LAG_NS - 2_000_000


class Noting(selectors.DefaultSelector):
    """Notes how long the loop would sleep."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.timeouts.append(timeout)
        return super().select(timeout)


def test_a_polling_loop_never_sleeps() -> None:
    selector = Noting()

    async def main() -> tuple[list[float | None], list[float | None]]:
        with busy_polling():
            await asyncio.sleep(0.002)
            polling = list(selector.timeouts)
        await asyncio.sleep(0)
        selector.timeouts.clear()
        await asyncio.sleep(0.002)
        return polling, selector.timeouts

    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        polling, sleeping = runner.run(main())
    assert len(polling) > 10
    assert set(polling) == {0}
    assert any(timeout != 0 for timeout in sleeping)
