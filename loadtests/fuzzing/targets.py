"""What is fuzzed, by name."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

from loadtests.fuzzing.bodies import INFER, SCORE, BodyTarget
from loadtests.fuzzing.connections import ClientTarget, ServerTarget
from loadtests.fuzzing.encodings import HpackTarget, MessageTarget, RingTarget, RowTarget

Target = Callable[[bytes], None]  # raises when something does not hold

_MEMORY = Path("/dev/shm")  # noqa: S108 - where rings live


@contextmanager
def _bodies(path: str) -> Iterator[Target]:
    with closing(asyncio.new_event_loop()) as loop:
        yield BodyTarget(path, loop)


@contextmanager
def _rings() -> Iterator[Target]:
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.exists() else None) as folder:
        yield RingTarget(Path(folder) / "ring")


TARGETS: dict[str, Callable[[], AbstractContextManager[Target]]] = {
    "server": lambda: nullcontext(ServerTarget()),
    "client": lambda: nullcontext(ClientTarget()),
    "hpack": lambda: nullcontext(HpackTarget()),
    "message": lambda: nullcontext(MessageTarget()),
    "row": lambda: nullcontext(RowTarget()),
    "score": lambda: _bodies(SCORE),
    "infer": lambda: _bodies(INFER),
    "ring": _rings,
}
