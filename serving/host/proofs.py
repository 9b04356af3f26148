"""Which releases a worker may be given: each is first opened in a process that may die of it (design D8).

async with Proofs(prove) as proofs:
    proofs.want(digests, principals)      # begins, in the background
    await proofs.settled(digests)
    proofs.proven, proofs.refused
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

from promotion.errors import ReleaseRefused
from promotion.identity import Principal

LOG = logging.getLogger("signalbox.supervisor")

_AT_ONCE = 4  # proofs, each in a process of its own

Principals = Mapping[str, Principal]
Prove = Callable[[str, Principals], object]


class Proofs:
    """The releases that were tried. Owned by an `async with`, which ends the proofs under way.

    proven: digests. refused: digest → why. moved: set whenever a proof has ended; who waits for it clears it. prove:
    opens a release in another process; it blocks, and raises ReleaseRefused.
    """

    def __init__(self, prove: Prove) -> None:
        self.proven: set[str] = set()
        self.refused: dict[str, str] = {}
        self.moved = asyncio.Event()
        self._prove = prove
        self._running: dict[str, asyncio.Task[None]] = {}
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="proof")  # a halt's way to the disk is another

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def judged(self, digest: str) -> bool:
        """Whether it is known if `digest` may be served."""
        return digest in self.proven or digest in self.refused

    def want(self, digests: Iterable[str], principals: Principals) -> None:
        """Has every release proven that is not yet; one that was refused is tried once more."""
        for digest in digests:
            if digest not in self.proven and digest not in self._running:
                self._running[digest] = asyncio.create_task(self._try(digest, principals))

    async def settled(self, digests: Iterable[str]) -> None:
        """Waits until no proof of `digests` is under way."""
        running = [self._running[digest] for digest in digests if digest in self._running]
        if running:
            await asyncio.wait(running)

    async def _try(self, digest: str, principals: Principals) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._prove, digest, principals)
        except (ReleaseRefused, OSError) as error:
            LOG.error("release %s is not served: %s", digest[:12], error)
            self.refused[digest] = str(error)
        else:
            self.refused.pop(digest, None)
            self.proven.add(digest)
        finally:
            del self._running[digest]
            self.moved.set()
