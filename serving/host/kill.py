"""A worker's own kill switch: a Unix socket of its owner that halts it without supervisor, ledger or gRPC.

    printf 'halt large_caps\\n' | nc -U HOME/run/worker-0.kill      halt one signal
    printf 'halt\\n'            | nc -U HOME/run/worker-0.kill      halt every signal
    printf 'resume\\n'          | nc -U HOME/run/worker-0.kill      take back what was halted here

A halt holds until it is resumed here or the worker ends; the supervisor's own latch holds across restarts.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from promotion.home import Home
from serving.errors import ListenRefused

EVERY = ""  # stands for every signal
MAX_LINE_BYTES = 256
_PATIENCE_SECONDS = 5.0


class KillSwitch:
    """What is halted in this process. changed: called after every change."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._halted: dict[str, str] = {}

    def reason(self, signal: str) -> str:
        """Why `signal` is halted here, or ""."""
        return self._halted.get(signal) or self._halted.get(EVERY, "")

    def halt(self, signal: str, reason: str) -> None:
        """Halts `signal` (EVERY for all of them)."""
        self._halted[signal] = reason
        self._changed()

    def resume(self, signal: str) -> None:
        """Takes a halt back; EVERY takes all of them back."""
        if signal == EVERY:
            self._halted.clear()
        self._halted.pop(signal, None)
        self._changed()

    def obey(self, line: str) -> str:
        """Carries out one line of the socket and returns the answer."""
        word, _, signal = line.strip().partition(" ")
        if word == "halt":
            self.halt(signal.strip(), "halted by the worker's kill socket")
            return f"halted {signal.strip() or 'every signal'}"
        if word == "resume":
            self.resume(signal.strip())
            return f"resumed {signal.strip() or 'every signal'}"
        return "expected 'halt [SIGNAL]' or 'resume [SIGNAL]', found another line; nothing was changed"


def kill_path(home: Home, worker: int) -> Path:
    """Where worker number `worker` of `home` has its kill socket."""
    return home.control_socket.parent / f"worker-{worker}.kill"


@asynccontextmanager
async def kill_socket(home: Home, worker: int, switch: KillSwitch) -> AsyncIterator[Path]:
    """Listens on the worker's kill socket, mode 0600. ListenRefused when it cannot."""
    path = kill_path(home, worker)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await asyncio.wait_for(reader.readline(), _PATIENCE_SECONDS)
            writer.write(switch.obey(line.decode(errors="replace")).encode() + b"\n")
            await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):
            pass  # a peer that says nothing, too much, or leaves: nothing was asked for
        finally:
            writer.close()

    try:
        await asyncio.to_thread(_make_way, path)
        server = await asyncio.start_unix_server(answer, path, limit=MAX_LINE_BYTES)
        await asyncio.to_thread(os.chmod, path, 0o600)
    except OSError as error:
        raise ListenRefused(
            f"{path}: expected a path for a kill socket, found: {error}; a socket's path has at most 107 bytes"
        ) from error
    async with server:
        yield path
    await asyncio.to_thread(path.unlink, missing_ok=True)


def _make_way(path: Path) -> None:
    """The folder, mode 0700, and nothing at `path`: what lies there is of a worker that was killed."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
